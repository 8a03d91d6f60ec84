"""Look-ups of keys: many askers, few questions. One answer for all who ask the same, some calls a second for all who do
not, a short memory, a breaker.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

CALLS_A_SECOND = 50.0
CALLS_AT_ONCE = 32
"""Of lists: strangers can offer keys as fast as they like, and each may be a new one. Who comes faster than that waits
some milliseconds and is asked for together with others."""
MOST_TOGETHER = 50
CROWD = 16
"""More than so many waiting, and a server that takes one key at a time is asked for everybody's."""

Observe = Callable[[str, float], None]
"""Hears which call to the identity service took how many seconds."""


@dataclass(frozen=True)
class _Wait:
    """Somebody who has to know."""

    question: str
    request_id: str
    answer: asyncio.Future[Listing]


class Pace:
    """So many a second in the long run, and some at once."""

    def __init__(self, a_second: float, at_once: int) -> None:
        self._interval = 1 / a_second
        self._slack = self._interval * (at_once - 1)
        self._due = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next may go; 0: it goes now."""
        early = self._due - now - self._slack
        if early > 0:
            return early
        self._due = max(self._due, now) + self._interval
        return 0.0


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
        self._answers: dict[str, asyncio.Future[Listing]] = {}
        self._waiting: deque[_Wait] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._pace = Pace(CALLS_A_SECOND, CALLS_AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None
        self._takes = 1
        self._remembered: dict[str, tuple[float, Listing]] = {}
        self._ahead = timedelta()
        self._lists_everything = False
        self._first: asyncio.Future[Listing] | None = None

    def use(self, client: IdentityClient) -> None:
        """From now on ask this one (the configuration was read again)."""
        self._client = client
        self._lists_everything = False
        self._takes = 1
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
        """The entries of one key. Raises `RemoteServiceError`, at once while the breaker is open."""
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
        answer = self._answers.get(question)
        if answer is None:
            if not self.breaker.allows(self._clock()):
                raise ReachError("the identity service is down (circuit open)", unsent=True)
            answer = self._answers[question] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_is_seen)
            self._first = self._first or answer
            self._waiting.append(_Wait(question, request_id, answer))
            self._depart()
        return await asyncio.shield(answer)

    def _depart(self) -> None:
        """Those who wait go, as many at a time as the server takes, as soon as a worker is free and it is time."""
        while self._waiting and len(self._flights) < WORKERS:
            if pause := self._pace.pause(self._clock()):
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(pause, self._wake)
                return
            # One that takes a key at a time is asked for everybody's, as by those who know only the base.
            crowd = self._takes == 1 and len(self._waiting) > CROWD
            most = len(self._waiting) if crowd else self._takes
            together = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            flight = asyncio.create_task(self._fly(together))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _wake(self) -> None:
        self._timer = None
        self._depart()

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._depart()

    async def _fly(self, together: list[_Wait]) -> None:
        questions = [wait.question for wait in together]
        if EVERYTHING in questions or len(questions) > self._takes:
            questions = []
        try:
            listing = await self._call(questions, together[0].request_id)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told to those who wait for it
            if self.breaker.is_open:  # who has not left yet need not try
                together += self._waiting
                self._waiting.clear()
            for wait in together:
                self._answers.pop(wait.question, None)
                wait.answer.set_exception(error)
            return
        for wait in together:
            self._answers.pop(wait.question, None)
            wait.answer.set_result(listing if wait.question == EVERYTHING else listing.only(wait.question))

    async def _call(self, questions: list[str], request_id: str) -> Listing:
        self.calls += 1
        client, breaker = self._client, self.breaker
        seconds = client.config.list_seconds
        call = asyncio.get_running_loop().run_in_executor(
            self._workers, client.list_keys, questions, Deadline.after(seconds), request_id
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
            self._learn(listing, questions, request_id)
        return listing

    def _learn(self, listing: Listing, questions: list[str], request_id: str) -> None:
        for reason, count in listing.left_out.items():
            log.get_logger().warning("entry.left_out", reason=reason, count=count, request_id=request_id)
        if abs(listing.ahead - self._ahead) >= WORTH_TELLING:
            self._ahead = listing.ahead
            seconds = round(listing.ahead.total_seconds())
            log.get_logger().warning("clocks.differ", ahead_of_identity_service=seconds, request_id=request_id)
        self._takes = min(listing.takes, MOST_TOGETHER)
        if questions and not listing.entries.keys() <= set(questions):
            # A server that ignores ?fingerprint=: one answer serves everybody.
            self._lists_everything = True
        if self._lists_everything:
            self._remember(EVERYTHING, listing)
        for question in () if self._lists_everything else questions:
            self._remember(question, listing.only(question))

    def _remember(self, question: str, listing: Listing) -> None:
        now = self._clock()
        while self._remembered:
            oldest = next(iter(self._remembered))
            if now < self._remembered[oldest][0] and len(self._remembered) < MAX_REMEMBERED:
                break
            del self._remembered[oldest]
        self._remembered.pop(question, None)  # the new one is the youngest
        self._remembered[question] = (now + (REMEMBERED_FOUND if listing.entries else REMEMBERED_NOTHING), listing)


def _is_seen(answer: asyncio.Future[Listing]) -> None:
    """If all who waited for it have gone, nobody else looks at its error."""
    if not answer.cancelled():
        answer.exception()
