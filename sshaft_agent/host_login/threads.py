"""Runs what blocks (HTTP, look-ups of accounts, the database) in threads, and measures the calls of the provider."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from sshaft_agent.observe import Observe

_WORKERS = 16
_VERIFIERS = 64
"""Tokens of strangers that name a provider which is away must not hold up the tokens of another one."""
_POLLERS = 64
"""A thousand logins that wait for approval need so many if the provider answers after 0.3 s."""

_WATCHERS = 64
"""Requests that wait at our identity service for news of an approval, 25 seconds each. Others ask again and again."""

T = TypeVar("T")
P = ParamSpec("P")


class FullError(Exception):
    """Too many calls wait already."""


class BoundedThreads:
    """Threads for calls that many strangers may cause. `most` calls run or wait. Used on the event loop alone."""

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._most = most
        self._waiting = 0

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Returns the result of the function. Raises `FullError`."""
        if self._waiting >= self._most:
            raise FullError
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(function, *arguments, **named))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Threads:
    """`observe` takes the duration of each call of the provider."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._workers = ThreadPoolExecutor(_WORKERS, "host-login")
        self._verifiers = ThreadPoolExecutor(_VERIFIERS, "host-login-token")
        self._pollers = ThreadPoolExecutor(_POLLERS, "host-login-poll")
        self._watchers = BoundedThreads("host-login-watch", _WATCHERS, _WATCHERS)

    async def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Returns the result of the function."""
        return await asyncio.wrap_future(self._workers.submit(function, *arguments, **named))

    async def ask(self, call: str, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Returns the result of a function that asks the provider. `call` names it in the metrics."""
        return await self.run(self._observed(call, function), *arguments, **named)

    async def verify(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Returns the result of a function that verifies a token.

        Any stranger may send one. So these calls have threads of their own, too.
        """
        return await asyncio.wrap_future(self._verifiers.submit(self._observed("token", function), *arguments, **named))

    async def poll(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Returns the result of a function that asks the provider whether somebody has approved.

        These calls have threads of their own: no step of another login waits for the polls of strangers.
        """
        return await asyncio.wrap_future(self._pollers.submit(self._observed("poll", function), *arguments, **named))

    async def watch(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Returns the result of a function that waits for news at a service. Raises `FullError`."""
        return await self._watchers.run(function, *arguments, **named)

    def ask_later(self, call: str, function: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
        """Calls a function that asks the provider, and whose result nobody needs."""
        self._workers.submit(self._observed(call, function), *arguments, **named)

    def close(self) -> None:
        for threads in (self._workers, self._verifiers, self._pollers):
            threads.shutdown(wait=False, cancel_futures=True)
        self._watchers.close()

    def _observed(self, call: str, function: Callable[P, T]) -> Callable[P, T]:
        def measure(*arguments: P.args, **named: P.kwargs) -> T:
            started = time.monotonic()
            try:
                return function(*arguments, **named)
            finally:
                self._observe(call, time.monotonic() - started)

        return measure
