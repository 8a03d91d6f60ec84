"""Gives unregistered keys a line while enrolments are open. The ticket of such a line can present a code, no more.

sshd checks the signature before it runs the forced command: this proves possession of the key. The identity service
judges the code, and the person confirms the key on the page of the enrolment.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sshaft import authorized_keys, log
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import SshaftError
from sshaft.identity_client import IdentityClient, Outcome
from sshaft.public_key import PublicKey
from sshaft.randomart import randomart
from sshaft_agent.ssh_factor.logins import (
    UNREGISTERED_PROMPTS_PER_ADDRESS,
    UNREGISTERED_PROMPTS_PER_KEY,
    Prompts,
)
from sshaft_agent.ssh_factor.lookup import GRACE_SECONDS
from sshaft_agent.ssh_factor.questions import EnrolRequest, LoginRequest
from sshaft_agent.ssh_factor.tickets import LIFETIME, Purpose, Ticket, Tickets

_SKIP_SECONDS = 30.0
"""Time to run the command again. sshaft-login tells the person this time."""


class Enrolment:
    """The enrolment tickets of this host and the codes that they present."""

    def __init__(
        self, tickets: Tickets, login_socket: str, clock: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self._tickets = tickets
        self._skipped: dict[str, float] = {}
        """The keys that wanted to log in, and until when they get no line. ssh then offers its next key."""
        self._prompts = Prompts(UNREGISTERED_PROMPTS_PER_KEY, UNREGISTERED_PROMPTS_PER_ADDRESS)
        self._login_socket = login_socket
        self._clock = clock
        self._now = now

    def is_open(self, until: datetime, config: Config) -> bool:
        """Whether an unregistered key may present a code. `until` is the end of the last open enrolment."""
        return config.mfa_enrol_endpoint is not None and until > self._now()

    def key_line(self, key: PublicKey, until: datetime, config: Config, request_id: str) -> str:
        """Returns the line of an unregistered key, or an empty string for a key that has just wanted to log in."""
        now = self._clock()
        if now < self._skipped.get(key.fingerprint, now):
            return ""
        lifetime = min(LIFETIME, (until - self._now()).total_seconds())
        ticket = self._tickets.write(Ticket(Purpose.ENROLMENT, request_id, now + lifetime), key)
        log.get_logger().info("keys.listed_for_enrolment", request_id=request_id, fingerprint=key.fingerprint)
        command = (config.login_path, "--agent", self._login_socket, "--ticket", ticket)
        return authorized_keys.line(key, command) + "\n"

    async def answer(
        self, request: LoginRequest, ticket: Ticket, key: PublicKey, client: IdentityClient, workers: ThreadPoolExecutor
    ) -> dict[str, str]:
        """Presents the code and returns `state`, perhaps `reason` and `reference`.

        With the state `presented` also `fingerprint` and `randomart`, which the person compares with the page.
        """
        logger = log.get_logger().bind(
            request_id=ticket.request_id, fingerprint=key.fingerprint, client_ip=request.client_ip
        )
        self._prompts.end(request.ticket)
        outcome = self._refusal(request, key)
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
        if outcome.state != "code_required":
            logger.warning("enrol.refused", reason=outcome.reason or outcome.state, key_type=key.type)
        more = {"reason": outcome.reason, "retry_after": outcome.retry_after}
        return answer | {name: str(value) for name, value in more.items() if value is not None}

    def _refusal(self, request: LoginRequest, key: PublicKey) -> Outcome | None:
        """Returns the outcome that is known without the identity service; None: ask it."""
        if not isinstance(request, EnrolRequest):
            self._skip(key)
            return Outcome("not_registered")
        if request.code:
            return None
        may_ask = self._prompts.begin(request.ticket, key.fingerprint, request.client_ip, self._clock())
        return Outcome("code_required" if may_ask else "too_many_prompts")

    def _skip(self, key: PublicKey) -> None:
        """Gives this key no line for a while. sshd stops at the first key with a line; the person may have another."""
        now = self._clock()
        self._skipped = {name: until for name, until in self._skipped.items() if now < until}
        self._skipped[key.fingerprint] = now + _SKIP_SECONDS


async def _present(
    client: IdentityClient, workers: ThreadPoolExecutor, key: PublicKey, request: LoginRequest, request_id: str
) -> Outcome:
    seconds = client.config.accept_seconds
    client_ip, deadline = request.client_ip or None, Deadline.after(seconds)
    sent = asyncio.get_running_loop().run_in_executor(
        workers, client.enrol, key, request.code or "", client_ip, deadline, request_id
    )
    return await asyncio.wait_for(sent, seconds + GRACE_SECONDS)
