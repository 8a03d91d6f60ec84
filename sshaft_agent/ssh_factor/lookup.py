"""Merges, batches and briefly caches key look-ups, and refuses them at once while the identity service is down."""

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
from sshaft.listing import Listing
from sshaft_agent.breaker import Breaker
from sshaft_agent.observe import Observe, observe_nothing

CACHE_SECONDS = 2.0
CACHE_SECONDS_UNKNOWN = 0.5
"""Known and unknown keys are cached this long, because sshd asks twice a login. The identity service decides on accept,
whatever the cache says."""
_MAX_CACHED = 10_000
_WORKERS = 16
_CLOCK_TOLERANCE = timedelta(seconds=30)
"""A larger change between this host's clock and the identity service's is logged."""
GRACE_SECONDS = 0.2
"""How long a worker may exceed its own deadline before its call counts as failed."""

_EVERY_KEY = "*"

_LISTS_PER_SECOND = 50.0
LIST_BURST = 32
"""The number of lists that may be requested at once. Strangers can offer new keys as fast as they like; faster look-ups
wait some milliseconds and share a list."""
_MAX_BATCH = 50
_MAX_SINGLE = 16
"""If more look-ups wait than this, a server that takes one key at a time is asked for every key."""


@dataclass(frozen=True)
class _PendingLookup:
    """A fingerprint (or `*`) that waits to be sent."""

    question: str
    request_id: str
    answer: asyncio.Future[Listing]


