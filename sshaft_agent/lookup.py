"""Look-ups of keys: many askers, few questions. One flight at a time for one question, a short memory, a breaker."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sshaft import log
from sshaft.deadline import Deadline
from sshaft.errors import ReachError
from sshaft.identity_client import IdentityClient
from sshaft.listing import Entry, Listing
from sshaft_agent.breaker import Breaker

REMEMBERED_FOUND = 2.0
REMEMBERED_NOTHING = 0.5
"""Seconds. sshd asks twice a login. What is remembered is not the last word: the identity service decides on accept."""
MAX_REMEMBERED = 10_000
WORKERS = 16
WORTH_TELLING = timedelta(seconds=30)
"""Between this host's clock and the identity service's."""
SLACK = 0.2
"""Seconds that a worker may be late with its own deadline before nobody waits for it any more."""

EVERYTHING = "*"

Observe = Callable[[str, float], None]
"""Hears which call to the identity service took how many seconds."""


def observe_nothing(_call: str, _seconds: float) -> None:
    """Where nobody measures."""


class Lookups:
    """`entries(fingerprint)` for the event loop; the calls run in threads."""

    def __init__(self, client: IdentityClient, clock: Callable[[], float] = time.monotonic) -> None:
        self.breaker = Breaker()
        self.asked = 0
        self.calls = 0
        self.remembered = 0
        self.observe: Observe = observe_nothing
        self._client = client
        self._clock = clock
        self._workers = ThreadPoolExecutor(WORKERS, "list")
        self._flights: dict[str, asyncio.Task[Listing]] = {}
        self._remembered: dict[str, tuple[float, Listing]] = {}
        self._ahead = timedelta()
        self._lists_everything = False
        self._first: asyncio.Task[Listing] | None = None

    def use(self, client: IdentityClient) -> None:
        """From now on ask this one (the configuration was read again)."""
        self._client = client
        self._lists_everything = False
        self._first = None
        self._remembered.clear()
        self.breaker = Breaker()

    def forget(self, fingerprint: str) -> None:
        """A challenge of this key's owner has just ended: ask anew."""
        self._remembered.pop(fingerprint, None)
        self._remembered.pop(EVERYTHING, None)

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def entries(self, fingerprint: str, request_id: str, *, fresh: bool = False) -> tuple[Entry, ...]:
        """The entries of one key. Raises `IdentityServiceError`, at once while the breaker is open."""
        return (await self.listing(fingerprint, request_id, fresh=fresh)).of(fingerprint)

    async def listing(self, fingerprint: str, request_id: str, *, fresh: bool = False) -> Listing:
        """As `entries`, with what else the answer says."""
        self.asked += 1
        if self._first is not None and not self._first.done():
            # The first answer tells whether this server filters; if not, it has answered all who wait here. If there
            # is none, nobody who waits here would get a better one.
            await asyncio.shield(self._first)
        question = EVERYTHING if self._lists_everything else fingerprint
        known = None if fresh else self._remembered.get(question)
        if known is not None and self._clock() < known[0]:
            self.remembered += 1
            return known[1]
        flight = self._flights.get(question)
        if flight is None:
            if not self.breaker.allows(self._clock()):
                raise ReachError("the identity service is down (circuit open)", unsent=True)
            flight = asyncio.create_task(self._fly(question, fingerprint, request_id))
            self._first = self._first or flight
            self._flights[question] = flight
            flight.add_done_callback(lambda _: self._flights.pop(question, None))
        return await asyncio.shield(flight)

    async def _fly(self, question: str, fingerprint: str, request_id: str) -> Listing:
        self.calls += 1
        client, breaker = self._client, self.breaker
        seconds = client.config.list_seconds
        wanted = None if question == EVERYTHING else fingerprint
        call = asyncio.get_running_loop().run_in_executor(
            self._workers, client.list_keys, wanted, Deadline.after(seconds), request_id
        )
        started = time.monotonic()
        try:
            listing = await asyncio.wait_for(call, seconds + SLACK)
        except Exception as error:
            # Whatever it was: a trial whose end is not reported would keep the breaker open for good.
            if client is self._client:
                self._first = None
            if breaker.failed(self._clock()):
                log.get_logger().error("identity.down", message=str(error), request_id=request_id)
            if isinstance(error, TimeoutError):
                raise ReachError("no answer in time") from error
            raise
        finally:
            self.observe("list", time.monotonic() - started)
        if breaker.succeeded():
            log.get_logger().info("identity.up", request_id=request_id)
        if client is self._client:  # not an answer to the configuration before
            self._learn(listing, question, fingerprint, request_id)
        return listing

    def _learn(self, listing: Listing, question: str, fingerprint: str, request_id: str) -> None:
        for reason, count in listing.left_out.items():
            log.get_logger().warning("entry.left_out", reason=reason, count=count, request_id=request_id)
        if abs(listing.ahead - self._ahead) >= WORTH_TELLING:
            self._ahead = listing.ahead
            seconds = round(listing.ahead.total_seconds())
            log.get_logger().warning("clocks.differ", ahead_of_identity_service=seconds, request_id=request_id)
        if question != EVERYTHING and any(other != fingerprint for other in listing.entries):
            # A server that ignores ?fingerprint=: one answer serves everybody.
            self._lists_everything, question = True, EVERYTHING
        found = bool(listing.entries)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[question] = (self._clock() + (REMEMBERED_FOUND if found else REMEMBERED_NOTHING), listing)
