"""`sshaft web` inside the test, on loopback: the real server, with a clock that the test moves."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import requests
from fakes.motley_cue import MotleyCue
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from fakes.shell_host import ShellHost
from npm_packages import require_xterm

from sshaft.http_server.connections import Bounds
from sshaft.http_server.server import listen
from sshaft_demo.web_client import TerminalPage, WebBrowser
from sshaft_web import upkeep
from sshaft_web.app import new_app
from sshaft_web.configuration import Settings
from sshaft_web.server import Server
from sshaft_web.state import AppState

T = TypeVar("T")


@dataclass
class Clock:
    """A clock of seconds, and the time of day that goes with it."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds - 1000)


@dataclass
class WebService:
    """A running program with one host, `host`, and what stands around it."""

    state: AppState
    host: ShellHost
    api: MotleyCue
    provider: OpenIdProvider
    clock: Clock
    server: Server
    loop: asyncio.AbstractEventLoop
    url: str
    _numbers: Iterator[int] = field(default_factory=count)

    def browser(self, subject: str = "", **claims: Any) -> WebBrowser:
        """Returns a browser in which a person has signed in: this one, or a new one."""
        browser = WebBrowser(self.url)
        self.sign_in(browser, subject or f"person-{next(self._numbers)}", **claims)
        return browser

    def sign_in(self, browser: WebBrowser, subject: str = "subject-1", **claims: Any) -> requests.Response:
        self.provider.user = {"sub": subject, "preferred_username": subject, **claims}
        return browser.http.get(self.begin_sign_in(browser), timeout=10, allow_redirects=False)

    def begin_sign_in(self, browser: WebBrowser) -> str:
        """Returns the address to which the provider sends the browser back."""
        answer = browser.http.get(f"{self.url}/sign-in", timeout=10, allow_redirects=False)
        return requests.get(answer.headers["Location"], timeout=10, allow_redirects=False).headers["Location"]

    def terminal(self, browser: WebBrowser | None = None) -> TerminalPage:
        """Returns the page of a terminal that is open."""
        browser = browser or self.browser()
        page = browser.attach(browser.open())
        page.wait_until("open")
        return page

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Returns what `work` gives in the event loop of the program."""

        async def awaited() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)

    def pass_time(self, seconds: float) -> None:
        """Moves the clock, and does what is then due."""

        async def tick() -> None:
            self.clock.seconds += seconds
            self.state.sessions.finish_expired()
            self.state.terminals.tick()
            await upkeep.renew(self.state)
            await self.state.terminals.remove_abandoned_uploads()

        self.run(tick)

    def wait(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.01)


@contextmanager
def web_service(host: ShellHost | None = None, *, has_api: bool = True, **more: Any) -> Iterator[WebService]:
    """Yields the running program. `more` are members of web.json. Everybody is alice on the host."""
    require_xterm()
    clock = Clock()
    with ExitStack() as stack:
        host = stack.enter_context(host or ShellHost())
        api = stack.enter_context(MotleyCue({"access": "alice"}))
        listening = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        provider = stack.enter_context(OpenIdProvider(clock.now, f"{url}/sign-in/callback"))
        provider.gives_refresh_tokens = True
        provider.bend_metadata["scopes_supported"] = ["openid", "offline_access"]
        target: dict[str, Any] = {"host": "127.0.0.1", "port": host.port, "known_hosts": host.known_hosts}
        if has_api:
            target["api"] = api.url
        secret = stack.enter_context(_secret_file())
        members = {
            "public_url": url,
            "provider": {"issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret_file": secret},
            "targets": {"host": target},
            **more,
        }
        yield from _running(Settings.model_validate(members), clock, host, api, provider, listening)


@contextmanager
def _secret_file() -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(CLIENT_SECRET)
        file.flush()
        yield file.name


def _running(
    settings: Settings,
    clock: Clock,
    host: ShellHost,
    api: MotleyCue,
    provider: OpenIdProvider,
    listening: Any,
) -> Iterator[WebService]:
    state = AppState.of(settings, clock, clock.now)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    made: list[Server] = []

    async def serve() -> None:
        server = Server(state, new_app(state), Bounds())
        made.append(server)
        loop.call_soon(started.set)
        await server.serve(sockets=[listening])

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    service = WebService(state, host, api, provider, clock, made[0], loop, settings.public_url)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(setattr, made[0], "should_exit", True)
        thread.join(20)
        loop.close()