class _RateLimit:
    """Allows `per_second` calls in the long run and `burst` calls at once."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._slack = self._interval * (burst - 1)
        self._due = 0.0

    def delay(self, now: float) -> float:
        """Returns the seconds until the next call may go out. With 0 the call goes out now and is counted."""
        early = self._due - now - self._slack
        if early > 0:
            return early
        self._due = max(self._due, now) + self._interval
        return 0.0


class Lookups:
    """Looks keys up for the event loop; the calls to the identity service run in threads."""

    def __init__(
        self, client: IdentityClient, clock: Callable[[], float] = time.monotonic, observe: Observe = observe_nothing
    ) -> None:
        self.breaker = Breaker()
        self.count = 0
        self.list_requests = 0
        self.cache_hits = 0
        self._client = client
        self._clock = clock
        self._observe = observe
        self._workers = ThreadPoolExecutor(_WORKERS, "list")
        self._answers: dict[str, asyncio.Future[Listing]] = {}
        self._waiting: deque[_PendingLookup] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._rate_limit = _RateLimit(_LISTS_PER_SECOND, LIST_BURST)
        self._timer: asyncio.TimerHandle | None = None
        self._batch_size = 1
        self._cache: dict[str, tuple[float, Listing]] = {}
        self._clock_ahead = timedelta()
        self._lists_every_key = False
        self._first_answer: asyncio.Future[Listing] | None = None

    def replace_client(self, client: IdentityClient) -> None:
        """Switches to the client of a configuration that was read again, and forgets all answers."""
        self._client = client
        self._lists_every_key = False
        self._batch_size = 1
        self._first_answer = None
        self._cache.clear()
        self.breaker = Breaker()

    def forget(self, fingerprint: str) -> None:
        """Removes a key from the cache, because a challenge of its owner has just ended."""
        self._cache.pop(fingerprint, None)
        self._cache.pop(_EVERY_KEY, None)

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def listing(self, fingerprint: str, request_id: str, *, fresh: bool = False) -> Listing:
        """Returns a listing with the entries of this key, and perhaps of others; `fresh` bypasses the cache.

        Raises `RemoteServiceError`, at once while the breaker is open.
        """
        self.count += 1
        if self._first_answer is not None and not self._first_answer.done():
            # The first answer shows whether this server filters. If not, it answers all look-ups that wait here. If
            # the first question fails, the others would fail too.
            await asyncio.shield(self._first_answer)
        question = _EVERY_KEY if self._lists_every_key else fingerprint
        cached = None if fresh else self._cache.get(question)
        if cached is not None and self._clock() < cached[0]:
            self.cache_hits += 1
            return cached[1]
        answer = self._answers.get(question)
        if answer is None:
            if not self.breaker.allows(self._clock()):
                raise ReachError("the identity service is down (circuit open)")
            answer = self._answers[question] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_mark_error_as_seen)
            self._first_answer = self._first_answer or answer
            self._waiting.append(_PendingLookup(question, request_id, answer))
            self._send_batches()
        return await asyncio.shield(answer)

    def _send_batches(self) -> None:
        """Sends the waiting look-ups in batches, as long as a worker is free and the rate limit allows."""
        while self._waiting and len(self._batches) < _WORKERS:
            if delay := self._rate_limit.delay(self._clock()):
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(delay, self._delay_over)
                return
            every_key = self._batch_size == 1 and len(self._waiting) > _MAX_SINGLE
            size = len(self._waiting) if every_key else min(self._batch_size, len(self._waiting))
            lookups = [self._waiting.popleft() for _ in range(size)]
            batch = asyncio.create_task(self._send(lookups))
            self._batches.add(batch)
            batch.add_done_callback(self._batch_done)

    def _delay_over(self) -> None:
        self._timer = None
        self._send_batches()

    def _batch_done(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        self._send_batches()

    async def _send(self, batch: list[_PendingLookup]) -> None:
        """Requests one list for a batch and hands every look-up its answer or the error."""
        questions = [lookup.question for lookup in batch]
        if _EVERY_KEY in questions or len(questions) > self._batch_size:
            questions = []
        try:
            listing = await self._request_list(questions, batch[0].request_id)
        except Exception as error:  # noqa: BLE001 - the look-ups of this batch raise it
            if self.breaker.is_open:  # look-ups that were not sent yet would fail too
                batch += self._waiting
                self._waiting.clear()
            for lookup in batch:
                self._answers.pop(lookup.question, None)
                lookup.answer.set_exception(error)
            return
        for lookup in batch:
            self._answers.pop(lookup.question, None)
            lookup.answer.set_result(listing)

    async def _request_list(self, questions: list[str], request_id: str) -> Listing:
        """Requests a list from the identity service and reports to the breaker; no questions: the list of every key."""
        self.list_requests += 1
        client, breaker = self._client, self.breaker
        seconds = client.config.list_seconds
        call = asyncio.get_running_loop().run_in_executor(
            self._workers, client.list_keys, questions, Deadline.after(seconds), request_id
        )
        started = time.monotonic()
        try:
            listing = await asyncio.wait_for(call, seconds + GRACE_SECONDS)
        except Exception as error:
            # Every error counts: a trial without a result would keep the breaker open for ever.
            if client is self._client:
                self._first_answer = None
            if breaker.failed(self._clock()):
                log.get_logger().error("identity.down", message=str(error), request_id=request_id)
            if isinstance(error, TimeoutError):
                raise ReachError("no answer in time") from error
            raise
        finally:
            self._observe("list", time.monotonic() - started)
        if breaker.succeeded():
            log.get_logger().info("identity.up", request_id=request_id)
        if client is self._client:  # the configuration was not replaced in the meantime
            self._learn(listing, questions, request_id)
        return listing

    def _learn(self, listing: Listing, questions: list[str], request_id: str) -> None:
        """Logs left-out entries and wrong clocks, notes the abilities of the server, and fills the cache."""
        for reason, count in listing.left_out.items():
            log.get_logger().warning("entry.left_out", reason=reason, count=count, request_id=request_id)
        if abs(listing.ahead - self._clock_ahead) >= _CLOCK_TOLERANCE:
            self._clock_ahead = listing.ahead
            seconds = round(listing.ahead.total_seconds())
            log.get_logger().warning("clocks.differ", ahead_of_identity_service=seconds, request_id=request_id)
        self._batch_size = min(listing.takes, _MAX_BATCH)
        if questions and not listing.entries.keys() <= set(questions):
            # The server ignores ?fingerprint=, so one answer serves every look-up.
            self._lists_every_key = True
        if self._lists_every_key:
            self._store(_EVERY_KEY, listing)
        else:
            for question in questions:
                self._store(question, listing.only(question))

    def _store(self, question: str, listing: Listing) -> None:
        """Caches an answer and removes the oldest ones that have expired or are too many."""
        now = self._clock()
        while self._cache:
            oldest = next(iter(self._cache))
            if now < self._cache[oldest][0] and len(self._cache) < _MAX_CACHED:
                break
            del self._cache[oldest]
        self._cache.pop(question, None)  # so that the new answer becomes the youngest
        self._cache[question] = (now + (CACHE_SECONDS if listing.entries else CACHE_SECONDS_UNKNOWN), listing)


def _mark_error_as_seen(answer: asyncio.Future[Listing]) -> None:
    """Keeps asyncio from logging an error that no look-up waits for any more."""
    if not answer.cancelled():
        answer.exception()
