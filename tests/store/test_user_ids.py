"""Tests that the next person of a user name inherits nothing, on both databases."""

import json
import re

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser
from service.relying_party import RelyingParty, give_rsa_key
from service.service import Clock, Service, wrong
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from sshaft_identity.audit import chain
from sshaft_identity.commands.audit import lines
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import users
from sshaft_identity.people.activity import Activity
from sshaft_identity.store import Store


@pytest.fixture
def shop(service: Service) -> RelyingParty:
    give_rsa_key(service)
    return RelyingParty(service)


def give_name_to_another_person(service: Service) -> str:
    """Removes Alice, adds another person as `alice`, and returns the fingerprint of that person's key."""
    service.store.revocation.remove_user("alice", service.clock.advance(1))
    (fingerprint,) = service.add_user("alice", ed25519("the next alice"))
    return fingerprint


def subject(shop: RelyingParty, fingerprint: str) -> tuple[str, str]:
    """Logs in as `alice`. Returns the `sub` and the ID token."""
    came = shop.log_in(Browser(shop.service), "alice", fingerprint)
    token = shop.redeem(came["code"]).json()["id_token"]
    return shop.claims(token)["sub"], token


@pytest.mark.parametrize("sector", [None, "app.example.org"], ids=["public", "pairwise"])
def test_next_person_of_a_name_has_another_sub(service: Service, shop: RelyingParty, sector: str | None) -> None:
    """Finding S15: the next person of a user name got the `sub` of the person before."""
    party = shop if sector is None else RelyingParty(service, "other", pairwise_sector=sector)
    (first,) = service.add_user("alice", ed25519("alice"))
    before, _ = subject(party, first)
    assert subject(party, first)[0] == before
    after, _ = subject(party, give_name_to_another_person(service))
    assert after != before


def test_login_that_asks_for_the_sub_of_an_earlier_user_fails(service: Service, shop: RelyingParty) -> None:
    """Finding S15: see above; here the name fits and the `sub` does not."""
    (first,) = service.add_user("alice", ed25519("alice"))
    _, hint = subject(shop, first)
    second = give_name_to_another_person(service)
    came = shop.log_in(Browser(service), "alice", second, id_token_hint=hint)
    assert came["error"] == "access_denied"


def test_next_person_of_a_name_does_not_see_the_activity_of_the_person_before(service: Service) -> None:
    """Finding S15: "My activity" showed what the person before had done."""
    service.add_user("alice", ed25519("alice"))
    service.open("alice", app="Divorce Lawyer Portal")
    fingerprint = give_name_to_another_person(service)
    service.open("alice", app="Wiki")
    browser = Browser(service)
    browser.sign_in("alice", fingerprint)
    page = browser.get("/account/activity").text
    assert "Wiki" in page
    assert "Divorce Lawyer" not in page


def test_person_does_not_see_what_happened_to_the_name_before(service: Service) -> None:
    service.open("alice", app="Somebody's guess")
    service.clock.advance(1)
    service.add_user("alice", ed25519("alice"))
    rows = Activity(service.store.database).of("alice").happenings
    assert [each.newest.sentence for each in rows] == ["A key was added", "You were added as a user"]


def test_next_person_of_a_name_is_not_locked(service: Service) -> None:
    """Finding S15: counted wrong codes belong to a person, not to a name."""
    (first,) = service.add_user("alice", ed25519("alice"))
    for _ in range(3):
        opened = service.open("alice")
        for number in range(4):
            service.accept(code=wrong(opened["code"], number + 1), fingerprint=first)
    opened = service.open("alice")
    assert service.accept(code=opened["code"], fingerprint=first).json()["error"] == "too_many_attempts"
    second = give_name_to_another_person(service)
    opened = service.open("alice")
    assert service.accept(code=opened["code"], fingerprint=second).status_code == 200


def test_audit_log_tells_the_two_people_apart_and_its_chain_covers_that(store: Store, clock: Clock) -> None:
    """Finding S15: events name the id of the user too."""
    store.users.add("alice", clock())
    store.revocation.remove_user("alice", clock())
    store.users.add("alice", clock())
    chain.seal_all(store.database)
    exported = [json.loads(line) for line in lines(store.database, None, None, "alice")]
    assert [each["event"] for each in exported] == ["user.added", "user.removed", "user.added"]
    first, removed, second = (each["user_id"] for each in exported)
    assert first == removed == "alice"
    assert re.fullmatch(r"[0-9a-f]{32}", second)
    assert [head.seq for head in chain.verify(store.database)][-1] == 3


def test_name_that_looks_like_an_id_is_no_id(store: Store, clock: Clock) -> None:
    store.users.add("0123456789abcdef" * 2, clock())
    assert store.users.id_of("0123456789abcdef" * 2) != "0123456789abcdef" * 2


# --- names that differ in case only


@pytest.mark.parametrize("name", ["Alice", "ALICE"])
def test_user_whose_name_differs_in_case_only_is_refused(store: Store, clock: Clock, name: str) -> None:
    """Case user_name_forms: `user add Alice` worked where alice was."""
    store.users.add("alice", clock())
    with pytest.raises(RegistryError, match="already a user alice: two names must not differ in case only"):
        store.users.add(name, clock())


def test_database_refuses_a_second_name_in_other_case(store: Store, clock: Clock) -> None:
    """Case user_name_forms: the database enforces the rule too."""
    store.users.add("alice", clock())
    with pytest.raises(IntegrityError), store.database.write() as connection:
        connection.execute(insert(users).values(name="Alice", created_at=clock()))
    with store.database.read() as connection:
        assert connection.scalars(select(users.c.folded_name)).all() == ["alice"]
