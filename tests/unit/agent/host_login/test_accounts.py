"""Tests which account belongs to an identity, and what the policy refuses."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.settings import HostLoginSettings

ALICE = Account("alice", 1000)


def settings(**changes: Any) -> HostLoginSettings:
    return HostLoginSettings.model_validate_json(
        json.dumps({"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True}} | changes)
    )


@pytest.mark.parametrize("name", ["root", "daemon", "nobody", "no-such-user", "", "-x", "a b", "../x", "\u0430lice"])
def test_no_person_has_the_account_of_root_or_of_the_system(name: str) -> None:
    assert accounts.find(name) is None


@pytest.mark.parametrize(
    ("changes", "value", "belongs"),
    [
        ({}, "alice", True),
        ({}, "Alice", False),
        ({}, "alice ", False),
        ({}, "alice\n", False),
        ({}, "bob", False),
        ({}, "", False),
        ({}, None, False),
        ({}, ["alice"], False),
        ({}, {"alice": 1}, False),
        ({"match": r"([a-z]+)@example\.org"}, "alice@example.org", True),
        ({"match": r"([a-z]+)@example\.org"}, "alice@example.org.evil.example", False),
        ({"match": r"([a-z]+)@example\.org"}, "alice@exampleXorg", False),
        ({"match": r"([a-z]+)@example\.org"}, "alice@example.org\n", False),
        ({"match": r"([a-z]+)\.([a-z]+)@.*", "name": r"\2"}, "smith.alice@x", True),
        ({"match": r"(x)?(.*)", "name": r"\1alice"}, "y", True),
        ({"uid_claim": "uid"}, 1000, True),
        ({"uid_claim": "uid"}, "1000", True),
        ({"uid_claim": "uid"}, "01001", False),
        ({"uid_claim": "uid"}, 1000.0, False),
        ({"uid_claim": "uid"}, True, False),
        ({"uid_claim": "uid"}, "alice", False),
        ({"uid_claim": "uid"}, "\u0661000", False),
    ],
)
def test_account_belongs_to_the_person_whom_the_claim_names(
    changes: dict[str, Any], value: Any, *, belongs: bool
) -> None:
    configured = settings(**changes)
    first, second = accounts.checks(ALICE, configured, {configured.uid_claim or configured.claim: value})
    assert (first.passed, second.passed) == (True, belongs)


@pytest.mark.parametrize(
    ("allow", "claims", "groups", "is_refused"),
    [
        ({"everyone": True}, {}, None, False),
        ({"users": ["alice"]}, {}, None, False),
        ({"users": ["bob"]}, {}, None, True),
        ({"groups": ["g1", "g2"]}, {}, ["g0", "g2"], False),
        ({"groups": ["g1"]}, {}, ["g2"], True),
        ({"groups": ["g1"]}, {}, None, True),
        ({"groups": ["g1"]}, {}, "g1", True),
        ({"groups": ["g1"]}, {}, {"g1": 1}, True),
        ({"groups": ["g1"]}, {}, [["g1"]], True),
        ({"users": ["alice"], "groups": ["g1"]}, {}, ["g2"], True),
        ({"everyone": True, "groups": ["g1"]}, {}, [], True),
        ({"everyone": True, "acr": ["high", "top"]}, {"acr": "top"}, None, False),
        ({"everyone": True, "acr": ["high"]}, {"acr": "low"}, None, True),
        ({"everyone": True, "acr": ["high"]}, {"acr": ["high"]}, None, True),
        ({"everyone": True, "acr": ["high"]}, {}, None, True),
        ({"everyone": True, "amr": ["hwk", "pin"]}, {"amr": ["pin", "hwk", "x"]}, None, False),
        ({"everyone": True, "amr": ["hwk", "pin"]}, {"amr": ["pin"]}, None, True),
        ({"everyone": True, "amr": ["hwk"]}, {"amr": "hwk"}, None, True),
        ({"everyone": True, "amr": ["hwk"]}, {}, None, True),
    ],
)
def test_policy_refuses_what_it_cannot_decide(
    allow: dict[str, Any], claims: dict[str, Any], groups: Any, *, is_refused: bool
) -> None:
    configured = settings(allow=allow)
    _account, _claim, *policy = accounts.checks(ALICE, configured, claims | {configured.groups_claim: groups})
    assert all(each.passed for each in policy) is not is_refused


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"allow": {}}, "names nobody"),
        ({"allow": {"everyone": False}}, "names nobody"),
        ({"allow": {"groups": []}}, "names nobody"),
        ({"match": "("}, "no regular expression"),
        ({"match": "alice"}, "a group that match does not have"),
        ({"name": r"\2"}, "a group that match does not have"),
        ({"name": r"\g<1>"}, "name"),
        ({"issuer": "http://op.example"}, "https"),
        ({"pending_per_user": 0}, "pending_per_user"),
    ],
)
def test_configuration_that_would_surprise_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        settings(**changes)


def test_no_account_fails_the_first_check() -> None:
    (check,) = accounts.checks(None, settings(), {"preferred_username": "alice"})
    assert (check.rule, check.passed) == ("account", False)
