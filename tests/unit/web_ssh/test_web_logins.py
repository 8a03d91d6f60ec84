"""The login at the host: the token answers the first questions of the known host, and the person all others."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import asyncssh
import pytest
from fakes.shell_host import Round, ShellHost
from fakes.ssh_server import line
from service.web_service import WebService, web_service
from websockets.exceptions import ConnectionClosed

from sshaft_demo.web_client import TerminalPage
from sshaft_web.targets import Target
from sshaft_web.terminals import ssh_connection
from sshaft_web.terminals.login import Login, LoginError

pytestmark = pytest.mark.slow

TOKEN = (("Access Token:", False),)
PIN = (("Second factor: ", False),)


@pytest.fixture
def service() -> Iterator[WebService]:
    with web_service() as service:
        yield service


def attached(service: WebService, **more: str) -> TerminalPage:
    browser = service.browser()
    return browser.attach(browser.open(**more))


def last_reason(service: WebService, page: TerminalPage) -> str:
    """Returns what the person reads at the end."""
    assert page.wait_for_end() == 4002
    assert not list(service.state.terminals)
    return str(page.news[-1]["message"])


@pytest.mark.parametrize(
    "prompt",
    [
        "Access Token:",
        "(alice@host) Access Token:",
        "Press Enter to log in with your browser, or paste an Access Token:",
    ],
)
def test_token_answers_the_token_prompt(service: WebService, prompt: str) -> None:
    service.host.rounds, service.host.password = [((prompt, False),)], "access"
    page = attached(service)
    page.wait_until("open")
    assert service.host.answers == ["access"]
    assert page.said == b""


def test_long_token_becomes_a_one_time_password(service: WebService) -> None:
    long = "x" * 3000
    service.api.users[long] = "alice"
    service.provider.bend_tokens["access_token"] = long
    attached(service).wait_until("open")
    assert [len(each) for each in service.host.answers] == [128]


def test_long_token_goes_in_parts_where_the_host_makes_no_passwords(service: WebService) -> None:
    long = "x" * 3000
    service.api.users[long] = "alice"
    service.provider.bend_tokens["access_token"] = long
    service.api.makes_passwords = False
    service.host.rounds = [TOKEN, TOKEN, TOKEN]
    attached(service).wait_until("open")
    assert [len(each) for each in service.host.answers] == [1022, 1022, 958]


def test_person_answers_what_is_not_for_the_token(service: WebService) -> None:
    service.host.rounds, service.host.password = [TOKEN, PIN], "12ä4"
    page = attached(service)
    page.wait_for("Second factor: ")
    page.type("12x\x7fä\x1b[A4\r")
    page.wait_until("open")
    assert service.host.answers == ["access", "12ä4"]
    assert b"12" not in page.said, "there was no echo"


def test_line_is_shown_where_the_host_wants_an_echo(service: WebService) -> None:
    service.host.rounds = [(("Name: ", True),)]
    page = attached(service)
    page.wait_for("Name: ")
    page.type("ab\x7fc\x15de\r")
    page.wait_until("open")
    assert service.host.answers == ["de"]
    assert page.said == b"ab\b \bc\b \b\b \bde\r\n"


@pytest.mark.parametrize("rounds", [[PIN, TOKEN], [(*PIN, *TOKEN)]])
def test_token_prompt_after_another_question_is_for_the_person(service: WebService, rounds: list[Round]) -> None:
    """A program behind the login may imitate the prompt."""
    service.host.rounds = rounds
    page = attached(service)
    page.wait_for("Second factor: ")
    page.type("1\r")
    page.wait_for("Access Token:")
    page.type("no\r")
    page.wait_until("open")
    assert service.host.answers == ["1", "no"]


def test_host_that_asks_for_the_token_again_does_not_get_it(service: WebService) -> None:
    service.host.password = "another"
    page = attached(service)
    assert "your account is ready, but sshd did not take the token" in last_reason(service, page)
    assert service.host.answers == ["access"]


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_person_can_cancel_the_login(service: WebService, key: str) -> None:
    service.host.rounds = [PIN]
    page = attached(service)
    page.wait_for("Second factor: ")
    page.type(key)
    assert last_reason(service, page) == "You have cancelled the login."


def test_host_with_another_key_gets_nothing(service: WebService) -> None:
    service.host.change_key()
    page = attached(service)
    assert "does not have the host key that it must have" in last_reason(service, page)
    assert (service.host.answers, service.host.users) == ([], [])


def test_banner_is_shown(service: WebService) -> None:
    service.host.banner = "Only for\nmembers\n"
    page = attached(service)
    page.wait_until("open")
    assert page.said == b"Only for\r\nmembers\r\n"


@pytest.mark.parametrize(
    "rounds",
    [
        [PIN] * 70,
        [tuple((f"Question {number}: ", True) for number in range(20))],
        [(("x" * 70000, True),)],
    ],
)
def test_host_that_asks_without_end_is_left(service: WebService, rounds: list[Round]) -> None:
    service.host.rounds = rounds
    page = attached(service)

    def answer() -> None:
        with suppress(ConnectionClosed):
            while True:
                page.type("1\r")
                time.sleep(0.01)

    answering = threading.Thread(target=answer)
    answering.start()
    assert last_reason(service, page) in (
        "The host asks too many questions.",
        "The host writes without end before it lets you in.",
    )
    answering.join()


def test_banner_without_end_is_left(service: WebService) -> None:
    service.host.banner = "x" * 70000
    assert last_reason(service, attached(service)) == "The host writes without end before it lets you in."


@contextmanager
def raw_server(speak: Callable[[socket.socket], object]) -> Iterator[int]:
    """Yields the port of a server that speaks no ssh."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = listening.accept()
                with connection:
                    speak(connection)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def endless_lines(connection: socket.socket) -> None:
    for _ in range(5000):
        connection.sendall(b"no ssh here\r\n")
    connection.recv(1)


