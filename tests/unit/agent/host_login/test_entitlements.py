"""Tests which entitlements of AARC-G069 and AARC-G002 give what is required."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit.agent.host_login.test_accounts import settings

from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.entitlements import fulfils, parse
from sshaft_agent.host_login.rules import Allow

ALICE = Account("alice", 1000)
VO = "urn:geant:example.org:group:vo1"


@pytest.mark.parametrize(
    ("required", "held"),
    [
        (VO, VO),
        (VO, f"{VO}#aai.example.org"),
        (f"{VO}#aai.example.org", f"{VO}#elsewhere.example.org"),
        (VO, f"{VO}?+resolver?=query#fragment"),
        (VO, "URN:Geant:EXAMPLE.org:group:vo1"),
        (VO, f"{VO}:students"),
        (VO, f"{VO}:students:role=member"),
        (VO, f"{VO}:role=member"),
        (f"{VO}:role=member", f"{VO}:role=member#aai.example.org"),
        (f"{VO}:a%2fb", f"{VO}:a%2Fb:c"),
        ("urn:geant:example.org:sub:group:vo1", "urn:geant:example.org:SUB:group:vo1"),
        ("/wlcg", "/wlcg"),
        ("urn:mace:example.org:res:shell", "urn:mace:example.org:res:shell"),
    ],
)
def test_entitlement_gives_what_is_required(required: str, held: str) -> None:
    assert fulfils([held], [required], "one")
    assert fulfils(held, [required], "one"), "a single value needs no list"


@pytest.mark.parametrize(
    ("required", "held"),
    [
        (f"{VO}:students", VO),
        (VO, "urn:geant:example.org:group:vo12"),
        (VO, "urn:geant:example.org:group:VO1"),
        (VO, "urn:geant:example.com:group:vo1"),
        (VO, "urn:mace:example.org:group:vo1"),
        (VO, "urn:geant:example.org:group:vo2:vo1"),
        (VO, f"x{VO}"),
        (VO, f" {VO}"),
        (VO, f"{VO}\n"),
        (VO, f"{VO}:"),
        (VO, f"{VO}?evil"),
        (VO, "urn:geant:example.org:role:vo1"),
        (VO, "#" + VO),
        (VO, ""),
        (f"{VO}:role=member", VO),
        (f"{VO}:role=member", f"{VO}:role=members"),
        (f"{VO}:role=member", f"{VO}:role=member:x"),
        (f"{VO}:role=member", f"{VO}:students:role=member"),
        (f"{VO}:role=member", f"{VO}:students#:role=member"),
        (f"{VO}:role=", f"{VO}:role=member"),
        ("/wlcg", "/wlcg/ops"),
        ("urn:mace:example.org:res:shell", "urn:mace:example.org:res:shell:more"),
    ],
)
def test_other_entitlement_gives_nothing(required: str, held: str) -> None:
    assert not fulfils([held], [required], "one")


@pytest.mark.parametrize(
    "held",
    [
        "urn:geant:example.org:group:evil:group:vo1",
        "urn:geant:example.org:group:evil:role=x:group:vo1",
        "urn:geant:example.org:evil:group:vo1",
        "urn:geant:evil#:example.org:group:vo1",
        "urn:geant:evil?+example.org:group:vo1",
    ],
)
def test_manager_of_one_group_cannot_name_another_one_below_it(held: str) -> None:
    assert not fulfils([held], [VO], "one")


@pytest.mark.parametrize("found", [None, 1, True, {VO: VO}, [], [None, 1, [VO]], f"{VO},{VO}", f"{VO} {VO}"])
def test_value_of_another_kind_gives_nothing(found: Any) -> None:
    assert not fulfils(found, [VO], "one")


@pytest.mark.parametrize(
    ("held", "match", "is_enough"),
    [
        ("a", "one", True), ("", "one", False), ("ab", "all", False), ("abc", "all", True), ("a", 1, True),
        ("a", 2, False), ("ac", 2, True), ("abc", 2, True), ("ab", 3, False), ("aaa", 2, False),
    ],
)  # fmt: skip
def test_as_many_entitlements_are_needed_as_the_rule_says(held: str, match: Any, *, is_enough: bool) -> None:
    required = [f"urn:geant:example.org:group:{each}" for each in "abc"]
    assert fulfils([f"urn:geant:example.org:group:{each}" for each in held], required, match) == is_enough


@given(st.text(alphabet="urngop:=#?+%2f é\n", max_size=40))
def test_any_text_is_read_or_is_no_entitlement(end: str) -> None:
    found = parse(f"{VO}{end}")
    assert found is None or found.groups


def test_rule_of_entitlements_reads_its_claim() -> None:
    rule = settings(allow={"entitlements": [VO], "entitlement_claim": "entitlements"})
    assert accounts.wanted(rule) == {"preferred_username", "entitlements"}
    for claims, passed in [({"entitlements": [f"{VO}:x"]}, True), ({"eduperson_entitlement": [VO]}, False)]:
        checks = list(accounts.checks(ALICE, rule, {"preferred_username": "alice", **claims}, ()))
        assert (checks[-1].rule, checks[-1].passed) == ("allow.entitlements", passed)


def test_entitlement_subject_or_group_is_enough() -> None:
    rule = settings(allow={"entitlements": [VO], "subjects": ["subject-1"], "groups": ["ops"]})
    for claims, passed in [
        ({"eduperson_entitlement": [VO]}, True), ({"sub": "subject-1"}, True), ({"groups": ["ops"]}, True), ({}, False)
    ]:  # fmt: skip
        checks = accounts.checks(ALICE, rule, {"preferred_username": "alice", **claims}, ())
        assert all(each.passed for each in checks) == passed


@pytest.mark.parametrize(
    ("allow", "fault"),
    [
        ({"entitlements": []}, "entitlements"),
        ({"everyone": True, "entitlement_claim": "x"}, "need entitlements"),
        ({"everyone": True, "entitlement_match": 1}, "need entitlements"),
        ({"entitlements": [VO], "entitlement_match": 2}, "has fewer"),
        ({"entitlements": [VO], "entitlement_match": 0}, "greater than or equal to 1"),
        ({"entitlements": [VO], "entitlement_match": "any"}, "'one' or 'all'"),
        ({"entitlements": [VO], "entitlement_match": True}, "entitlement_match"),
    ],
)
def test_rule_that_cannot_hold_is_refused(allow: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Allow.model_validate_json(json.dumps(allow))
