"""Tests that any number of refused requests makes a bounded number of events, and that none is forgotten."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.service.background import record_refusals
from sshaft_identity.web.refusals import MAX_ALIKE, MAX_OF_STRANGERS, Refusal, Refusals
from sshaft_identity.web.refused_requests import record_counts
from sshaft_identity.web.state import AppState

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FORM = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "wrong"}


def refused(service: Service) -> list[dict[str, Any]]:
    return service.audited("request.refused")


def total(service: Service) -> int:
    return sum(each.get("count", 1) for each in refused(service))


def test_flood_of_refused_token_requests_makes_few_events(service: Service) -> None:
    """Finding S20: refused token requests filled the audit log, 45 GB a day at full speed."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.call("POST", "/oauth2/token", data=FORM), range(60)))
    assert {answer.status_code for answer in answers} == {401}
    assert len(refused(service)) == MAX_ALIKE
    assert service.app
    record_counts(service.app.state.sshaft)
    (*_, last) = refused(service)
    assert (last["count"], last["error"], last["client_ip"]) == (60 - MAX_ALIKE, "invalid_client", "127.0.0.1")
    assert total(service) == 60
    record_counts(service.app.state.sshaft)
    assert total(service) == 60, "counts are recorded once"
    assert len(service.events("request.refused")) == MAX_ALIKE + 1


def test_counts_are_recorded_when_the_service_stops(service: Service) -> None:
    """Finding S20: no refusal is forgotten."""
    for _ in range(MAX_ALIKE + 3):
        service.call("POST", "/oauth2/token", data=FORM)
    assert service.app

    async def stop(state: AppState) -> None:
        task = asyncio.create_task(record_refusals(state))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(stop(service.app.state.sshaft))
    assert total(service) == MAX_ALIKE + 3


def test_later_refusals_become_events_again(service: Service) -> None:
    """Finding S20: the limit is for a minute only."""
    for _ in range(MAX_ALIKE + 5):
        service.call("POST", "/oauth2/token", data=FORM)
    service.clock.advance(60)
    service.call("POST", "/oauth2/token", data=FORM)
    assert len(refused(service)) == MAX_ALIKE + 1


def test_flood_of_strangers_hides_no_refusal_of_a_client(service: Service) -> None:
    """Finding S20: an authenticated client has counts of its own."""
    secret = service.store.clients.add(Client("app", frozenset([Scope.CHALLENGES])), service.clock())
    for number in range(MAX_OF_STRANGERS + 20):
        service.call("POST", "/oauth2/token", data=FORM | {"client_id": f"c{number}"})
    form = {"grant_type": "client_credentials", "scope": "mfa:list"}
    assert service.call("POST", "/oauth2/token", data=form, auth=("app", secret)).status_code == 400
    assert refused(service)[-1]["client"] == "app"


def stranger(number: int) -> Refusal:
    return Refusal("oauth", "invalid_client", "no such client", None, f"2001:db8:{number:x}::/64")


def test_strangers_from_many_addresses_share_one_count() -> None:
    """Finding S20: an attacker has as many IPv6 networks as he likes, so memory and events are bounded for all."""
    refusals = Refusals()
    events = [refusals.is_event(stranger(number), NOW) for number in range(5000)]
    assert sum(events) == MAX_OF_STRANGERS
    counts = refusals.take_counts()
    assert list(counts.items()) == [(Refusal("oauth", "invalid_client", "no such client", None, None), 4900)]


def test_flood_of_strangers_leaves_the_counts_of_clients_and_of_earlier_sources() -> None:
    """Finding S20: after 100 events of strangers, a client and a source with an event keep counts of their own."""
    refusals, of_client = Refusals(), Refusal("oauth", "invalid_scope", "no such scope", "app", "192.0.2.1")
    for number in range(MAX_OF_STRANGERS):
        assert refusals.is_event(stranger(number), NOW) is True
    events = [refusals.is_event(of_client, NOW) for _ in range(12)]
    assert events == [True] * 10 + [False] * 2
    assert [refusals.is_event(each, NOW) for each in (stranger(3), stranger(3), stranger(5000))] == [False] * 3
    nobody = Refusal("oauth", "invalid_client", "no such client", None, None)
    assert refusals.take_counts() == {of_client: 2, stranger(3): 2, nobody: 1}
    assert refusals.take_counts() == {}
    later = [NOW + timedelta(seconds=seconds) for seconds in (59.9, 60)]
    assert [refusals.is_event(stranger(6000), moment) for moment in later] == [False, True]


def test_clock_that_is_set_back_begins_a_new_minute() -> None:
    refusals = Refusals()
    for _ in range(MAX_ALIKE + 1):
        refusals.is_event(stranger(1), NOW)
    assert refusals.is_event(stranger(1), NOW.replace(hour=1))


@pytest.mark.parametrize("face", ["oauth", "openid"])
def test_event_with_a_count_has_the_facts_of_the_others(service: Service, face: str) -> None:
    path = {"oauth": "/oauth2/token", "openid": "/oauth2/authorize"}[face]
    for _ in range(MAX_ALIKE + 2):
        service.call("POST", path, data=FORM)
    assert service.app
    record_counts(service.app.state.sshaft)
    first, last = refused(service)[0], refused(service)[-1]
    assert json.dumps(last) == json.dumps({**last, **first} | {"count": 2})
