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
from sshaft_login.sentences import choices, describe_login, message_for, sentence
from sshaft_login.terminal import ask_code, choose, confirm, set_deadline, write
from sshaft_login.words import DENY, ENROL

_MOST_QUESTIONS = 3


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
        return message_for(outcome.fields(datetime.now(UTC)) | {"reference": request_id, "user": user})
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
    claim = Claim.of(grant, signed, None if wish in ("", DENY) else wish, client_ip)
    if wish or not grant.needs_code:
        return _send(client, claim, wish, request_id)
    write(2, describe_login(Outcome("code_required", context=grant.context).fields(datetime.now(UTC))))
    while True:
        wish = ask_code()
        outcome = _send(client, replace(claim, code=None if wish == DENY else wish), wish, request_id)
        if outcome.state != "invalid_code" or not outcome.attempts_left:
            return outcome
        write(2, message_for(outcome.fields(datetime.now(UTC)))[1] + "\n")


def _send(client: IdentityClient, claim: Claim, wish: str, request_id: str) -> Outcome:
    """Sends accept, or reject if the person denies the login."""
    if wish != DENY:
        return _accept(client, claim, request_id)
    seconds = client.config.accept_seconds
    if client.config.mfa_reject_endpoint is None:
        return Outcome("no_denials")
    set_deadline(seconds + 2, exit_status.TEMPORARY, sentence("unavailable", reference=request_id)[1])
    return client.reject(claim, secrets.token_hex(16), Deadline.after(seconds), request_id)


def _accept(client: IdentityClient, claim: Claim, request_id: str) -> Outcome:
    """Sends accept, and asks the person for a choice and for a confirmation where they are needed."""
    seconds, too_slow = client.config.accept_seconds, sentence("unavailable", reference=request_id)[1]
    for _ in range(_MOST_QUESTIONS):
        set_deadline(seconds + 2, exit_status.TEMPORARY, too_slow)
        outcome = client.accept(claim, secrets.token_hex(16), Deadline.after(seconds), request_id)
        answer = outcome.fields(datetime.now(UTC))
        if outcome.state == "confirm_required" and not claim.confirmed:
            confirm(describe_login(answer), claim.client_ip or "")
            claim = replace(claim, confirmed=True)
        elif outcome.state == "choice_required":
            word = choose(choices(answer))
            if len(word) == 1:
                claim = replace(claim, challenge=outcome.choices[int(word) - 1].challenge)
            else:
                claim = replace(claim, code=word)
        else:
            break
    return outcome
