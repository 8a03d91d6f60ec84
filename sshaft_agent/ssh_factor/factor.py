"""Answers sshaft-keys with key lines, and forwards accept and reject to the identity service."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sshaft import authorized_keys, listing, log, public_key
from sshaft.deadline import Deadline
from sshaft.errors import InvalidKeyError, SshaftError
from sshaft.identity_client import Claim, IdentityClient, Outcome
from sshaft.listing import Grant
from sshaft.public_key import PublicKey
from sshaft_agent.observe import Observe, observe_nothing
from sshaft_agent.ssh_factor.enrolment import Enrolment
from sshaft_agent.ssh_factor.logins import Login, Logins, Prompts
from sshaft_agent.ssh_factor.lookup import GRACE_SECONDS, Lookups
from sshaft_agent.ssh_factor.questions import AcceptRequest, EnrolRequest, KeysQuestion, LoginRequest
from sshaft_agent.ssh_factor.tickets import LIFETIME, Purpose, Ticket, Tickets

_WORKERS = 8
_OVER = ("no_challenge", "expired", "cancelled", "already_rejected", "already_used")
_QUESTIONS = ("code_required", "confirm_required", "choice_required")
"""sshaft-login asks its person after these."""


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
        self.tickets = Tickets()
        self.logins = Logins()
        self._prompts = Prompts()
        self.outcomes: Counter[str] = Counter()
        self.client = client
        self._login_socket = login_socket
        self._observe = observe
        self._clock = clock
        self._now = now
        self.enrolment = Enrolment(self.tickets, login_socket, clock, now)
        # Accept and reject have threads of their own, so that many look-ups cannot delay the end of a login.
        self._workers = ThreadPoolExecutor(_WORKERS, "report")

    def replace_client(self, client: IdentityClient) -> None:
        """Switches to the client of a configuration that was read again."""
        self.client = client
        self.lookups.replace_client(client)

    def status(self) -> dict[str, Any]:
        """Returns the facts of `sshaft agent status`."""
        left = self.client.access_tokens.seconds_left()
        reached = "ok" if self.lookups.list_requests else "not asked yet"
        return {
            "identity_service": "down" if self.lookups.breaker.is_open else reached,
            "access_token_seconds_left": None if left is None else int(left),
            "logins": len(self.logins),
            "lookups": self.lookups.count,
            "list_requests": self.lookups.list_requests,
            "accepted": self.outcomes["accepted"],
        }

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
        if until is not None and self.enrolment.is_open(until, self.client.config):
            return self.enrolment.key_line(key, until, self.client.config, question.request_id)
        if grant is None:
            logger.debug("keys.none", reason="unknown", fingerprint=key.fingerprint)
            return ""
        return self._line_with_ticket(grant, question.request_id, logger)

    def _line_with_ticket(self, grant: Grant, request_id: str, logger: Any) -> str:
        lifetime = LIFETIME
        if grant.expires_at is not None:
            lifetime = min(lifetime, (grant.expires_at - self._now()).total_seconds())
        purpose = Purpose.VERIFIED_LOGIN if grant.verify_required else Purpose.LOGIN
        ticket = Ticket(purpose, request_id, self._clock() + lifetime, self.tickets.owner(grant.user))
        logger.info("keys.listed", user=grant.user, fingerprint=grant.key.fingerprint)
        word = self.tickets.write(ticket, grant.key)
        command = (self.client.config.login_path, "--agent", self._login_socket, "--ticket", word)
        return authorized_keys.line(grant.key, command, verify_required=grant.verify_required) + "\n"

    async def answer_login(self, request: LoginRequest) -> dict[str, str]:
        """Forwards the request and returns the fields of the outcome, and `reference`."""
        key = request.signed_key(self.client.config.allowed_key_types)
        ticket = self.tickets.read(request.ticket, key, self._clock()) if key else None
        if key is None or ticket is None:
            self.outcomes["invalid_ticket"] += 1
            log.get_logger().warning("login.refused", reason="invalid_ticket", client_ip=request.client_ip)
            return {"state": "invalid_ticket"}
        if isinstance(request, EnrolRequest) or ticket.purpose is Purpose.ENROLMENT:
            return await self.enrolment.answer(request, ticket, key, self.client, self._workers)
        logger = log.get_logger().bind(request_id=ticket.request_id)
        self._prompts.end(request.ticket)
        try:
            outcome = await self._check_and_forward(request, ticket, key)
        except (SshaftError, TimeoutError) as error:
            logger.warning("login.failed", message=str(error) or "no answer in time")
            outcome = Outcome("unavailable")
        if outcome.state in _QUESTIONS and not self._may_ask(request, key):
            outcome = Outcome("too_many_prompts")
        self.outcomes[outcome.state] += 1
        login = self.logins.find(request.ticket)
        _log_outcome(logger.bind(user=login.grant.user) if login else logger, outcome.state, key, request.client_ip)
        self._settle(request.ticket, outcome)
        who = {"user": login.grant.user} if login and outcome.state == "accepted" else {}
        return outcome.fields(self._now()) | {"reference": ticket.request_id, **who}

    def _may_ask(self, request: LoginRequest, key: PublicKey) -> bool:
        """Whether sshaft-login may wait for its person now."""
        return self._prompts.begin(request.ticket, key.fingerprint, request.client_ip, self._clock())

    def _settle(self, ticket: str, outcome: Outcome) -> None:
        """Lets the next session of this connection begin anew, if this login is over and the ticket may pass again."""
        login = self.logins.find(ticket)
        if login is not None and not login.passed and outcome.state in ("accepted", *_OVER):
            self.logins.forget(ticket)

    async def _check_and_forward(self, request: LoginRequest, ticket: Ticket, key: PublicKey) -> Outcome:
        """Finds what the key may do, and forwards the request."""
        login = self.logins.find(request.ticket) or await self._begin(request, ticket, key)
        if isinstance(login, Outcome):
            return login
        if login.passed:
            return Outcome("passed_before")
        if not login.grant.pending:  # but the person may have started a login after the line was printed
            # It stays the same until the end of this login: a confirmation must pass what the person has read.
            login.grant = await self._newer_grant(login.grant, ticket.request_id) or login.grant
        grant = login.grant
        if grant.verify_required and ticket.purpose is not Purpose.VERIFIED_LOGIN:
            return Outcome("verification_required")  # sshd has read the line of this connection already
        if isinstance(request, AcceptRequest) and grant.needs_code and request.code is None:
            return Outcome("code_required", context=grant.context)
        if not isinstance(request, AcceptRequest) and self.client.config.mfa_reject_endpoint is None:
            return Outcome("no_denials")
        return await self._pass(request, login, grant, ticket)

    async def _begin(self, request: LoginRequest, ticket: Ticket, key: PublicKey) -> Login | Outcome:
        """Returns a new login with what the key that signed may do, or the outcome for a key that opens nothing."""
        listed = await self.lookups.listing(key.fingerprint, ticket.request_id)
        grant = listing.decide(listed.of(key.fingerprint), self._now())
        if not isinstance(grant, Grant):
            return Outcome({listing.EXPIRED: "expired", None: "no_challenge"}.get(grant, "refused"))
        if self.tickets.owner(grant.user) != ticket.owner:
            return Outcome("invalid_ticket")
        return self.logins.add(request.ticket, Login(grant, ticket.expires_at))

    async def _pass(self, request: LoginRequest, login: Login, grant: Grant, ticket: Ticket) -> Outcome:
        """Forwards the request, and remembers a pass where the connection may have only one."""
        claim = Claim.of(grant, grant.key, request.code, request.client_ip, confirmed=request.confirmed)
        claim = replace(claim, verified=ticket.purpose is Purpose.VERIFIED_LOGIN)
        if request.choice is not None:
            if not 1 <= request.choice <= len(login.choices):
                return Outcome("refused")
            claim = replace(claim, challenge=login.choices[request.choice - 1])
        once = isinstance(request, AcceptRequest) and _passes_once(grant)
        login.passed = once  # before the answer: another session of this connection may come meanwhile
        try:
            outcome = await self._forward(request, claim, grant, ticket.request_id)
            login.passed = once and outcome.state == "accepted"
        except (SshaftError, TimeoutError):
            login.passed = False
            raise
        login.choices = tuple(choice.challenge for choice in outcome.choices) or login.choices
        return outcome

    async def _forward(self, request: LoginRequest, claim: Claim, grant: Grant, request_id: str) -> Outcome:
        """Sends the claim, and a second time for a newer challenge if the login was started again."""
        outcome = await self._send(request, claim, grant.key, request_id)
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
        if newer is None or newer.challenge == grant.challenge or (newer.verify_required and not claim.verified):
            return None
        again = replace(claim, challenge=newer.challenge, knows_challenges=newer.knows_challenges)
        return await self._send(request, again, grant.key, request_id)

    async def _newer_grant(self, grant: Grant, request_id: str) -> Grant | None:
        """Asks for the newest list. Returns what the same key of the same user may do now; None: nothing is pending."""
        listed = await self.lookups.listing(grant.key.fingerprint, request_id, fresh=True)
        newer = listing.decide(listed.of(grant.key.fingerprint), self._now())
        if not isinstance(newer, Grant) or newer.user != grant.user or not newer.pending:
            return None
        return newer

    async def _send(self, request: LoginRequest, claim: Claim, key: PublicKey, request_id: str) -> Outcome:
        """Sends accept or reject to the identity service in a thread. Raises `SshaftError` or `TimeoutError`.

        Each call is an attempt of its own. Only its repetitions after a failure count as one.
        """
        seconds = self.client.config.accept_seconds
        kind = "accept" if isinstance(request, AcceptRequest) else "reject"
        call = self.client.accept if kind == "accept" else self.client.reject
        sent = asyncio.get_running_loop().run_in_executor(
            self._workers, call, claim, secrets.token_hex(16), Deadline.after(seconds), request_id
        )
        started = time.monotonic()
        try:
            return await asyncio.wait_for(sent, seconds + GRACE_SECONDS)
        finally:
            self._observe(kind, time.monotonic() - started)
            self.lookups.forget(key.fingerprint)


def _passes_once(grant: Grant) -> bool:
    """Whether one connection may pass only one login.

    A touch of a security key stands for one login. A server without challenges can't tell two passes apart, and so a
    stolen ticket must not pass once more.
    """
    return grant.key.is_security_key or not grant.knows_challenges


def _log_outcome(logger: Any, state: str, key: PublicKey, client_ip: str) -> None:
    facts = {"fingerprint": key.fingerprint, "key_type": key.type, "client_ip": client_ip}
    event = {"accepted": "login.accepted", "rejected": "login.rejected", "presented": "login.presented"}.get(state)
    if event is not None:
        logger.info(event, **facts)
    elif state not in _QUESTIONS:
        logger.warning("login.refused", reason=state, **facts)
