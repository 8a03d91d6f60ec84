"""Says to a person who has not used ssh what to expect: the host key, and the commands of their system."""

from dataclasses import replace
from typing import Any

from starlette.requests import Request

from sshaft.host.ssh_server import SshServer
from sshaft.public_key import PublicKey
from sshaft_identity.common.language import _
from sshaft_identity.pages.words import key_kind

_SYSTEMS = {"windows": ("Windows",), "macos": ("macOS", "Mac OS X", "iPhone", "iPad"), "linux": ("Linux", "CrOS")}
"""Marks of systems in `Sec-CH-UA-Platform` and in the User-Agent. Android names Linux, and then Linux is shown."""


def system_of(request: Request) -> str:
    """Returns the system of the browser: windows, macos or linux. An unknown system counts as Windows."""
    for header in ("sec-ch-ua-platform", "user-agent"):
        said = request.headers.get(header, "")
        for system, marks in _SYSTEMS.items():
            if any(mark in said for mark in marks):
                return system
    return "windows"


def suggested_name(request: Request, key: PublicKey | None) -> str:
    """Returns a name for a key, which the person may change: the computer of this browser, or the kind of the key."""
    if key is not None and key.is_security_key:
        return _("Security key")
    return {"windows": _("Windows computer"), "macos": "Mac", "linux": _("Linux computer")}[system_of(request)]


def values(request: Request, server: SshServer, *words: str | None) -> dict[str, Any]:
    """Returns the values of the section "The first time?", for the ssh command with `words`."""
    keys = _preferred(server.host_keys)
    return {
        "system": system_of(request),
        "host_keys": [(key_kind(key.type), key.fingerprint) for key in keys],
        "known_hosts": next(iter(replace(server, host_keys=keys).known_hosts()), None),
        "plink": server.plink(*words),
        "server": server,
    }


def identity_file(key: PublicKey | None) -> str:
    """Returns where `ssh-keygen` writes a key of this type by default."""
    kind = "ed25519" if key is None else key.type.removeprefix("sk-").removeprefix("ssh-").partition("-")[0]
    kind = kind.partition("@")[0]
    return f"~/.ssh/id_{kind}{'_sk' if key is not None and key.is_security_key else ''}"


def _preferred(keys: tuple[PublicKey, ...]) -> tuple[PublicKey, ...]:
    """Sorts the keys as ssh prefers them. With one line in known_hosts, ssh asks the sshd for this key first."""
    order = ("ssh-ed25519", "ecdsa")
    return tuple(
        sorted(keys, key=lambda key: next((n for n, each in enumerate(order) if key.type.startswith(each)), 2))
    )
