"""Tests the members of `host_login.approval`, and the order of the methods."""

import json
from pathlib import Path
from typing import Any

import pytest

from sshaft import config
from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import config_file
from sshaft_agent.host_login.approval.settings import ApprovalSettings
from sshaft_agent.host_login.realms import NamedRealms
from sshaft_agent.host_login.settings import HostSettings

APPROVAL = {"url": "https://mfa.example.org", "client_id": "web1", "client_secret": "s", "allow": {"everyone": True}}
DEVICE = {"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True}}
TOKENS = {"tokens": [{"issuer": "https://op.example", "audience": "web1", "allow": {"everyone": True}}]}


def read(**members: Any) -> HostSettings:
    return config_file.settings_of(Path("config.json"), members)


def approval(**changes: Any) -> ApprovalSettings:
    found = read(approval=APPROVAL | changes).approver
    assert found is not None
    return found


def test_four_lines_are_enough() -> None:
    settings = read(approval=APPROVAL)
    assert settings.approver is not None
    assert settings.approver.issuer == "https://mfa.example.org"
    assert settings.device is None
    assert settings.used_methods == ("approval",)
    assert settings.has_secret


def test_address_needs_no_slash_at_its_end() -> None:
    assert approval(url="https://mfa.example.org/").issuer == "https://mfa.example.org"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"url": "http://mfa.example.org"}, "https"),
        ({"url": "https://mfa.example.org/?a=b"}, "query"),
        ({"issuer": "https://mfa.example.org"}, "unknown key"),
        ({"user": "alice"}, "{account} once"),
        ({"user": "{account}-{account}"}, "{account} once"),
        ({"client_secret": None}, "needs client_secret_file"),
        ({"allow": {}}, "names nobody"),
        ({"allow": {"groups": ["g"]}}, "allow.groups cannot be used"),
        ({"allow": {"entitlements": ["e"]}}, "allow.entitlements cannot be used"),
        ({"allow": {"everyone": True, "claims": {"hd": ["example.org"]}}}, "allow.claims cannot be used"),
        ({"uid_claim": "uid"}, "uid_claim does not belong"),
        ({"create": {}}, "create does not belong"),
        ({"scopes": ["openid"]}, "scopes does not belong"),
        ({"seconds": 5}, "seconds"),
    ],
)
def test_settings_that_could_let_nobody_in_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match="approval") as refused:
        read(approval={name: value for name, value in (APPROVAL | changes).items() if value is not None})
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "user", "rule"),
    [
        ({}, "alice", ("(.+)", r"\1")),
        ({"user": "{account}@example.org"}, "alice@example.org", (r"(.+)@example\.org", r"\1")),
        ({"user": "{account}@example.org", "match": "(a.+)@example.org"}, "alice@example.org",
         ("(a.+)@example.org", r"\1")),
        ({"map": {"alice.smith": "alice"}}, "alice.smith", None),
        ({"map": {"alice.smith": "alice", "bob": ["bob", "alice"]}}, "alice", None),
        ({"map": {"bob": "bob"}}, "alice", None),
    ],
)  # fmt: skip
def test_user_and_account_fit_each_other(changes: dict[str, Any], user: str, rule: tuple[str, str] | None) -> None:
    settings = approval(**changes)
    assert settings.user_of("alice") == user
    assert settings.rule == rule


def test_account_cannot_choose_another_user() -> None:
    """The account is what a stranger typed."""
    assert approval(user="{account}@example.org").user_of("{account}") == "{account}@example.org"


@pytest.mark.parametrize(
    ("methods", "used"),
    [
        (None, ("approval", "device", "token")),
        (["device", "approval", "token"], ("device", "approval", "token")),
        (["token"], ("token",)),
        (["approval"], ("approval",)),
    ],
)
def test_method_that_is_left_out_is_off(methods: list[str] | None, used: tuple[str, ...]) -> None:
    more = {} if methods is None else {"methods": methods}
    settings = read(approval=APPROVAL, **DEVICE, **TOKENS, **more)
    assert settings.used_methods == used
    assert (settings.approver is not None) == ("approval" in used)
    assert (settings.device is not None) == ("device" in used)
    assert bool(settings.token_providers) == ("token" in used)


@pytest.mark.parametrize("methods", [[], ["device"], ["approval", "approval"], ["password"], ["approval", "token"]])
def test_order_of_methods_that_are_not_there_is_refused(methods: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="methods"):
        read(approval=APPROVAL, methods=methods)


def test_people_of_a_provider_need_one_that_numbers_them_for_everybody() -> None:
    linked = APPROVAL | {"identity": "linked"}
    assert read(approval=linked, **DEVICE).approver is not None
    assert read(approval=linked, **TOKENS).approver is not None
    entra = "https://login.microsoftonline.com/7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f/v2.0"
    for members, fault in (({}, "whose people"), (DEVICE | {"issuer": entra}, "by sub")):
        with pytest.raises(ConfigurationError, match=fault):
            read(approval=linked, **members)


def test_secret_in_an_open_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"host_login": {"approval": APPROVAL}}))
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to everybody"):
        config.read_object(path)
    path.chmod(0o600)
    assert "host_login" in config.read_object(path)


@pytest.mark.parametrize("more", [{"approval": APPROVAL}, {"methods": ["device"]}])
def test_file_that_a_pam_line_names_has_no_approvals(tmp_path: Path, more: dict[str, Any]) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"host_login": DEVICE | more}))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="belongs into the configuration of the agent alone"):
        NamedRealms().realm(str(path))


def test_rules_of_the_host_hold_for_approvals() -> None:
    settings = read(approval=APPROVAL, create={"approve": True})
    assert settings.approver is not None
    assert settings.approver.create is settings.create
