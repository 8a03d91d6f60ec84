"""Attacks the API: smuggled tokens and parameters, floods, and an agent that gives wrong answers."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.host_api import Api, FakeAgent
from fakes.unix_server import UnixServer, hang, read_question
from hypothesis import given
from hypothesis import strategies as st

from sshaft import messages
from sshaft.errors import ReachError
from sshaft_host_api.agent import MAX_REQUESTS_OF_A_SOURCE, QUESTIONS_OF_A_SOURCE, Agent
from sshaft_host_api.answers import Info
from sshaft_host_api.app import App
from sshaft_host_api.call import MAX_TOKEN, path_without_mount
from sshaft_host_api.refusals import RefusedError

VERIFY = "/verify_user?username=alice"
UNAVAILABLE = {"detail": "The service cannot answer now. Try again in a minute."}


@pytest.fixture
def verified(api: Api) -> Api:
    api.agent.answers["api_verify"] = ("verify", {"state": "deployed", "verified": "1"})
    return api


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic a.b.c")],
        [("authorization", "Bearertoken")],
        [("authorization", "a.b.c")],
        [("authorization", "Bearer a b")],
        [("authorization", "Bearer a,Bearer b")],
        [("authorization", "Bearer a\x00b")],
        [("authorization", "Bearer a%0ab")],
        [("authorization", "Bearer \xe4")],
        [("authorization", "DPoP a.b.c")],
        [("authorization", "Bearer a.b.c"), ("authorization", "Bearer d.e.f")],
        [("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")],
        [("authorization", f"Bearer {'a' * (MAX_TOKEN + 1)}")],
        [("x-authorization", "Bearer a.b.c"), ("cookie", "access_token=a.b.c")],
    ],
)
def test_request_without_exactly_one_token_asks_the_agent_nothing(
    verified: Api, headers: list[tuple[str, str]]
) -> None:
    answer = verified.request("GET", VERIFY, headers)
    assert answer.status == 401
    assert set(answer.json) in ({"detail"}, {"error", "error_description"})
    assert verified.agent.asked == []


def test_token_in_the_query_counts_for_nothing(verified: Api) -> None:
    assert verified.request("GET", f"{VERIFY}&access_token=a.b.c").status == 401


@pytest.mark.parametrize("header", ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "])
def test_name_of_the_scheme_may_have_capital_letters(verified: Api, header: str) -> None:
    assert verified.request("GET", VERIFY, [("authorization", header)]).json["verified"] is True
    assert verified.agent.asked[0][1]["token"] == "a.b.c"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "username",
        "user=alice",
        "username=alice&username=root",
        "username=root&%75sername=alice",
        "username=%ff",
        f"username={'a' * 1025}",
        "Username=alice",
    ],
)
def test_request_without_exactly_one_name_asks_the_agent_nothing(verified: Api, query: str) -> None:
    answer = verified.get(f"/verify_user?{query}")
    assert (answer.status, list(answer.json)) == (400, ["detail"]) or query == "username"
    assert verified.agent.asked == [] or verified.agent.asked[0][1]["user"] == ""


@pytest.mark.parametrize(
    ("written", "name"),
    [("alice+x", "alice+x"), ("alice%2Bx", "alice+x"), ("a%00b", "a\0b"), ("a%0A%0Aok", "a\n\nok"), ("a;b", "a;b")],
)
def test_agent_gets_the_name_as_the_module_wrote_it(verified: Api, written: str, name: str) -> None:
    verified.get(f"/verify_user?username={written}")
    assert verified.agent.asked[0][1]["user"] == name


@pytest.mark.parametrize(
    "path",
    [
        "/verify_user/x",
        "//verify_user",
        "/API/verify_user",
        "/motley_cueverify_user",
        "/api/motley_cue/verify_user",
        "/verify_user//",
        "/api/v1/api/verify_user",
        "/../verify_user",
    ],
)
def test_no_other_path_leads_to_an_endpoint(verified: Api, path: str) -> None:
    assert verified.get(f"{path}?username=alice").status == 404
    assert verified.agent.asked == []


@given(st.text(st.sampled_from("/apivmotley_cue1\n"), max_size=24))
def test_path_without_its_mount_is_the_end_of_the_path(path: str) -> None:
    assert path_without_mount(path) in path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH", "TRACE", "CONNECT", "GET\n"])
def test_no_other_method_asks_the_agent(verified: Api, method: str) -> None:
    answer = verified.request(method, VERIFY, [("authorization", "Bearer a.b.c")])
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert verified.agent.asked == []


def test_preflight_of_a_browser_needs_no_token_and_asks_nothing(verified: Api) -> None:
    answer = verified.request("OPTIONS", VERIFY, [("origin", "https://evil.example")])
    assert answer.status == 204
    assert answer.headers["access-control-allow-headers"] == "Content-Type, Accept, Authorization"
    assert "access-control-allow-credentials" not in answer.headers
    assert verified.agent.asked == []


def test_operator_can_keep_the_pages_of_other_sites_away(agent: FakeAgent) -> None:
    api = Api(App(Agent(agent.path), cross_origin=False), agent)
    assert "access-control-allow-origin" not in api.get("/", token=None).headers
    assert api.request("OPTIONS", "/").status == 405


@pytest.mark.parametrize("client", ["", "unix", "not an address", "192.0.2.7\n", "::ffff:192.0.2.7"])
def test_agent_gets_an_address_or_nothing(verified: Api, client: str) -> None:
    verified.get(VERIFY, client=client)
    assert verified.agent.asked[0][1]["client_ip"] == ("192.0.2.7" if "ffff" in client else "")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"sshaft/1 verify\nverified 1\n",
        messages.encode("verify", {"verified": "1"}),
        messages.encode("verify", {"state": "anything", "verified": "1"}),
        messages.encode("user", {"state": "deployed", "verified": "1"}),
        messages.encode("error", {"reason": "internal"}),
        b"sshaft/1 verify\nverified 1\n\nsshaft/1 verify",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"x" * (messages.MAX_MESSAGE + 10),
    ],
)
def test_answer_of_another_form_verifies_nobody(tmp_path: Path, answer: bytes) -> None:
    with UnixServer(tmp_path / "agent.sock", answer) as server:
        found = Api(App(Agent(Path(server.path))), FakeAgent(Path(server.path))).get(VERIFY)
    assert (found.status, found.json, found.headers["retry-after"]) == (503, UNAVAILABLE, "2")


@pytest.mark.parametrize("verified", ["", "0", "true", "yes", "2"])
def test_only_one_word_means_verified(tmp_path: Path, verified: str) -> None:
    answer = messages.encode("verify", {"state": "deployed", "verified": verified})
    with UnixServer(tmp_path / "agent.sock", answer) as server:
        found = Api(App(Agent(Path(server.path))), FakeAgent(Path(server.path))).get(VERIFY)
    assert found.json == {"state": "deployed", "verified": False}


def test_account_without_a_name_is_never_shown_as_one(api: Api) -> None:
    """mccli takes the second word of the message as the name."""
    for name in ("", "a b", " "):
        api.agent.says_user("deployed", name=name)
        assert api.get("/user/get_status").status == 503


@pytest.mark.parametrize("state", ["pending", "rejected", "not_deployed"])
def test_person_without_an_account_has_no_name(api: Api, state: str) -> None:
    """Finding B1: a name that stood in a sentence was verified."""
    api.agent.says_user(state, name="")
    assert api.get("/user/status").json["username"] == ""


@pytest.mark.parametrize(
    ("status", "expected"), [("unauthenticated", 401), ("forbidden", 403), ("busy", 503), ("failed", 500), ("new", 503)]
)
def test_every_refusal_is_json(api: Api, status: str, expected: int) -> None:
    api.agent.denies(status)
    for path in (VERIFY, "/user/deploy", "/info/authorisation", "/admin/resume?sub=a&iss=b"):
        answer = api.get(path)
        assert (answer.status, answer.headers["content-type"]) == (expected, "application/json")
        assert isinstance(answer.json, dict)


def test_silent_agent_costs_a_client_its_own_time_only(tmp_path: Path) -> None:
    with UnixServer(tmp_path / "agent.sock", hang) as server:
        agent = Agent(Path(server.path), seconds=0.1)
        assert Api(App(agent), FakeAgent(Path(server.path))).get(VERIFY).json == UNAVAILABLE


def test_missing_agent_is_said_in_the_log_and_not_to_the_client(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent(tmp_path / "none.sock")
    assert Api(App(agent), FakeAgent(agent.path)).get(VERIFY).json == UNAVAILABLE
    assert "is `sshaft agent` running, with --api-user?" in capsys.readouterr().out


def test_strangers_cannot_fill_the_log_while_the_agent_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    agent = Agent(tmp_path / "none.sock")
    api = Api(App(agent, clock=lambda: now), FakeAgent(agent.path))
    for _ in range(50):
        api.get("/info", token=None)
    now = 111.0
    api.get("/info", token=None)
    lines = [line for line in capsys.readouterr().out.splitlines() if "agent.unavailable" in line]
    assert len(lines) == 2
    assert "requests=50" in lines[1]


@dataclass
class Gate:
    """An agent that answers when `open` is set. `most` is how many questions it had at once."""

    path: Path
    open: threading.Event = field(default_factory=threading.Event)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, connection: socket.socket) -> None:
        read_question(connection)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.open.wait(30)
        with self.lock:
            self.now -= 1
        connection.sendall(messages.encode("info", {"json": json.dumps({})}))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate.sock")
    with UnixServer(gate.path, gate.answer):
        yield gate


def asked(agent: Agent, source: str) -> "asyncio.Task[Info]":
    return asyncio.create_task(agent.ask(Info, "api_info", {}, source))


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():  # noqa: ASYNC110 - the agent is a thread
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("sources", [["192.0.2.7"], [f"2001:db8::{each:x}" for each in range(1, 300)]])
def test_flood_of_one_client_does_not_keep_the_questions_of_others_away(gate: Gate, sources: list[str]) -> None:
    """A host of IPv6 has 2^64 addresses, and is one client."""

    async def attack() -> tuple[list[object], Info]:
        agent = Agent(gate.path)
        flood = [asked(agent, sources[each % len(sources)]) for each in range(300)]
        await until(lambda: gate.now == QUESTIONS_OF_A_SOURCE)
        other = asked(agent, "198.51.100.7")
        await until(lambda: gate.now == QUESTIONS_OF_A_SOURCE + 1)
        gate.open.set()
        answers = await asyncio.gather(*flood, return_exceptions=True), await other
        agent.close()
        return answers

    answers, other = asyncio.run(attack())
    assert other == Info()
    assert sum(isinstance(each, RefusedError) for each in answers) == 300 - MAX_REQUESTS_OF_A_SOURCE
    assert answers.count(Info()) == MAX_REQUESTS_OF_A_SOURCE
    assert gate.most <= QUESTIONS_OF_A_SOURCE + 1


def test_source_without_requests_is_forgotten(gate: Gate) -> None:
    gate.open.set()

    async def ask_many() -> Agent:
        agent = Agent(gate.path)
        await asyncio.gather(*(asked(agent, f"192.0.2.{each}") for each in range(40)))
        agent.close()
        return agent

    assert asyncio.run(ask_many()).sources == 0


def test_client_that_waits_for_its_turn_waits_no_longer_than_for_an_answer(gate: Gate) -> None:
    async def ask_many() -> list[object]:
        agent = Agent(gate.path, seconds=0.1)
        return await asyncio.gather(*(asked(agent, "192.0.2.7") for _ in range(20)), return_exceptions=True)

    assert all(isinstance(each, ReachError) for each in asyncio.run(ask_many()))
    gate.open.set()


def test_log_never_holds_a_token(verified: Api, capsys: pytest.CaptureFixture[str]) -> None:
    verified.agent.answers["api_verify"] = ("verify", {"state": "wrong", "verified": "header.payload.signature"})
    verified.get(VERIFY)
    written = capsys.readouterr()
    assert "header.payload" not in written.out + written.err
