"""Keys that nobody owns: while enrolments are open, such a key gets a line whose ticket can present a code and no more.

sshd checks the signature before the forced command runs: that is the proof of possession. What the code is worth is for
the identity service to say, and whether the key counts for the person on its page.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from sshaft import authorized_keys, log, public_key
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import InvalidKeyError, SshaftError
from sshaft.identity_client import IdentityClient, Outcome
from sshaft.listing import Grant
from sshaft.public_key import PublicKey
from sshaft.randomart import randomart
from sshaft_agent.ssh_factor.lookup import SLACK
from sshaft_agent.ssh_factor.tickets import LIFETIME, Ticket, Tickets

MAX_TICKETS = 1000
"""Their own number: strangers' keys cost nothing to make, and must not take the tickets of those who log in."""

Fields = dict[str, str]


@dataclass(frozen=True)
class Unowned:
    """What a ticket of this kind is bound to."""

    key: PublicKey
    until: datetime


class Enrolment:
    def __init__(self, login_socket: str, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.tickets: Tickets[Unowned] = Tickets(MAX_TICKETS)
        self._login_socket = login_socket
        self._clock = clock
        self._now = now

    def is_open(self, until: datetime | None, config: Config) -> bool:
        """Whether a key that is nobody's may present itself until then."""
        return config.mfa_enrol_endpoint is not None and until is not None and until > self._now()

    def line(self, key: PublicKey, until: datetime | None, config: Config, request_id: str) -> str:
        """The line of a key that sshd was offered, or nothing when too many tickets are out."""
        logger = log.get_logger().bind(request_id=request_id)
        if until is None:
            return ""
        now = self._clock()
        left = (until - self._now()).total_seconds()
        ticket = self.tickets.issue(Unowned(key, until), request_id, now, min(LIFETIME, left))
        if ticket is None:
            logger.warning("keys.none", reason="too many enrolment tickets are out", fingerprint=key.fingerprint)
            return ""
        logger.info("keys.listed_for_enrolment", login=ticket.request_id, fingerprint=key.fingerprint)
        ends = self._now() + timedelta(seconds=ticket.expires_at - now)
        command = (config.login_path, "--agent", self._login_socket, "--ticket", ticket.secret)
        return authorized_keys.line(key, command, expires_at=ends) + "\n"

    def concerns(self, kind: str, question: Fields) -> bool:
        """`enrol`, whoever asks; and whatever a key that nobody owns asks."""
        return kind == "enrol" or self.tickets.peek(question.get("ticket", ""), self._clock()) is not None

    async def report(
        self,
        kind: str,
        question: Fields,
        client: IdentityClient,
        logins: Tickets[Grant],
        workers: ThreadPoolExecutor,
    ) -> Fields:
        """What became of it: `state`, perhaps `reason`, `reference`, and with `presented` what the person compares."""
        now, secret = self._clock(), question.get("ticket", "")
        ticket: Ticket[Unowned] | Ticket[Grant] | None = self.tickets.peek(secret, now) or logins.peek(secret, now)
        client_ip = question.get("client_ip", "")
        if ticket is None:
            log.get_logger().warning("enrol.refused", reason="invalid_ticket", client_ip=client_ip)
            return {"state": "invalid_ticket"}
        key = ticket.grant.key
        logger = log.get_logger().bind(request_id=ticket.request_id, fingerprint=key.fingerprint, client_ip=client_ip)
        outcome = self._refusal(kind, question, key, client.config)
        # spent also by a refusal for the key's sake: it was printed for another one
        if outcome is None or outcome.state == "wrong_key":
            self.tickets.take(secret, now)
            logins.take(secret, now)
        if outcome is None:
            try:
                outcome = await _present(client, workers, key, question, ticket.request_id)
            except (SshaftError, TimeoutError) as error:
                logger.warning("enrol.failed", message=str(error) or "no answer in time")
                outcome = Outcome("unavailable")
        answer = {"state": outcome.state, "reference": ticket.request_id}
        if outcome.state == "presented":
            logger.info("enrol.presented", key_type=key.type)
            return answer | {"fingerprint": key.fingerprint, "randomart": "\n".join(randomart(key))}
        logger.warning("enrol.refused", reason=outcome.reason or outcome.state, key_type=key.type)
        return answer | ({"reason": outcome.reason} if outcome.reason else {})

    def _refusal(self, kind: str, question: Fields, key: PublicKey, config: Config) -> Outcome | None:
        """What needs no question to the identity service."""
        if kind != "enrol":
            return Outcome("not_registered")
        try:
            signed = public_key.from_blob(
                question.get("key_type", ""), question.get("key", ""), config.allowed_key_types
            )
        except InvalidKeyError:
            signed = None
        if signed != key:
            return Outcome("wrong_key")
        return None if question.get("code") else Outcome("code_required")


async def _present(
    client: IdentityClient, workers: ThreadPoolExecutor, key: PublicKey, question: Fields, request_id: str
) -> Outcome:
    seconds = client.config.accept_seconds
    sent = asyncio.get_running_loop().run_in_executor(
        workers,
        client.enrol,
        key,
        question["code"],
        question.get("client_ip") or None,
        Deadline.after(seconds),
        request_id,
    )
    return await asyncio.wait_for(sent, seconds + SLACK)
