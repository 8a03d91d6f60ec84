"""`sshaft info HOST`: shows what the service of a host says, and what it says of the person with a token."""

import sys

from sshaft.host_api import service as services
from sshaft.host_api.web import WebError
from sshaft.text import printable
from sshaft_client import help_text, tokens
from sshaft_client import options as options_of
from sshaft_client import target as targets
from sshaft_client.options import UsageError


def run(program: str, *words: str) -> None:
    """Runs `sshaft info WORDS`."""
    options, rest = options_of.parse(words)
    if options.help:
        help_text.show(program)
        return
    target = targets.of(rest) if len(rest) == 1 and not rest[0].startswith("-") else None
    if target is None:
        raise UsageError("give one HOST; see sshaft info --help")
    service = services.of(target.host, options.endpoint, ca_file=options.ca_file, allow_http=options.allow_http)
    _write("service", service.url)
    said = service.info()
    for name, value in said.login_info.items():
        _write(name, value)
    for issuer in said.providers:
        wish = service.wish(issuer)
        _write("provider", issuer)
        _write("  scopes", " ".join(wish.scopes) or "any")
        _write("  audience", wish.audience or "any")
    try:
        token = tokens.obtain(options, service, may_log_in=False)
    except (tokens.TokenError, WebError) as error:
        _write("token", str(error))
        return
    for name, value in service.about(token).items():
        _write(name, value)


def _write(name: str, value: str) -> None:
    sys.stdout.write(f"{printable(name, 40):22}  {printable(value, 1000)}\n")
