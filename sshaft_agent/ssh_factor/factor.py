"""Answers sshaft-keys with key lines, and forwards accept and reject to the identity service."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sshaft import authorized_keys, listing, log, public_key
from sshaft.deadline import Deadline
from sshaft.errors import InvalidKeyError, SshaftError
from sshaft.identity_client import Claim, IdentityClient, Outcome
from sshaft.listing import Grant
from sshaft.public_key import PublicKey
from sshaft_agent.ssh_factor.enrolment import Enrolment
from sshaft_agent.ssh_factor.lookup import GRACE_SECONDS, Lookups, Observe, observe_nothing
from sshaft_agent.ssh_factor.questions import AcceptRequest, EnrolRequest, KeysQuestion, LoginRequest
from sshaft_agent.ssh_factor.tickets import LIFETIME, Ticket, Tickets

_WORKERS = 8
_OVER = ("no_challenge", "expired", "cancelled", "already_rejected", "already_used")


class Factor:
    """The SSH factor of one identity service on this host. Runs on the event loop; HTTP runs in threads."""

    def __init__(
        self,
        client: IdentityClient,
        login_socket: str,
        observe: Observe = observe_nothing,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.lookups = Lookups(client, clock, observe)
        self.tickets: Tickets[Grant] = Tickets()
        self.outcomes: Counter[str] = Counter()
        self.client = client
        self._login_socket = login_socket
        self._observe = observe
        self._clock = clock
        self._now = now
        self.enrolment = Enrolment(login_socket, clock, now)
        # Accept and reject have threads of their own, so that many look-ups cannot delay the end of a login.
        self._workers = ThreadPoolExecutor(_WORKERS, "report")

    def replace_client(self, client: IdentityClient) -> None:
        """Switches to the client of a configuration that was read again."""
        self.client = client
        self.lookups.replace_client(client)

    def close(self) -> None:
        self.lookups.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def key_line(self, question: KeysQuestion) -> str:
        """Returns the line of the offered key, or an empty string for a key that may not log in.

        Raises `RemoteServiceError`.
        """
        logger = log.get_logger().bind(request_id=question.request_id)
        try:
            key = public_key.from_blob(question.key_type, question.key, self.client.config.allowed_key_types)
        except InvalidKeyError as error:
            logger.debug("keys.none", reason=str(error))
            return ""
        if question.fingerprint != key.fingerprint:
            logger.error("keys.none", reason="%f is not the SHA256 fingerprint of %k", fingerprint=key.fingerprint)
            return ""
        listed = await self.lookups.listing(key.fingerprint, question.request_id)
        grant = listing.decide(listed.of(key.fingerprint), self._now())
        if isinstance(grant, str):
            logger.warning("key.opens_nothing", reason=grant, fingerprint=key.fingerprint)
            return ""
        until = listed.enrolment_until(key.fingerprint)
        if grant is None and self.enrolment.is_open(until, self.client.config):
            return self.enrolment.key_line(key, until, self.client.config, question.request_id)
        if grant is None or grant.key != key:
            logger.debug("keys.none", reason="unknown", fingerprint=key.fingerprint)
            return ""
        return self._line_with_ticket(grant, question.request_id, logger)

    def _line_with_ticket(self, grant: Grant, request_id: str, logger: Any) -> str:
        lifetime = LIFETIME
        if grant.expires_at is not None:
            lifetime = min(lifetime, (grant.expires_at - self._now()).total_seconds())
        now = self._clock()
        ticket = self.tickets.issue(grant, request_id, now, lifetime)
        if ticket is None:
            logger.error("keys.none", reason="too many tickets are out", fingerprint=grant.key.fingerprint)
            return ""
        logger.info("keys.listed", login=ticket.request_id, user=grant.user, fingerprint=grant.key.fingerprint)
        ends = self._now() + timedelta(seconds=ticket.expires_at - now) if grant.expires_at is not None else None
        command = (self.client.config.login_path, "--agent", self._login_socket, "--ticket", ticket.secret)
        line = authorized_keys.line(grant.key, command, expires_at=ends, verify_required=grant.verify_required)
        return line + "\n"

    async def answer_login(self, request: LoginRequest) -> dict[str, str]:
        """Forwards the request and returns the fields of the outcome, and `reference`."""
        if isinstance(request, EnrolRequest) or self.enrolment.has_ticket(request.ticket):
            return await self.enrolment.answer(request, self.client, self.tickets, self._workers)
        ticket = self.tickets.peek(request.ticket, self._clock())
        if ticket is None:
            self.outcomes["invalid_ticket"] += 1
            log.get_logger().warning("login.refused", reason="invalid_ticket", client_ip=request.client_ip)
            return {"state": "invalid_ticket"}
        logger = log.get_logger().bind(request_id=ticket.request_id, user=ticket.grant.user)
        try:
            outcome = await self._check_and_forward(request, ticket)
        except (SshaftError, TimeoutError) as error:
            logger.warning("login.failed", message=str(error) or "no answer in time")
            outcome = Outcome("unavailable")
        self.outcomes[outcome.state] += 1
        _log_outcome(logger, outcome.state, ticket.grant.key, request.client_ip)
        return outcome.fields(self._now()) | {"reference": ticket.request_id}

    async def _check_and_forward(self, request: LoginRequest, ticket: Ticket[Grant]) -> Outcome:
        """Checks key and code, spends the ticket and forwards the request."""
        if request.signed_key(self.client.config.allowed_key_types) != ticket.grant.key:
            # The ticket was printed for another key: it may have been stolen.
            self.tickets.take(ticket.secret, self._clock())
            return Outcome("wrong_key")
        grant: Grant | None = ticket.grant
        if not ticket.grant.pending:  # but the person may have started a login after the line was printed
            grant = await self._newer_grant(ticket.grant, ticket.request_id)
        if grant is None:
            return Outcome("no_challenge")
        if isinstance(request, AcceptRequest) and grant.needs_code and request.code is None:
            return Outcome("code_required", context=grant.context)
        if not isinstance(request, AcceptRequest) and self.client.config.mfa_reject_endpoint is None:
            return Outcome("no_denials")
        if self.tickets.take(ticket.secret, self._clock()) is None:  # another session of this connection was first
            return Outcome("invalid_ticket")
        outcome = await self._forward(request, grant, ticket.request_id)
        if outcome.state == "confirm_required":  # sshaft-login asks the person and comes back with the same ticket
            self.tickets.put_back(ticket)
        return outcome

    async def _forward(self, request: LoginRequest, grant: Grant, request_id: str) -> Outcome:
        """Sends the request for the challenge of `grant`, and a second time if the login was started again."""
        claim = Claim.of(grant, grant.key, request.code, request.client_ip, confirmed=request.confirmed)
        outcome = await self._send(request, claim, grant.key, request_id, request_id)
        if outcome.state in _OVER and not (isinstance(request, AcceptRequest) and claim.code is None):
            return await self._retry_if_restarted(request, claim, grant, request_id) or outcome
        return outcome

    async def _retry_if_restarted(
        self, request: LoginRequest, claim: Claim, grant: Grant, request_id: str
    ) -> Outcome | None:
        """Sends the claim for a newer challenge. None: the list has no newer one, or can't be had."""
        try:
            newer = await self._newer_grant(grant, request_id)
        except SshaftError:
            return None
        if newer is None or newer.challenge == grant.challenge:
            return None
        again = replace(claim, challenge=newer.challenge, knows_challenges=newer.knows_challenges)
        return await self._send(request, again, grant.key, f"{request_id}-again", request_id)

    async def _newer_grant(self, grant: Grant, request_id: str) -> Grant | None:
        """Asks for the newest list. Returns what the same key of the same user may do now; None: nothing is pending."""
        listed = await self.lookups.listing(grant.key.fingerprint, request_id, fresh=True)
        newer = listing.decide(listed.of(grant.key.fingerprint), self._now())
        if not isinstance(newer, Grant) or newer.user != grant.user or not newer.pending:
            return None
        # sshd enforces verify-required by the key line, and it has read the line of this connection already.
        return newer if newer.verify_required == grant.verify_required else None

    async def _send(
        self, request: LoginRequest, claim: Claim, key: PublicKey, attempt: str, request_id: str
    ) -> Outcome:
        """Sends accept or reject to the identity service in a thread. Raises `SshaftError` or `TimeoutError`."""
        seconds = self.client.config.accept_seconds
        kind = "accept" if isinstance(request, AcceptRequest) else "reject"
        call = self.client.accept if kind == "accept" else self.client.reject
        sent = asyncio.get_running_loop().run_in_executor(
            self._workers, call, claim, attempt, Deadline.after(seconds), request_id
        )
        started = time.monotonic()
        try:
            return await asyncio.wait_for(sent, seconds + GRACE_SECONDS)
        finally:
            self._observe(kind, time.monotonic() - started)
            self.lookups.forget(key.fingerprint)


def _log_outcome(logger: Any, state: str, key: PublicKey, client_ip: str) -> None:
    facts = {"fingerprint": key.fingerprint, "key_type": key.type, "client_ip": client_ip}
    event = {"accepted": "login.accepted", "rejected": "login.rejected", "presented": "login.presented"}.get(state)
    if event is not None:
        logger.info(event, **facts)
    elif state not in ("code_required", "confirm_required"):
        logger.warning("login.refused", reason=state, **facts)
