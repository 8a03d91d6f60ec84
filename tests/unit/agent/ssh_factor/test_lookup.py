"""Tests merging, batching and caching of look-ups, and the breaker, against a small real server."""

import asyncio
import gc
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import public_keys
from fakes.identity_server import BUSY, ERROR, IdentityServer, Reply, hang, reply_json
from unit.agent.ssh_factor.agent import ID, logged

from sshaft import listing, public_key
from sshaft.config import Config
from sshaft.errors import ConfigurationError, IdentityServiceError, ReachError, RemoteServiceError
from sshaft.identity_client import IdentityClient
from sshaft.listing import Entry
from sshaft.public_key import DEFAULT_TYPES
from sshaft_agent.ssh_factor.lookup import Lookups

KEYS = [public_keys.ed25519(str(i)) for i in range(100)]
FINGERPRINTS = [public_key.parse(key).fingerprint for key in KEYS]


class Asked:
    """Look-ups that ask the fake service."""

    def __init__(
        self,
        server: IdentityServer,
        clock: Callable[[], float],
        sleep: Callable[[float], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **more: Any,
    ) -> None:
        self.server = server
        self.client = IdentityClient(Config.model_validate(server.config(**more)), sleep=sleep, now=now)
        self.observed: list[tuple[str, float]] = []
        self.lookups = Lookups(self.client, clock, lambda call, seconds: self.observed.append((call, seconds)))

    async def users(self, number: int = 0, *, fresh: bool = False) -> list[str]:
        return [entry.user for entry in await self.entries(FINGERPRINTS[number], fresh=fresh)]

    async def entries(self, fingerprint: str, *, fresh: bool = False) -> tuple[Entry, ...]:
        return (await self.lookups.listing(fingerprint, ID, fresh=fresh)).of(fingerprint)

    def close(self) -> None:
        self.lookups.close()
        self.client.close()


@pytest.fixture
def asked(identity: IdentityServer, clock: Any) -> Iterator[Asked]:
    identity.entries = [{"user": f"user{i}", "authorized_key": key} for i, key in enumerate(KEYS)]
    made = Asked(identity, clock)
    yield made
    made.close()


async def test_hundred_lookups_of_one_key_share_one_token_and_one_list(asked: Asked, identity: IdentityServer) -> None:
    identity.filters = True
    assert await asyncio.gather(*(asked.users(7) for _ in range(100))) == [["user7"]] * 100
    assert [call.path for call in identity.calls] == ["/token", "/keys"]
    assert identity.calls[1].query == {"fingerprint": [FINGERPRINTS[7]]}
    assert (asked.lookups.count, asked.lookups.list_requests) == (100, 1)


async def test_hundred_lookups_of_hundred_keys_share_one_list_if_the_server_does_not_filter(
    asked: Asked, identity: IdentityServer
) -> None:
    identity.delay = 0.05
    found = await asyncio.gather(*(asked.users(i) for i in range(100)))
    assert found == [[f"user{i}"] for i in range(100)]
    assert [call.path for call in identity.calls] == ["/token", "/keys"]


async def test_server_that_does_not_filter_is_later_asked_for_every_key(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    await asked.users(1)
    clock.move(2)
    assert await asyncio.gather(*(asked.users(i) for i in range(100))) == [[f"user{i}"] for i in range(100)]
    assert identity.count("/keys") == 2
    assert identity.calls[-1].query == {}


async def test_server_that_filters_is_asked_for_each_key_alone(asked: Asked, identity: IdentityServer) -> None:
    identity.filters = True
    assert await asyncio.gather(*(asked.users(i) for i in range(20))) == [[f"user{i}"] for i in range(20)]
    questions = [call.query["fingerprint"][0] for call in identity.calls if call.path == "/keys"]
    assert sorted(questions) == sorted(FINGERPRINTS[:20])
    assert identity.count("/token") == 1


def questions(identity: IdentityServer) -> list[int]:
    """Returns for each list the number of keys in the request; 0 means every key."""
    return [len(call.query.get("fingerprint", ())) for call in identity.calls if call.path == "/keys"]


async def test_lookups_of_many_strangers_share_a_limited_number_of_lists(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters, identity.takes = True, 100
    strangers = [public_key.fingerprint(str(i).encode()) for i in range(1000)]
    await asked.users(0)
    everybody = [asyncio.create_task(asked.entries(each)) for each in strangers]
    mine = asyncio.create_task(asked.users(7))
    while not mine.done():
        await asyncio.sleep(0.001)
        clock.move(0.001)
    assert mine.result() == ["user7"]
    assert await asyncio.gather(*everybody) == [()] * 1000
    assert sum(questions(identity)) == 1002
    assert max(questions(identity)) == 50
    assert len(questions(identity)) <= 32 + 1000 / 50 + 2


async def test_server_that_takes_one_key_at_a_time_is_asked_for_every_key_if_many_lookups_wait(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters = True
    identity.delay = 0.02
    await asked.users(0)
    everybody = asyncio.gather(*(asked.users(i) for i in range(1, 100)))
    while not everybody.done():
        await asyncio.sleep(0.001)
        clock.move(0.001)
    assert everybody.result() == [[f"user{i}"] for i in range(1, 100)]
    clock.move(60)
    assert await asked.users(5) == ["user5"]
    assert 0 in questions(identity)
    assert len(questions(identity)) < 60
    assert questions(identity)[-1] == 1, "it filters still"


@pytest.mark.parametrize(("waiting", "sizes"), [(16, [1] * 16), (17, [0])])
async def test_sixteen_lists_are_out_at_a_time_and_more_than_sixteen_waiting_lookups_share_one(
    asked: Asked, identity: IdentityServer, clock: Any, waiting: int, sizes: list[int]
) -> None:
    identity.filters = True
    await asked.users(0)
    clock.move(60)
    arrived, may_answer = threading.Semaphore(0), threading.Event()

    def answer_later(connection: socket.socket) -> None:
        arrived.release()
        may_answer.wait(5)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    identity.replies["/keys"] = Reply(write=answer_later)
    tasks = [asyncio.create_task(asked.users(i)) for i in range(1, 17 + waiting)]
    for _ in range(16):
        await asyncio.to_thread(arrived.acquire)
    await asyncio.sleep(0.02)
    assert questions(identity) == [1] * 17
    identity.replies.clear()
    may_answer.set()
    await asyncio.gather(*tasks)
    assert questions(identity)[17:] == sizes


def test_thirty_two_lists_go_out_at_once_and_then_fifty_a_second(asked: Asked) -> None:
    limit = asked.lookups._rate_limit  # noqa: SLF001 - no clock of a test moves the timers of asyncio
    for now in (1000.0, 2000.0):
        assert [limit.delay(now) for _ in range(32)] == [0.0] * 32
        assert limit.delay(now) == pytest.approx(0.02)
        assert limit.delay(now + 0.015) == pytest.approx(0.005)
        assert limit.delay(now + 0.021) == 0.0
        assert limit.delay(now + 0.021) == pytest.approx(0.019)


async def test_failure_that_no_lookup_waits_for_is_no_error_of_the_event_loop(
    asked: Asked, identity: IdentityServer
) -> None:
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, error: errors.append(error))
    identity.replies["/keys"] = Reply(404)
    identity.delay = 0.05
    task = asyncio.create_task(asked.users(1))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait(asked.lookups._batches)  # noqa: SLF001 - the look-up itself is cancelled
    await asyncio.sleep(0.01)
    del task  # it holds the answer
    gc.collect()
    assert errors == []


async def test_all_waiting_lookups_fail_with_the_first_and_send_no_requests(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters, identity.takes = True, 2
    identity.delay = 0.02
    await asked.users(0)
    identity.replies["/keys"] = Reply(404)
    results = await asyncio.gather(*(asked.users(i) for i in range(1, 100)), return_exceptions=True)
    assert {type(result) for result in results} <= {IdentityServiceError, ReachError}
    assert asked.lookups.breaker.is_open
    identity.replies.clear()
    clock.move(1)
    assert await asked.users(1) == ["user1"]
    assert identity.count("/keys") <= 1 + 16 + 2 + 1, "the first, those out at a time, two after failures, the last"


def test_cache_holds_ten_thousand_answers_and_drops_the_oldest_and_the_expired(asked: Asked, clock: Any) -> None:
    store, cache = asked.lookups._store, asked.lookups._cache  # noqa: SLF001 - nothing else tells
    unknown = listing.parse(b"[]", DEFAULT_TYPES)
    for number in range(10_001):
        store(str(number), unknown)
    assert (len(cache), next(iter(cache))) == (10_000, "1")
    clock.move(0.5)
    for question in ("a", "b", "a"):
        store(question, unknown)
    assert list(cache) == ["b", "a"]


async def test_answer_is_cached_for_the_second_question_of_a_login(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters = True
    await asked.users(1)
    clock.move(1.99)
    assert await asked.users(1) == ["user1"]
    assert (identity.count("/keys"), asked.lookups.cache_hits) == (1, 1)
    clock.move(0.02)
    assert await asked.users(1) == ["user1"]
    assert identity.count("/keys") == 2


async def test_answer_without_a_key_is_cached_for_a_shorter_time(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.entries = []
    assert await asked.users(1) == []
    identity.entries = [{"user": "alice", "authorized_key": KEYS[1]}]
    clock.move(0.49)
    assert await asked.users(1) == []
    clock.move(0.02)
    assert await asked.users(1) == ["alice"]


@pytest.mark.parametrize("how", ["fresh", "forget"])
@pytest.mark.parametrize("filters", [True, False])
async def test_cache_can_be_bypassed(asked: Asked, identity: IdentityServer, how: str, filters: bool) -> None:
    identity.filters = filters
    await asked.users(1)
    identity.entries = []
    if how == "forget":
        asked.lookups.forget(FINGERPRINTS[1])
    assert await asked.users(1, fresh=how == "fresh") == []
    assert identity.count("/keys") == 2


async def test_failure_is_not_cached(asked: Asked, identity: IdentityServer) -> None:
    identity.replies["/keys"] = [Reply(404)]
    with pytest.raises(RemoteServiceError):
        await asked.users(1)
    assert await asked.users(1) == ["user1"]


async def test_all_lookups_that_share_a_question_fail_together(asked: Asked, identity: IdentityServer) -> None:
    identity.replies["/keys"] = Reply(404)
    identity.delay = 0.02
    results = await asyncio.gather(*(asked.users(1) for _ in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {IdentityServiceError}
    assert identity.count("/keys") == 1


async def test_hundred_lookups_of_hundred_keys_send_one_request_to_a_server_that_fails(
    asked: Asked, identity: IdentityServer
) -> None:
    identity.filters = True
    identity.delay = 0.05
    identity.replies["/keys"] = Reply(404)
    results = await asyncio.gather(*(asked.users(i) for i in range(100)), return_exceptions=True)
    assert {type(result) for result in results} == {IdentityServiceError}
    assert identity.count("/keys") == 1
    identity.replies.clear()
    assert await asyncio.gather(*(asked.users(i) for i in range(10))) == [[f"user{i}"] for i in range(10)]


async def test_cancelled_lookup_does_not_cancel_the_shared_request(asked: Asked, identity: IdentityServer) -> None:
    identity.delay = 0.05
    first = asyncio.create_task(asked.users(1))
    second = asyncio.create_task(asked.users(1))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second == ["user1"]
    assert identity.count("/keys") == 1


# --- the breaker


@pytest.mark.parametrize("path", ["/token", "/keys"])
@pytest.mark.parametrize("reply", [BUSY, ERROR, Reply(404), reply_json({})], ids=["503", "500", "404", "no list"])
async def test_breaker_opens_fails_at_once_and_closes_by_itself(
    asked: Asked, identity: IdentityServer, clock: Any, events: io.StringIO, path: str, reply: Reply
) -> None:
    identity.replies[path] = reply
    for _ in range(3):
        with pytest.raises(RemoteServiceError):
            await asked.users(1)
    assert asked.lookups.breaker.is_open
    sent = len(identity.calls)
    for _ in range(1000):
        with pytest.raises(ReachError, match=r"^the identity service is down \(circuit open\)$"):
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
    assert len(logged(events, "identity.down")) == 1
    assert len(logged(events, "identity.up")) == 1


async def test_trial_that_fails_in_an_unexpected_way_does_not_keep_the_breaker_open_for_good(
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
    file.unlink()  # an operator removes the key while the agent runs
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
    asked.close()


async def test_hanging_service_costs_its_deadline_until_the_breaker_opens(identity: IdentityServer, clock: Any) -> None:
    identity.replies["/keys"] = hang(5)
    asked = Asked(identity, clock, list_seconds=0.2)
    began = time.monotonic()
    results = await asyncio.gather(*(asked.users(1) for _ in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {ReachError}
    for _ in range(2):
        with pytest.raises(ReachError):
            await asked.users(1)
    assert 0.5 < time.monotonic() - began < 4.5
    with pytest.raises(ReachError, match="circuit open"):
        await asked.users(1)
    assert identity.count("/keys") == 3
    asked.close()


async def test_call_that_does_not_end_in_time_fails_and_counts_as_a_failure(
    identity: IdentityServer, clock: Any
) -> None:
    identity.replies["/keys"] = [BUSY]
    asked = Asked(identity, clock, sleep=lambda _: time.sleep(1.2), list_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(ReachError, match=r"^no answer in time$"):
        await asked.users(1)
    ((call, seconds),) = asked.observed
    assert call == "list"
    assert 0.5 < seconds <= time.monotonic() - began
    identity.replies["/keys"] = Reply(404)
    for _ in range(2):
        assert not asked.lookups.breaker.is_open
        with pytest.raises(IdentityServiceError):
            await asked.users(1)
    assert asked.lookups.breaker.is_open
    asked.close()


# --- clocks


@pytest.mark.parametrize(("ahead", "told"), [(20, []), (30, [30]), (40, [40]), (-30, [-30])])
async def test_change_of_the_clocks_is_logged_once(
    identity: IdentityServer, clock: Any, events: io.StringIO, ahead: int, told: list[int]
) -> None:
    asked = Asked(identity, clock, now=lambda: datetime.now(UTC) + timedelta(seconds=ahead))
    for _ in range(2):
        await asked.users(1, fresh=True)
    assert [event["ahead_of_identity_service"] for event in logged(events, "clocks.differ")] == told
    asked.close()


# --- another configuration


async def test_first_question_to_a_new_service_is_not_disturbed_by_the_late_failure_of_the_old_one(
    asked: Asked, identity: IdentityServer
) -> None:
    identity.replies["/keys"] = Reply(404)
    identity.delay = 0.1
    late = asyncio.create_task(asked.users(0))
    await asyncio.sleep(0.02)
    with IdentityServer(delay=0.2) as other:
        other.entries = identity.entries
        client = IdentityClient(Config.model_validate(other.config()))
        asked.lookups.replace_client(client)
        first = asyncio.create_task(asked.users(1))
        with pytest.raises(IdentityServiceError):
            await late
        found = await asyncio.gather(first, *(asked.users(i) for i in range(2, 50)))
        assert found == [[f"user{i}"] for i in range(1, 50)]
        assert other.count("/keys") == 1
        assert not asked.lookups.breaker.is_open
        client.close()


async def test_new_service_is_asked_anew_for_what_it_can(asked: Asked, identity: IdentityServer) -> None:
    """The new service filters and takes one key at a time; the old one did not filter, or took many."""
    await asked.users(0)  # the old service does not filter
    with IdentityServer() as other:
        other.entries, other.filters = identity.entries, True
        client = IdentityClient(Config.model_validate(other.config()))
        asked.lookups.replace_client(client)
        assert await asyncio.gather(*(asked.users(i) for i in range(5))) == [[f"user{i}"] for i in range(5)]
        assert questions(other) == [1] * 5
        client.close()


async def test_open_breaker_of_the_old_service_does_not_stop_the_new_one(
    asked: Asked, identity: IdentityServer
) -> None:
    identity.replies["/keys"] = ERROR
    for _ in range(3):
        with pytest.raises(RemoteServiceError):
            await asked.users(1)
    assert asked.lookups.breaker.is_open
    identity.replies.clear()
    asked.lookups.replace_client(asked.client)
    assert await asked.users(1) == ["user1"]


@pytest.mark.parametrize("filters", [True, False])
async def test_new_client_gets_no_cached_answers(asked: Asked, identity: IdentityServer, filters: bool) -> None:
    identity.filters = filters
    await asked.users(1)
    with IdentityServer() as other:
        other.entries = [{"user": "other", "authorized_key": KEYS[1]}]
        client = IdentityClient(Config.model_validate(other.config()))
        asked.lookups.replace_client(client)
        assert await asked.users(1) == ["other"]
        client.close()
    assert identity.count("/keys") == 1


async def test_late_answer_to_the_old_configuration_is_not_cached(asked: Asked, identity: IdentityServer) -> None:
    identity.delay = 0.1
    late = asyncio.create_task(asked.users(1))
    await asyncio.sleep(0.02)
    with IdentityServer() as other:
        client = IdentityClient(Config.model_validate(other.config()))
        asked.lookups.replace_client(client)
        await late
        assert await asked.users(1) == []
        client.close()


async def test_entries_left_out_are_logged_by_reason_and_number(
    asked: Asked, identity: IdentityServer, events: io.StringIO
) -> None:
    identity.entries = [{"user": "a\nb", "authorized_key": KEYS[1]}] * 3
    assert await asked.users(1) == []
    (event,) = logged(events, "entry.left_out")
    assert (event["reason"], event["count"], event["request_id"]) == ("user: control characters", 3, ID)


async def test_unknown_keys_cost_one_list_each_and_one_token(
    asked: Asked, identity: IdentityServer, clock: Any
) -> None:
    identity.filters = True
    identity.entries = []
    made_up = [public_key.fingerprint(str(i).encode()) for i in range(90)]
    for at in range(0, len(made_up), 30):
        await asyncio.gather(*(asked.entries(each) for each in made_up[at : at + 30]))
        clock.move(1)
    assert identity.count("/token") == 1
    assert identity.count("/keys") == 90


async def test_agent_that_stops_does_not_wait_for_its_lists(asked: Asked, identity: IdentityServer) -> None:
    arrived, is_closed, in_time = threading.Event(), threading.Event(), []

    def answer_later(_connection: socket.socket) -> None:
        arrived.set()
        in_time.append(is_closed.wait(2))

    identity.replies["/keys"] = Reply(write=answer_later)
    answer = asyncio.create_task(asked.users(1))
    await asyncio.to_thread(arrived.wait)
    asked.lookups.close()
    is_closed.set()
    with pytest.raises(ReachError):
        await answer
    assert in_time[0]


def test_closed_lookups_accept_no_work(identity: IdentityServer, clock: Any) -> None:
    asked = Asked(identity, clock)

    async def steps() -> None:
        await asked.users(1)

    asyncio.run(steps())
    asked.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(_ask_again(asked, clock))
    assert isinstance(asked.lookups._workers, ThreadPoolExecutor)  # noqa: SLF001


async def _ask_again(asked: Asked, clock: Any) -> None:
    clock.move(60)
    await asked.users(2, fresh=True)
