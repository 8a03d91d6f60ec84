"""Asks the agent at its API socket, and bounds what a client may have it do at once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from sshaft import messages
from sshaft.addresses import source_of
from sshaft.errors import ReachError
from sshaft_host_api import refusals
from sshaft_host_api.answers import AnAnswer, Denied, read
from sshaft_host_api.connections import Connections

ANSWER_SECONDS = 30.0
"""The agent may ask the provider, and have an account made."""
MAX_REQUESTS = 2048
MAX_REQUESTS_OF_A_SOURCE = 256
QUESTIONS_OF_A_SOURCE = 8
"""The agent answers so many at once. The other requests of the source wait, and those of other sources do not."""

_source_of = lru_cache(maxsize=1024)(source_of)


class _Source:
    """The requests of one source. `requests` are open, and some of them have their turn."""

    def __init__(self) -> None:
        self.requests = 0
        self.turn = asyncio.Semaphore(QUESTIONS_OF_A_SOURCE)


class Agent:
    """The agent behind its API socket. Its methods are called in the event loop."""

    def __init__(self, path: Path, seconds: float = ANSWER_SECONDS) -> None:
        self.path = path
        self._seconds = seconds
        self._connections = Connections(path)
        self._requests = 0
        self._sources: dict[str, _Source] = {}

    @property
    def sources(self) -> int:
        """The number of sources with open requests."""
        return len(self._sources)

    async def ask(self, model: type[AnAnswer], kind: str, fields: dict[str, str], source: str) -> AnAnswer:
        """Returns the answer to a question of a client. Raises `RefusedError` and `ReachError`."""
        with self._counted(_source_of(source)) as requests:
            answer = await self._answer(kind, fields, requests.turn)
        if answer[0] == Denied.kind:
            raise refusals.of_agent(read(Denied, *answer))
        return read(model, *answer)

    async def _answer(self, kind: str, fields: dict[str, str], turn: asyncio.Semaphore) -> tuple[str, dict[str, str]]:
        try:
            async with asyncio.timeout(self._seconds), turn:
                return await self._connections.ask(kind, fields)
        except TimeoutError:
            raise _unreachable(f"the agent at {self.path} gave no answer in {self._seconds:g} s") from None
        except OSError as error:
            raise _unreachable(
                f"no agent answers at {self.path} ({error.strerror or error}): "
                "is `sshaft agent` running, with --api-user?"
            ) from None
        except messages.MessageError as error:
            raise _unreachable(f"the agent at {self.path} broke off its answer ({error})") from None

    def close(self) -> None:
        """Closes the connections that are kept for further questions."""
        self._connections.close()

    @contextmanager
    def _counted(self, name: str) -> Iterator[_Source]:
        source = self._sources.get(name) or _Source()
        if self._requests >= MAX_REQUESTS or source.requests >= MAX_REQUESTS_OF_A_SOURCE:
            raise refusals.unavailable()
        self._sources[name] = source
        self._requests += 1
        source.requests += 1
        try:
            yield source
        finally:
            self._requests -= 1
            source.requests -= 1
            if not source.requests:
                del self._sources[name]


def _unreachable(message: str) -> ReachError:
    return ReachError(message, peer="agent")
