"""Look-ups against a real server: many askers, few questions, a short memory, a breaker that closes by itself."""

import asyncio
import io
import json
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import public_keys
from fakes.identity_server import BUSY, ERROR, IdentityServer, Reply, hang, reply_json

from sshaft import public_key
from sshaft.config import Config
from sshaft.errors import ConfigurationError, IdentityServiceError, ReachError, RemoteServiceError
from sshaft.identity_client import IdentityClient
from sshaft.listing import Entry
from sshaft_agent.lookup import CALLS_AT_ONCE, REMEMBERED_FOUND, REMEMBERED_NOTHING, Lookups

ID = "0" * 32
KEYS = [public_keys.ed25519(str(i)) for i in range(100)]
FINGERPRINTS = [public_key.parse(key).fingerprint for key in KEYS]


class Asked:
    """Look-ups of the fake service."""

    def __init__(self, server: IdentityServer, clock: Callable[[], float], **more: Any) -> None:
        self.server = server
        self.client = IdentityClient(Config.model_validate(server.config(**more)), sleep=lambda _: None)
        self.lookups = Lookups(self.client, clock)

    async def users(self, number: int = 0, *, fresh: bool = False) -> list[str]:
        entries: tuple[Entry, ...] = await self.lookups.entries(FINGERPRINTS[number], ID, fresh=fresh)
        return [entry.user for entry in entries]

    def close(self) -> None:
        self.lookups.close()
        self.client.close()


@pytest.fixture
def asked(identity: IdentityServer, clock: Any) -> Iterator[Asked]:
    identity.entries = [{"user": f"user{i}", "authorized_key": key} for i, key in enumerate(KEYS)]
    made = Asked(identity, clock)
    yield made
    made.close()


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(steps)


def logged(events: io.StringIO, name: str) -> list[dict[str, Any]]:
    return [event for line in events.getvalue().splitlines() if (event := json.loads(line))["event"] == name]


def test_hundred_askers_of_one_key_are_one_token_and_one_list(asked: Asked, identity: IdentityServer) -> None:
    identity.filters = True

    async def steps() -> None:
        assert await asyncio.gather(*(asked.users(7) for _ in range(100))) == [["user7"]] * 100

    run(steps())
    assert [call.path for call in identity.calls] == ["/token", "/keys"]
    assert identity.calls[1].query == {"fingerprint": [FINGERPRINTS[7]]}
    assert (asked.lookups.asked, asked.lookups.calls) == (100, 1)


def test_hundred_askers_of_hundred_keys_are_one_list_where_the_server_does_not_filter(
    asked: Asked, identity: IdentityServer
) -> None:
    identity.delay = 0.05

    async def steps() -> None:
        found = await asyncio.gather(*(asked.users(i) for i in range(100)))
        assert found == [[f"user{i}"] for i in range(100)]

    run(steps())
    assert [call.path for call in identity.calls] == ["/token", "/keys"]


