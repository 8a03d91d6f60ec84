"""Gives unregistered keys a line while enrolments are open. The ticket of such a line can present one code, no more.

sshd checks the signature before it runs the forced command: this proves possession of the key. The identity service
judges the code, and the person confirms the key on the page of the enrolment.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from sshaft import authorized_keys, log
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import SshaftError
from sshaft.identity_client import IdentityClient, Outcome
from sshaft.listing import Grant
from sshaft.public_key import PublicKey
from sshaft.randomart import randomart
from sshaft_agent.ssh_factor.lookup import GRACE_SECONDS
from sshaft_agent.ssh_factor.questions import EnrolRequest, LoginRequest
from sshaft_agent.ssh_factor.tickets import LIFETIME, Ticket, Tickets

MAX_TICKETS = 1000
"""A limit of their own: strangers can make keys at no cost, and must not use up the tickets of registered users."""


@dataclass(frozen=True)
class UnregisteredKey:
    """The grant of an enrolment ticket."""

    key: PublicKey
    until: datetime


class Enrolment:
    """The enrolment tickets of this host and the codes that they present."""

    def __init__(self, login_socket: str, clock: Callable[[], float], now: Callable[[], datetime]) -> None:
        self.tickets: Tickets[UnregisteredKey] = Tickets(MAX_TICKETS)
        self._login_socket = login_socket
        self._clock = clock
        self._now = now

    def is_open(self, until: datetime | None, config: Config) -> bool:
        """Whether an unregistered key may present a code. `until` is the end of the last open enrolment."""
        return config.mfa_enrol_endpoint is not None and until is not None and until > self._now()

    def key_line(self, key: PublicKey, until: datetime | None, config: Config, request_id: str) -> str:
        """Returns the line of an unregistered key, or an empty string when too many tickets are out."""
        logger = log.get_logger().bind(request_id=request_id)
        if until is None:
            return ""
        now = self._clock()
        left = (until - self._now()).total_seconds()
        ticket = self.tickets.issue(UnregisteredKey(key, until), request_id, now, min(LIFETIME, left))
        if ticket is None:
            logger.warning("keys.none", reason="too many enrolment tickets are out", fingerprint=key.fingerprint)
            return ""
        logger.info("keys.listed_for_enrolment", login=ticket.request_id, fingerprint=key.fingerprint)
        ends = self._now() + timedelta(seconds=ticket.expires_at - now)
        command = (config.login_path, "--agent", self._login_socket, "--ticket", ticket.secret)
        return authorized_keys.line(key, command, expires_at=ends) + "\n"

    def has_ticket(self, secret: str) -> bool:
        """Whether this is a valid ticket of an unregistered key."""
        return self.tickets.peek(secret, self._clock()) is not None

    async def answer(
        self, request: LoginRequest, client: IdentityClient, login_tickets: Tickets[Grant], workers: ThreadPoolExecutor
    ) -> dict[str, str]:
        """Presents the code and returns `state`, perhaps `reason` and `reference`.

        With the state `presented` also `fingerprint` and `randomart`, which the person compares with the page.
        """
        now, secret = self._clock(), request.ticket
        ticket: Ticket[UnregisteredKey] | Ticket[Grant] | None
        ticket = self.tickets.peek(secret, now) or login_tickets.peek(secret, now)
        if ticket is None:
            log.get_logger().warning("enrol.refused", reason="invalid_ticket", client_ip=request.client_ip)
            return {"state": "invalid_ticket"}
        key = ticket.grant.key
        logger = log.get_logger().bind(
            request_id=ticket.request_id, fingerprint=key.fingerprint, client_ip=request.client_ip
        )
        outcome = _refusal(request, key, client.config)
        # The wrong key spends the ticket too: the ticket was printed for another key.
        if outcome is None or outcome.state == "wrong_key":
            self.tickets.take(secret, now)
            login_tickets.take(secret, now)
        if outcome is None:
            try:
                outcome = await _present(client, workers, key, request, ticket.request_id)
            except (SshaftError, TimeoutError) as error:
                logger.warning("enrol.failed", message=str(error) or "no answer in time")
                outcome = Outcome("unavailable")
        answer = {"state": outcome.state, "reference": ticket.request_id}
        if outcome.state == "presented":
            logger.info("enrol.presented", key_type=key.type)
            return answer | {"fingerprint": key.fingerprint, "randomart": "\n".join(randomart(key))}
        logger.warning("enrol.refused", reason=outcome.reason or outcome.state, key_type=key.type)
        return answer | ({"reason": outcome.reason} if outcome.reason else {})


def _refusal(request: LoginRequest, key: PublicKey, config: Config) -> Outcome | None:
    """Returns the outcome that is known without the identity service; None: ask it."""
    if not isinstance(request, EnrolRequest):
        return Outcome("not_registered")
    if request.signed_key(config.allowed_key_types) != key:
        return Outcome("wrong_key")
    return None if request.code else Outcome("code_required")


async def _present(
    client: IdentityClient, workers: ThreadPoolExecutor, key: PublicKey, request: LoginRequest, request_id: str
) -> Outcome:
    seconds = client.config.accept_seconds
    client_ip, deadline = request.client_ip or None, Deadline.after(seconds)
    sent = asyncio.get_running_loop().run_in_executor(
        workers, client.enrol, key, request.code or "", client_ip, deadline, request_id
    )
    return await asyncio.wait_for(sent, seconds + GRACE_SECONDS)
