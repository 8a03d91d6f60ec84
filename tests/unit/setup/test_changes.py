"""Tests that the new config.json has what was asked, and everything else as it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_setup.changes import with_factor, with_host_login, without_secrets

LOGIN = "/usr/libexec/sshaft/sshaft-login"
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each, max_size=2))


def test_factor_keeps_the_login_path_and_the_limits_of_the_host() -> None:
    before = {"login_path": "/opt/login", "list_seconds": 2, "client_id": "old", "host_login": {"qr": "off"}}
    after = with_factor(before, {"client_id": "new", "login_path": "/sshaft/login"}, LOGIN)
    assert after == before | {"client_id": "new"}
    assert with_factor({}, {"client_id": "new"}, LOGIN) == {"client_id": "new", "login_path": LOGIN}


@pytest.mark.parametrize("old", ["client_secret", "client_secret_file", "private_key_file"])
def test_new_secret_of_the_factor_takes_the_place_of_the_old_one(old: str) -> None:
    after = with_factor({old: "x", "ca_file": "/ca"}, {"client_secret": "new"}, LOGIN)
    assert after == {"client_secret": "new", "ca_file": "/ca", "login_path": LOGIN}
    assert with_factor({old: "x"}, {"client_id": "c"}, LOGIN)[old] == "x"


@pytest.mark.parametrize(
    ("people", "allow"),
    [
        ("everyone", {"everyone": True}),
        ("group:a user:b group:c", {"groups": ["a", "c"], "users": ["b"]}),
        ("'group:cn=x, ou=a:b'", {"groups": ["cn=x, ou=a:b"]}),
    ],
)
def test_people_take_the_place_of_people_and_conditions_stay(people: str, allow: dict[str, Any]) -> None:
    before = {"host_login": {"allow": {"groups": ["old"], "everyone": True, "users": ["u"], "acr": ["gold"]}}}
    after = with_host_login(before, {"allow": people}, None)
    assert after == {"host_login": {"allow": allow | {"acr": ["gold"]}}}


def test_create_keeps_its_members_and_goes_only_when_it_is_asked() -> None:
    before = {"host_login": {"create": {"uid_first": 80000}}}
    assert with_host_login(before, {"create": "yes"}, None) == before
    assert with_host_login(before, {}, None) == before
    assert with_host_login(before, {"create": "no"}, None) == {"host_login": {}}


def test_secret_of_host_login_stays_until_there_is_another_one() -> None:
    before = {"host_login": {"client_secret": "x", "issuer": "a"}}
    assert with_host_login(before, {"issuer": "b"}, None) == {"host_login": {"client_secret": "x", "issuer": "b"}}
    assert with_host_login(before, {}, "/f") == {"host_login": {"client_secret_file": "/f", "issuer": "a"}}


@given(st.dictionaries(st.text().filter(lambda name: name != "host_login"), JSON), st.dictionaries(st.text(), JSON))
def test_without_a_wish_nothing_changes(config: dict[str, Any], host_login: dict[str, Any]) -> None:
    before = config | {"host_login": host_login}
    assert with_host_login(before, {}, None) == before
    assert with_host_login(config, {}, None) == config


def test_secret_is_not_shown_at_any_depth() -> None:
    shown = without_secrets({"client_secret": "s", "host_login": {"client_secret": "s", "issuer": "i"}})
    assert shown == {"client_secret": "(not shown)", "host_login": {"client_secret": "(not shown)", "issuer": "i"}}
    tokens = without_secrets({"host_login": {"tokens": [{"client_secret": "s", "issuer": "i"}]}})
    assert "'s'" not in str(tokens)
