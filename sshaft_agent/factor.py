"""What the agent does with a question: keys for sshd, accept and reject for sshaft-login. No sockets here."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sshaft import authorized_keys, listing, log, public_key
from sshaft.deadline import Deadline
from sshaft.errors import InvalidKeyError, SshaftError
from sshaft.identity_client import Claim, IdentityClient, Outcome
from sshaft.listing import Grant
from sshaft.public_key import PublicKey
from sshaft_agent.enrolment import Enrolment
from sshaft_agent.lookup import SLACK, Lookups
from sshaft_agent.tickets import LIFETIME, Ticket, Tickets

WORKERS = 8

Fields = dict[str, str]

OVER = ("no_challenge", "expired", "cancelled", "already_rejected", "already_used")


class Factor:
    """One identity service as seen from this host. Lives on the event loop; HTTP runs in threads."""

    def __init__(
        self,
        client: IdentityClient,
        login_socket: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.lookups = Lookups(client, clock)
        self.tickets: Tickets[Grant] = Tickets()
        self.outcomes: Counter[str] = Counter()
        self.client = client
        self._login_socket = login_socket
        self._clock = clock
        self._now = now
        self.enrolment = Enrolment(login_socket, clock, now)
        # its own threads: a storm of look-ups must not keep a login from ending
        self._workers = ThreadPoolExecutor(WORKERS, "report")

    @property
    def accepted(self) -> int:
        return self.outcomes["accepted"]

    def use(self, client: IdentityClient) -> None:
        self.client = client
        self.lookups.use(client)

    def close(self) -> None:
        self.lookups.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def keys(self, question: Fields, request_id: str) -> str:
        """The key line for the key that sshd was offered, or nothing. Raises `RemoteServiceError`."""
        logger = log.get_logger().bind(request_id=request_id)
        try:
            key = public_key.from_blob(
                question.get("type", ""), question.get("key", ""), self.client.config.allowed_key_types
            )
        except InvalidKeyError as error:
            logger.debug("keys.none", reason=str(error))
            return ""
        if question.get("fingerprint") != key.fingerprint:
            logger.error("keys.none", reason="%f is not the SHA256 fingerprint of %k", fingerprint=key.fingerprint)
            return ""
        listed = await self.lookups.listing(key.fingerprint, request_id)
        grant = listing.decide(listed.of(key.fingerprint), self._now())
        if isinstance(grant, str):
            logger.warning("key.opens_nothing", reason=grant, fingerprint=key.fingerprint)
            return ""
        until = listed.enrolment_until(key.fingerprint)
        if grant is None and self.enrolment.is_open(until, self.client.config):
            return self.enrolment.line(key, until, self.client.config, request_id)
        if grant is None or grant.key != key:
            logger.debug("keys.none", reason="unknown", fingerprint=key.fingerprint)
            return ""
        return self._line(grant, request_id, logger)

    def _line(self, grant: Grant, request_id: str, logger: Any) -> str:
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

    async def report(self, kind: str, question: Fields) -> Fields:
        """What became of `accept` or `reject`: the fields of the outcome, and `reference`."""
        if self.enrolment.concerns(kind, question):
            return await self.enrolment.report(kind, question, self.client, self.tickets, self._workers)
        ticket = self.tickets.peek(question.get("ticket", ""), self._clock())
        if ticket is None:
            self.outcomes["invalid_ticket"] += 1
            log.get_logger().warning("login.refused", reason="invalid_ticket", client_ip=question.get("client_ip", ""))
            return {"state": "invalid_ticket"}
        logger = log.get_logger().bind(request_id=ticket.request_id, user=ticket.grant.user)
        try:
            outcome = await self._report(kind, question, ticket)
        except (SshaftError, TimeoutError) as error:
            logger.warning("login.failed", message=str(error) or "no answer in time")
            outcome = Outcome("unavailable")
        self.outcomes[outcome.state] += 1
        facts = {
            "fingerprint": ticket.grant.key.fingerprint,
            "key_type": ticket.grant.key.type,
            "client_ip": question.get("client_ip", ""),
        }
        if outcome.state in ("accepted", "rejected"):
            logger.info("login.accepted" if outcome.state == "accepted" else "login.rejected", **facts)
        elif outcome.state == "presented":
            logger.info("login.presented", **facts)
        elif outcome.state not in ("code_required", "confirm_required"):
            logger.warning("login.refused", reason=outcome.state, **facts)
        return outcome.fields(self._now()) | {"reference": ticket.request_id}

    async def _report(self, kind: str, question: Fields, ticket: Ticket[Grant]) -> Outcome:
        grant = ticket.grant
        try:
            signed = public_key.from_blob(
                question.get("key_type", ""), question.get("key", ""), self.client.config.allowed_key_types
            )
        except InvalidKeyError:
            signed = None
        if signed != grant.key:
            # Somebody has a ticket that was printed for another key: it is burnt.
            self.tickets.take(ticket.secret, self._clock())
            return Outcome("wrong_key")
        code = question.get("code") or None
        if not grant.pending:
            # The line said "this key is registered"; the login may have been started since.
            newer = await self._newer(grant, ticket.request_id)
            if newer is None:
                return Outcome("no_challenge")
            grant = newer
        unanswerable = self._unanswerable(kind, grant, code)
        if unanswerable is not None:
            return unanswerable
        if self.tickets.take(ticket.secret, self._clock()) is None:  # another session of this connection was first
            return Outcome("invalid_ticket")
        claim = self._claim(grant, code, question)
        outcome = await self._settle(kind, grant, claim, ticket.request_id)
        if outcome.state == "confirm_required":  # the person is asked, and this very login goes on with the answer
            self.tickets.put_back(ticket)
        return outcome

    def _unanswerable(self, kind: str, grant: Grant, code: str | None) -> Outcome | None:
        """What needs no question to the identity service, and spends no ticket."""
        if kind == "accept" and grant.needs_code and code is None:
            return Outcome("code_required", context=grant.context)
        if kind == "reject" and self.client.config.mfa_reject_endpoint is None:
            return Outcome("no_denials")
        return None

    @staticmethod
    def _claim(grant: Grant, code: str | None, question: Fields) -> Claim:
        return Claim(
            user=grant.user,
            challenge=grant.challenge,
            code=code,
            fingerprint=grant.key.fingerprint,
            key_type=grant.key.type,
            client_ip=question.get("client_ip") or None,
            verified=grant.verify_required,
            confirmed=question.get("confirmed") == "yes",
            knows_challenges=grant.knows_challenges,
        )

    async def _settle(self, kind: str, grant: Grant, claim: Claim, request_id: str) -> Outcome:
        outcome = await self._send(kind, claim, grant.key, request_id, request_id)
        if outcome.state in OVER and (claim.code is not None or kind == "reject"):
            # What we remembered of the list was old: the person has started the login again since.
            newer = None
            with suppress(SshaftError):  # then the first answer stands
                newer = await self._newer(grant, request_id)
            if newer is not None and newer.challenge != grant.challenge:
                again = replace(claim, challenge=newer.challenge, knows_challenges=newer.knows_challenges)
                return await self._send(kind, again, grant.key, f"{request_id}-again", request_id)
        return outcome

    async def _newer(self, grant: Grant, request_id: str) -> Grant | None:
        """What the same key of the same user may do by the newest list; only if something is pending."""
        entries = await self.lookups.entries(grant.key.fingerprint, request_id, fresh=True)
        newer = listing.decide(entries, self._now())
        if not isinstance(newer, Grant) or newer.user != grant.user or not newer.pending:
            return None
        # verify-required is sshd's to enforce, by the key line: too late for this connection
        return newer if newer.verify_required == grant.verify_required else None

    async def _send(self, kind: str, claim: Claim, key: PublicKey, attempt: str, request_id: str) -> Outcome:
        seconds = self.client.config.accept_seconds
        call = self.client.accept if kind == "accept" else self.client.reject
        sent = asyncio.get_running_loop().run_in_executor(
            self._workers, call, claim, attempt, Deadline.after(seconds), request_id
        )
        started = time.monotonic()
        try:
            return await asyncio.wait_for(sent, seconds + SLACK)
        finally:
            self.lookups.observe(kind, time.monotonic() - started)
            self.lookups.forget(key.fingerprint)
