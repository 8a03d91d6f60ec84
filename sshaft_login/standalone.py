"""`sshaft-login --config`: reports to the identity service without an agent, as the original did.

The key line names the user of the key.
"""

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sshaft import config, event, exit_status, listing, log, public_key
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError, InvalidKeyError, SshaftError
from sshaft.identity_client import Claim, IdentityClient, Outcome
from sshaft.listing import Grant
from sshaft_login.sentences import describe_login, message_for, sentence
from sshaft_login.terminal import ENROL, ask_code, confirm, set_deadline, write


def run(path: str, user: str, wish: str, key: tuple[str, str] | None, client_ip: str) -> tuple[int, str]:
    """Returns exit status and sentence. `key` is None if sshd has no ExposeAuthInfo, as in the original's set-up."""
    if wish.startswith(ENROL):
        return sentence("no_enrolments")
    request_id = secrets.token_hex(16)
    log.set_up("warning")
    try:
        outcome = _report(config.load(Path(path)), user, wish, key, client_ip, request_id)
    except ConfigurationError as error:
        state, message = "misconfigured", str(error)
    except SshaftError as error:
        state, message = "unavailable", str(error)
    except InvalidKeyError as error:
        state, message = "wrong_key", str(error)
    else:
        return message_for(outcome.fields(datetime.now(UTC)) | {"reference": request_id})
    event.write_to_syslog(
        "sshaft-login", "login.failed", error=state, message=message, user=user, request_id=request_id
    )
    return sentence(state, reference=request_id)


def _report(
    settings: config.Config, user: str, wish: str, key: tuple[str, str] | None, client_ip: str, request_id: str
) -> Outcome:
    too_slow = sentence("unavailable", reference=request_id)[1]
    set_deadline(settings.list_seconds + settings.accept_seconds + 2, exit_status.TEMPORARY, too_slow)
    signed = public_key.from_blob(*key, settings.allowed_key_types) if key else None
    client = IdentityClient(settings)
    answer = client.list_keys([signed.fingerprint] if signed else [], Deadline.after(settings.list_seconds), request_id)
    entries = answer.of(signed.fingerprint) if signed else tuple(answer.all())
    if signed:
        grant = listing.decide(entries, datetime.now(UTC))
    else:
        # Without the key that signed, the first usable key of the user stands for the user.
        own = {entry.key.fingerprint: entry.key for entry in entries if entry.user == user}
        grant = next((g for g in (listing.decide(answer.of(f), datetime.now(UTC)) for f in own) if g), None)
    if isinstance(grant, str):
        event.write_to_syslog("sshaft-login", "key.opens_nothing", reason=grant, user=user, request_id=request_id)
        return Outcome("refused")
    if grant is None or grant.user != user or not grant.pending:
        return Outcome("no_challenge")
    if grant.verify_required:  # only the agent knows whether the key line required verification
        return Outcome("refused")
    claim = Claim.of(grant, signed, None if wish in ("", "deny") else wish, client_ip)
    if wish == "deny":
        if settings.mfa_reject_endpoint is None:
            return Outcome("no_denials")
        return client.reject(claim, secrets.token_hex(16), Deadline.after(settings.accept_seconds), request_id)
    return _accept(client, settings, claim, grant, request_id)


def _accept(client: IdentityClient, settings: config.Config, claim: Claim, grant: Grant, request_id: str) -> Outcome:
    """Sends accept, and asks the person for the code and for a confirmation where they are needed."""
    attempt, too_slow = secrets.token_hex(16), sentence("unavailable", reference=request_id)[1]
    if grant.needs_code and claim.code is None:
        write(2, describe_login(Outcome("code_required", context=grant.context).fields(datetime.now(UTC))))
        claim = replace(claim, code=ask_code())
        set_deadline(settings.accept_seconds + 2, exit_status.TEMPORARY, too_slow)
    outcome = client.accept(claim, attempt, Deadline.after(settings.accept_seconds), request_id)
    if outcome.state != "confirm_required":
        return outcome
    confirm(describe_login(outcome.fields(datetime.now(UTC))), claim.client_ip or "")
    set_deadline(settings.accept_seconds + 2, exit_status.TEMPORARY, too_slow)
    return client.accept(replace(claim, confirmed=True), attempt, Deadline.after(settings.accept_seconds), request_id)