@pytest.mark.parametrize(
    "speak",
    [
        endless_lines,
        lambda connection: connection.sendall(b"x" * 1_000_000),
        lambda connection: connection.sendall(b"SSH-2.0-" + b"x" * 10000 + b"\r\n"),
        lambda connection: connection.sendall(b"SSH-2.0-evil\r\n" + bytes(100_000)),
        lambda connection: connection.close(),
    ],
)
def test_server_that_speaks_no_ssh_is_left(speak: Callable[[socket.socket], object]) -> None:
    with raw_server(speak) as port:
        target = {"host": "127.0.0.1", "port": port, "known_hosts": [line(port, ShellHost().key)]}
        with web_service(targets={"host": target}) as service:
            page = attached(service, user="alice")
            assert "127.0.0.1" not in last_reason(service, page)


def test_silent_server_is_left_by_the_person(service: WebService) -> None:
    """The login has a time limit; until then the person can close the terminal."""
    service.host.rounds = [PIN]
    browser = service.browser()
    terminal = browser.open()
    page = browser.attach(terminal)
    page.wait_for("Second factor: ")
    browser.post(f"/api/terminals/{terminal}/close")
    assert page.wait_for_end() == 4002
    service.wait(lambda: service.host.connections == 0)


class SlowPerson:
    """Answers a question after half a second."""

    def show(self, text: str) -> None:
        del text

    async def ask(self, prompt: str, *, echo: bool) -> str:
        del prompt, echo
        await asyncio.sleep(0.5)
        return "answer"


def connected(port: int, lines: list[str]) -> bool:
    target = Target("host", "host", "127.0.0.1", port, asyncssh.import_known_hosts("\n".join(lines)), None)

    async def connect() -> bool:
        login = Login("alice@host", [], SlowPerson())
        connection = await ssh_connection.connect(target, "alice", login, connect_seconds=0.4)
        connection.abort()
        return True

    return asyncio.run(connect())


def test_person_may_take_longer_to_answer_than_the_host_to_connect() -> None:
    with ShellHost(rounds=[PIN, PIN]) as host:
        assert connected(host.port, host.known_hosts)
        assert host.answers == ["answer", "answer"]


def test_host_that_never_begins_the_login_is_left() -> None:
    with raw_server(lambda connection: connection.recv(1000) and connection.recv(1)) as port:
        with pytest.raises(LoginError) as error:
            connected(port, [line(port, ShellHost().key)])
        assert (error.value.code, "cannot be reached: no answer in time" in str(error.value)) == ("unreachable", True)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"state": "deployed", "credentials": {"ssh_user": "-oProxyCommand=id"}}),
        (200, {"state": "deployed", "credentials": {"ssh_user": "a b"}}),
        (200, {"state": "deployed", "credentials": {"ssh_user": "x" * 300}}),
        (200, {"state": "deployed", "credentials": []}),
        (200, {"state": "pending", "message": "\x1b]52;c;eA==\x07wait"}),
        (200, b"[" * 100000),
        (200, b"{}" + b" " * 300_000),
        (302, {}),
        (401, {"error": "\x1b[2Jno"}),
        (403, b"<html>"),
        (500, b""),
    ],
)
def test_hostile_answer_of_the_api_opens_nothing(service: WebService, answer: tuple[int, object]) -> None:
    service.api.bent = {"/user/deploy": answer, "/user/get_status": answer}
    reason = last_reason(service, attached(service))
    assert service.api.url in reason
    assert reason.isprintable()
    assert service.host.users == []


def test_api_that_does_not_answer_holds_up_no_other_terminal(service: WebService) -> None:
    until = threading.Event()
    service.api.on_call["/user/deploy"] = lambda _: until.wait(20)
    browser = service.browser()
    page = browser.attach(browser.open())
    began = time.monotonic()
    assert browser.terminals()[0]["account"] == ""
    assert time.monotonic() - began < 2
    until.set()
    assert page.wait_for_end() == 4002


def test_host_without_an_api_gets_no_token() -> None:
    with web_service(has_api=False) as service:
        page = attached(service, user="bob")
        page.wait_for("Access Token:")
        page.type("typed\r")
        page.wait_until("open")
        assert (service.host.users, service.host.answers) == (["bob"], ["typed"])


@pytest.mark.parametrize("user", ["-l", "a b", "", "a\n", "x" * 300, "$(id)"])
def test_account_must_be_a_name(user: str) -> None:
    with web_service(has_api=False) as service:
        assert service.browser().post("/api/terminals", {"target": "host", "user": user}).status_code == 400
