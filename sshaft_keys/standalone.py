"""`sshaft-keys --config`: asks the identity service without an agent, as the original did, and prints key lines."""

import os
import re
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from sshaft import authorized_keys, config, event, exit_status, listing, log, public_key
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError, InvalidKeyError, SshaftError
from sshaft.identity_client import IdentityClient
from sshaft.listing import Grant

PROGRAM = "sshaft-keys"
_SAFE_USER = re.compile(r"(?!-)[A-Za-z0-9._@+-]{1,64}")
"""sshd and a shell read the user's name, because it stands in the key line here."""


def run(options: dict[str, str], seconds: float, write: Callable[[str], None]) -> int:
    """Gives the lines to `write` and returns the exit status. Ends within `seconds`, even if network or reader hang."""
    request_id = secrets.token_hex(16)
    log.set_up("warning")

    def too_late() -> None:
        # A thread also ends a host name look-up that hangs inside the C library; an alarm would not.
        event.write(PROGRAM, "keys.failed", error="deadline", message="no answer within 3 s", request_id=request_id)
        os._exit(exit_status.TEMPORARY)

    watchdog = threading.Timer(seconds - 0.1, too_late)
    watchdog.daemon = True
    watchdog.start()
    try:
        lines = _lines(options, request_id)
    except SshaftError as error:
        event.write(PROGRAM, "keys.failed", error=error.code, message=str(error), request_id=request_id)
        return error.exit_status
    write(lines)
    watchdog.cancel()
    return exit_status.OK


def _lines(options: dict[str, str], request_id: str) -> str:
    path = Path(options["config"])
    if not authorized_keys.is_safe_word(options["config"]) or not path.is_absolute():
        raise ConfigurationError("--config must be an absolute path of letters, digits and ._@+/:-")
    settings = config.load(path)
    fingerprint = options.get("fingerprint")
    if "key" in options and "type" in options:
        try:
            key = public_key.from_blob(options["type"], options["key"], settings.allowed_key_types)
        except InvalidKeyError:
            return ""  # a certificate, or a type that is not allowed
        if fingerprint not in (None, key.fingerprint):
            raise ConfigurationError("--fingerprint is not that of --key: sshd needs FingerprintHash sha256")
        fingerprint = key.fingerprint
    client = IdentityClient(settings)
    answer = client.list_keys([fingerprint] if fingerprint else [], Deadline.after(settings.list_seconds), request_id)
    logger = structlog.get_logger().bind(program=PROGRAM, request_id=request_id)
    for reason, count in answer.left_out.items():
        logger.warning("entry.left_out", reason=reason, count=count)
    now = datetime.now(UTC)
    lines = []
    for wanted in [fingerprint] if fingerprint else answer.entries:
        grant = listing.decide(answer.of(wanted), now)
        if isinstance(grant, str):
            logger.warning("key.opens_nothing", reason=grant, fingerprint=wanted)
        elif grant is not None and (unfit := _reason_against(grant)):
            logger.warning("entry.left_out", reason=unfit, user=grant.user)
        elif grant is not None:
            lines.append(_line(settings.login_path, options["config"], grant) + "\n")
    return "".join(lines)


def _reason_against(grant: Grant) -> str | None:
    """Returns the reason why stand-alone mode writes no line for this grant, or None."""
    if not _SAFE_USER.fullmatch(grant.user):
        return "user: not safe in a key line"
    if grant.verify_required:  # sshaft-login could not know whether the line required it
        return "verify_required: needs the agent"
    return None


def _line(login_path: str, config_path: str, grant: Grant) -> str:
    return authorized_keys.line(grant.key, (login_path, "--config", config_path, "--user", grant.user))
