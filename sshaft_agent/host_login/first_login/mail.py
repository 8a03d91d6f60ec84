"""Sends an e-mail about a first login that waits, as a program of its own: settings as argument, facts on stdin."""

import json
import smtplib
import ssl
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from sshaft.text import printable
from sshaft_agent.host_login.first_login.settings import NotifySettings

_SECONDS = 10.0
"""For each step of the mail server. The caller limits the whole."""
_BODY = """Somebody waits for an account on {host}.

account  {account}
name     {name}
e-mail   {email}{verified}
issuer   {issuer}
subject  {subject}
since    {first_at}

The provider says name and e-mail address. Some providers let people change
them.

To approve or to deny, as root on {host}:

    sshaft host accounts approve {account} --reference {reference}
    sshaft host accounts approve {account} --reference {reference} --deny
"""


def message(settings: NotifySettings, facts: Mapping[str, Any]) -> EmailMessage:
    """Returns the e-mail. The facts are those of `Request.facts`, and the host."""
    mail = EmailMessage()
    mail["From"] = settings.sender or settings.email
    mail["To"] = settings.email
    mail["Date"] = formatdate(usegmt=True)
    mail["Message-ID"] = make_msgid(domain=_ascii(facts["host"]))
    mail["Auto-Submitted"] = "auto-generated"  # no program answers it (RFC 3834 §5)
    mail["Subject"] = f"{facts['account']} waits for an account on {facts['host']}"
    shown = {name: value or "-" for name, value in facts.items()}
    is_doubtful = facts["email"] and not facts["email_verified"]
    mail.set_content(_BODY.format(verified=" (not verified by the provider)" if is_doubtful else "", **shown))
    return mail


def send(settings: NotifySettings, mail: EmailMessage, host: str) -> None:
    """Sends the e-mail. Raises `OSError`; the failures of `smtplib` are some, too."""
    # Without `local_hostname`, smtplib asks a name server for it.
    server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, local_hostname=_ascii(host), timeout=_SECONDS)
    with closing(server):
        if not settings.is_local:
            server.starttls(context=ssl.create_default_context(cafile=settings.ca_file))
        server.send_message(mail)
        with suppress(OSError):  # the mail server has the e-mail already
            server.quit()


def _ascii(host: str) -> str:
    return host if host.isascii() and host else "localhost"


def main() -> int:
    """Returns the exit status."""
    settings = NotifySettings.model_validate_json(sys.argv[1])
    facts = json.load(sys.stdin)
    try:
        send(settings, message(settings, facts), facts["host"])
    except OSError as error:
        print(f"{settings.smtp_host}:{settings.smtp_port}: {printable(str(error), 300)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