def test_server_that_does_not_filter_is_asked_for_everything_from_then_on(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    async def steps() -> None:
        await asked.users(1)
        clock.move(REMEMBERED_FOUND)
        assert await asyncio.gather(*(asked.users(i) for i in range(100))) == [[f"user{i}"] for i in range(100)]

    run(steps())
    assert identity.count("/keys") == 2
    assert identity.calls[-1].query == {}


def test_server_that_filters_is_asked_for_each_key_and_no_other(asked: Asked, identity: IdentityServer) -> None:
    identity.filters = True

    async def steps() -> None:
        assert await asyncio.gather(*(asked.users(i) for i in range(20))) == [[f"user{i}"] for i in range(20)]

    run(steps())
    questions = [call.query["fingerprint"][0] for call in identity.calls if call.path == "/keys"]
    assert sorted(questions) == sorted(FINGERPRINTS[:20])
    assert identity.count("/token") == 1


def questions(identity: IdentityServer) -> list[int]:
    """Of how many keys each list was asked; 0: everybody's."""
    return [len(call.query.get("fingerprint", ())) for call in identity.calls if call.path == "/keys"]


def test_crowd_of_strangers_is_asked_for_together_and_a_bounded_number_of_times(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters, identity.takes = True, 50
    strangers = [public_key.fingerprint(str(i).encode()) for i in range(1000)]

    async def steps() -> None:
        await asked.users(0)
        everybody = [asyncio.create_task(asked.lookups.entries(each, ID)) for each in strangers]
        mine = asyncio.create_task(asked.users(7))
        while not mine.done():
            await asyncio.sleep(0.001)
            clock.move(0.001)
        assert mine.result() == ["user7"]
        assert await asyncio.gather(*everybody) == [()] * 1000

    run(steps())
    assert sum(questions(identity)) == 1002
    assert max(questions(identity)) == 50
    assert len(questions(identity)) <= CALLS_AT_ONCE + 1000 / 50 + 2


def test_server_that_takes_one_key_at_a_time_is_asked_for_everybodys_in_a_crowd(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters = True
    identity.delay = 0.02

    async def steps() -> None:
        await asked.users(0)
        everybody = asyncio.gather(*(asked.users(i) for i in range(1, 100)))
        while not everybody.done():
            await asyncio.sleep(0.001)
            clock.move(0.001)
        assert everybody.result() == [[f"user{i}"] for i in range(1, 100)]
        clock.move(60)
        assert await asked.users(5) == ["user5"]

    run(steps())
    assert 0 in questions(identity)
    assert len(questions(identity)) < 60
    assert questions(identity)[-1] == 1, "it filters still"


def test_each_of_a_crowd_learns_of_the_failure_and_no_more_are_asked(asked: Asked, identity: IdentityServer) -> None:
    identity.filters, identity.takes = True, 2
    identity.delay = 0.02

    async def steps() -> None:
        await asked.users(0)
        identity.replies["/keys"] = Reply(404)
        results = await asyncio.gather(*(asked.users(i) for i in range(1, 100)), return_exceptions=True)
        assert {type(result) for result in results} <= {IdentityServiceError, ReachError}
        assert asked.lookups.breaker.is_open

    run(steps())
    assert identity.count("/keys") < 30


def test_memory_of_strangers_keys_is_bounded(asked: Asked, identity: IdentityServer, clock: Any) -> None:
    identity.filters, identity.takes = True, 50

    async def steps() -> None:
        for at in range(0, 5000, 500):
            strangers = [public_key.fingerprint(str(i).encode()) for i in range(at, at + 500)]
            await asyncio.gather(*(asked.lookups.entries(each, ID) for each in strangers))
            clock.move(1)

    run(steps())
    assert len(asked.lookups._remembered) <= 500  # noqa: SLF001 - nothing else tells


def test_answer_is_remembered_for_the_second_question_of_the_same_login(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters = True

    async def steps() -> None:
        await asked.users(1)
        clock.move(REMEMBERED_FOUND - 0.01)
        assert await asked.users(1) == ["user1"]
        assert identity.count("/keys") == 1
        clock.move(0.02)
        assert await asked.users(1) == ["user1"]
        assert identity.count("/keys") == 2

    run(steps())


def test_nothing_is_remembered_for_a_shorter_time(asked: Asked, identity: IdentityServer, clock: Any) -> None:
    identity.entries = []

    async def steps() -> None:
        assert await asked.users(1) == []
        identity.entries = [{"user": "alice", "authorized_key": KEYS[1]}]
        clock.move(REMEMBERED_NOTHING - 0.01)
        assert await asked.users(1) == []
        clock.move(0.02)
        assert await asked.users(1) == ["alice"]

    run(steps())


@pytest.mark.parametrize("how", ["fresh", "forget"])
def test_memory_can_be_passed_by(asked: Asked, identity: IdentityServer, how: str) -> None:
    async def steps() -> None:
        await asked.users(1)
        identity.entries = []
        if how == "forget":
            asked.lookups.forget(FINGERPRINTS[1])
        assert await asked.users(1, fresh=how == "fresh") == []

    run(steps())
    assert identity.count("/keys") == 2


def test_failure_is_not_remembered(asked: Asked, identity: IdentityServer) -> None:
    identity.replies["/keys"] = [Reply(404)]

    async def steps() -> None:
        with pytest.raises(IdentityServiceError):
            await asked.users(1)
        assert await asked.users(1) == ["user1"]

    run(steps())


def test_all_who_wait_for_one_answer_learn_of_its_failure(asked: Asked, identity: IdentityServer) -> None:
    identity.replies["/keys"] = Reply(404)
    identity.delay = 0.02

    async def steps() -> None:
        results = await asyncio.gather(*(asked.users(1) for _ in range(50)), return_exceptions=True)
        assert {type(result) for result in results} == {IdentityServiceError}

    run(steps())
    assert identity.count("/keys") == 1


def test_hundred_askers_of_hundred_keys_are_one_question_to_a_server_that_gives_no_answer(
    asked: Asked, identity: IdentityServer
) -> None:
    identity.filters = True
    identity.delay = 0.05
    identity.replies["/keys"] = Reply(404)

    async def steps() -> None:
        results = await asyncio.gather(*(asked.users(i) for i in range(100)), return_exceptions=True)
        assert {type(result) for result in results} == {IdentityServiceError}
        assert identity.count("/keys") == 1
        identity.replies.clear()
        assert await asyncio.gather(*(asked.users(i) for i in range(10))) == [[f"user{i}"] for i in range(10)]

    run(steps())


def test_one_who_gives_up_does_not_end_the_flight_of_the_others(asked: Asked, identity: IdentityServer) -> None:
    identity.delay = 0.05

    async def steps() -> None:
        first = asyncio.create_task(asked.users(1))
        second = asyncio.create_task(asked.users(1))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == ["user1"]

    run(steps())
    assert identity.count("/keys") == 1


# --- the breaker


@pytest.mark.parametrize("path", ["/token", "/keys"])
@pytest.mark.parametrize("reply", [BUSY, ERROR, Reply(404), reply_json({})], ids=["503", "500", "404", "no list"])
def test_breaker_opens_answers_at_once_and_closes_by_itself(
    asked: Asked, identity: IdentityServer, clock: Any, events: io.StringIO, path: str, reply: Reply
) -> None:
    async def steps() -> None:
        identity.replies[path] = reply
        for _ in range(3):
            with pytest.raises(RemoteServiceError):
                await asked.users(1)
        assert asked.lookups.breaker.is_open
        sent = len(identity.calls)
        for _ in range(1000):
            with pytest.raises(ReachError, match="circuit open"):
                await asked.users(1)
        assert len(identity.calls) == sent
        clock.move(1)
        with pytest.raises(RemoteServiceError):
            await asked.users(1)
        assert len(identity.calls) > sent  # the trial
        identity.replies.clear()
        with pytest.raises(ReachError, match="circuit open"):
            await asked.users(1)
        clock.move(2)
        assert await asked.users(1) == ["user1"]
        assert not asked.lookups.breaker.is_open

    run(steps())
    assert len(logged(events, "identity.down")) == 1
    assert len(logged(events, "identity.up")) == 1


def test_trial_that_fails_in_an_unexpected_way_does_not_keep_the_breaker_open_for_good(
    identity: IdentityServer, clock: Any, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "client.pem"
    file.write_bytes(key)
    identity.entries = [{"user": "alice", "authorized_key": KEYS[1]}]
    identity.replies["/token"] = lambda _: identity.new_token()
    asked = Asked(identity, clock, token_endpoint_auth_method="private_key_jwt", private_key_file=file)

    async def steps() -> None:
        file.unlink()  # gone while the agent runs
        for _ in range(3):
            with pytest.raises(ConfigurationError):
                await asked.users(1)
        assert asked.lookups.breaker.is_open
        for pause in (1, 2, 4):
            clock.move(pause)
            with pytest.raises(ConfigurationError):
                await asked.users(1)
        file.write_bytes(key)
        clock.move(8)
        assert await asked.users(1) == ["alice"]

    run(steps())
    asked.close()


def test_hanging_service_costs_its_deadline_and_then_nothing(identity: IdentityServer, clock: Any) -> None:
    identity.replies["/keys"] = hang(5)
    asked = Asked(identity, clock, list_seconds=0.2)

    async def steps() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        results = await asyncio.gather(*(asked.users(1) for _ in range(50)), return_exceptions=True)
        assert {type(result) for result in results} == {ReachError}
        assert 0.15 < loop.time() - began < 0.8
        for _ in range(2):
            with pytest.raises(ReachError):
                await asked.users(1)
        began = loop.time()
        with pytest.raises(ReachError, match="circuit open"):
            await asked.users(1)
        assert loop.time() - began < 0.05

    run(steps())
    asked.close()


# --- another configuration


def test_new_client_is_asked_anew(asked: Asked, identity: IdentityServer) -> None:
    async def steps() -> None:
        await asked.users(1)
        with IdentityServer() as other:
            other.entries = [{"user": "other", "authorized_key": KEYS[1]}]
            client = IdentityClient(Config.model_validate(other.config()))
            asked.lookups.use(client)
            assert await asked.users(1) == ["other"]
            client.close()

    run(steps())
    assert identity.count("/keys") == 1


def test_late_answer_to_the_old_configuration_is_not_remembered(asked: Asked, identity: IdentityServer) -> None:
    identity.delay = 0.1

    async def steps() -> None:
        late = asyncio.create_task(asked.users(1))
        await asyncio.sleep(0.02)
        with IdentityServer() as other:
            client = IdentityClient(Config.model_validate(other.config()))
            asked.lookups.use(client)
            await late
            assert await asked.users(1) == []
            client.close()

    run(steps())


def test_entries_left_out_are_logged_by_reason_and_number(
    asked: Asked, identity: IdentityServer, events: io.StringIO
) -> None:
    identity.entries = [{"user": "a\nb", "authorized_key": KEYS[1]}] * 3

    async def steps() -> None:
        assert await asked.users(1) == []

    run(steps())
    (event,) = logged(events, "entry.left_out")
    assert (event["reason"], event["count"], event["request_id"]) == ("user: control characters", 3, ID)


def test_keys_that_nobody_has_are_one_question_each_and_one_token(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters = True
    identity.entries = []
    made_up = [public_key.fingerprint(str(i).encode()) for i in range(300)]

    async def steps() -> None:
        for at in range(0, len(made_up), 30):
            await asyncio.gather(*(asked.lookups.entries(each, ID) for each in made_up[at : at + 30]))
            clock.move(1)

    run(steps())
    assert identity.count("/token") == 1
    assert identity.count("/keys") == 300


def test_threads_are_gone_when_it_is_closed(identity: IdentityServer, clock: Any) -> None:
    asked = Asked(identity, clock)

    async def steps() -> None:
        await asked.users(1)

    run(steps())
    asked.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        run(_ask_again(asked, clock))
    assert isinstance(asked.lookups._workers, ThreadPoolExecutor)  # noqa: SLF001


async def _ask_again(asked: Asked, clock: Any) -> None:
    clock.move(60)
    await asked.users(2, fresh=True)
