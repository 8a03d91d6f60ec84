"""Tests which shell a new account gets by the assurance of its person."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit.agent.host_login.test_accounts import settings

from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import accounts, config_file
from sshaft_agent.host_login.roles.assurance import Assurance, holds
from sshaft_agent.host_login.roles.granted import rights_of

PREFIX = "https://refeds.org"
MFA, HIGH, MEDIUM = (f"{PREFIX}/{each}" for each in ("profile/mfa", "assurance/IAP/high", "assurance/IAP/medium"))
POLICY = {
    "shells": [
        {"when": "profile/mfa & (assurance/IAP/high | assurance/IAP/medium)"},
        {"when": f"{HIGH} | 1", "shell": "/bin/rbash"},
    ],
    "otherwise": "/usr/sbin/nologin",
}


def shell_of(claims: dict[str, Any], **changes: Any) -> str | None:
    return Assurance.model_validate_json(json.dumps(POLICY | changes)).shell_of(claims)


@pytest.mark.parametrize(
    ("claims", "shell"),
    [
        ({"eduperson_assurance": [MFA, MEDIUM]}, None),
        ({"eduperson_assurance": [HIGH], "acr": MFA}, None),
        ({"assurance": ["profile/mfa", "assurance/IAP/high"]}, None),
        ({"eduperson_assurance": f"{MFA} {MEDIUM}"}, None),
        ({"eduperson_assurance": [HIGH]}, "/bin/rbash"),
        ({"acr": "1"}, "/bin/rbash"),
        ({"acr": "0 1"}, "/bin/rbash"),
        ({"acr": 1}, "/usr/sbin/nologin"),
        ({"acr": ["0 1"]}, "/usr/sbin/nologin"),
        ({"eduperson_assurance": [MFA]}, "/usr/sbin/nologin"),
        ({"eduperson_assurance": [[MFA, HIGH]]}, "/usr/sbin/nologin"),
        ({"eduperson_assurance": {MFA: HIGH}}, "/usr/sbin/nologin"),
        ({"eduperson_assurance": [f"{PREFIX}.evil.example/profile/mfa", f"x{HIGH}"]}, "/usr/sbin/nologin"),
        ({"other": [MFA, HIGH]}, "/usr/sbin/nologin"),
        ({}, "/usr/sbin/nologin"),
    ],
)
def test_first_rule_that_holds_gives_the_shell(claims: dict[str, Any], shell: str | None) -> None:
    assert shell_of(claims) == shell


@pytest.mark.parametrize(
    ("expression", "is_true"),
    [
        ("a", True), ("c", False), ("a & b", True), ("a & c", False), ("c | a", True), ("a|c&d", True),
        ("c & d | a", True), ("(a | c) & d", False), ("(a|c)&b", True), ("((a))", True), ("*", True), ("+", True),
        ("d & *", False), ("c & d | e & *", False),
    ],
)  # fmt: skip
def test_expression_is_read_as_motley_cue_reads_it(expression: str, *, is_true: bool) -> None:
    assert holds(expression, PREFIX, {"a", f"{PREFIX}/b"}) == is_true


def test_signs_stand_for_any_value_and_for_everybody() -> None:
    assert (holds("+", PREFIX, ()), holds("*", PREFIX, ()), holds("+", PREFIX, {"x"})) == (False, True, True)


@pytest.mark.parametrize(
    "expression", ["a &", "& a", "a b", "(a", "a)", "()", "a | | b", "a & (", "(" * 17 + "a" + ")" * 17, " ", "a (b)"]
)
def test_expression_that_cannot_be_read_is_refused(expression: str) -> None:
    with pytest.raises(ValidationError, match=r"value|bracket|stands"):
        shell_of({}, shells=[{"when": expression}])


@given(st.text(alphabet="ab&|()*+ ", max_size=40), st.sets(st.sampled_from("ab")))
def test_any_expression_is_read_or_refused_for_everybody(expression: str, held: set[str]) -> None:
    try:
        holds(expression, PREFIX, ())
    except ValueError:
        with pytest.raises(ValueError, match=r"value|bracket|stands"):
            holds(expression, PREFIX, held)
    else:
        holds(expression, PREFIX, held)


def test_assurance_comes_before_the_shell_of_a_role() -> None:
    role = {"everyone": True, "shell": "/bin/zsh", "local_groups": ["ops"]}
    rules = settings(create={}, roles=[role], assurance=POLICY)
    assert rights_of(rules, {"eduperson_assurance": [MFA, HIGH]}).shell == "/bin/zsh"
    low = rights_of(rules, {})
    assert (low.shell, low.local_groups) == ("/usr/sbin/nologin", frozenset({"ops"}))


def test_acr_counts_only_in_the_token() -> None:
    rules = settings(create={}, assurance=POLICY)
    assert accounts.wanted(rules) == {"preferred_username", "assurance", "eduperson_assurance"}


def test_assurance_without_new_accounts_is_refused() -> None:
    provider = {"issuer": "https://op.example.org", "allow": {"everyone": True}, "assurance": POLICY}
    for data in ({"tokens": [provider | {"audience": "x"}]}, provider | {"client_id": "c"}):
        with pytest.raises(ConfigurationError, match="it needs create"):
            config_file.settings_of(Path("config.json"), data)
        config_file.settings_of(Path("config.json"), data | {"create": {}})
