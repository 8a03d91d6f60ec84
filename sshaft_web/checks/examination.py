"""Runs all checks of one configuration."""

import asyncio

from sshaft_web import targets
from sshaft_web.checks import hosts, provider
from sshaft_web.checks.findings import Finding
from sshaft_web.configuration import Settings
from sshaft_web.people.provider import WebProvider


def examine(settings: Settings) -> list[Finding]:
    """Returns the findings about the provider and each host. It asks them, and blocks meanwhile."""
    known = list(targets.read(settings).values())
    return [
        *provider.examine(settings, WebProvider(settings)),
        *asyncio.run(hosts.examine(known, settings.provider)),
    ]
