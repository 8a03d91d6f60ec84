"""Tests what `sshaft host explain` says of a login: each rule, in words."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, OpenIdProvider

from sshaft.deadline import Deadline
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.approval.realm import ApprovalRealm
from sshaft_agent.host_login.approval.settings import ApprovalSettings
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.operator import Operator
from sshaft_agent.host_login.realm import Realm
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_agent.host_login.token_login.deciders import Deciders
from sshaft_agent.host_login.token_login.realms import TokenRealms

TENANT = "7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f"
ENTRA = f"https://login.microsoftonline.com/{TENANT}/v2.0"
BY_NAME = {"preferred_username": "alice", "sub": "s1"}
INTROSPECTION = {"identity_from": "introspection", "client_secret": "s3cret"}


def explained(directory: Path, claims: Any, **changes: Any) -> dict[str, tuple[bool, str]]:
    """Returns what each rule says of a login to alice with these claims, or with this token."""
    configured = {"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True}} | changes
    settings = HostLoginSettings.model_validate_json(json.dumps(configured))
    deciders = Deciders(Realm(settings), None, TokenRealms(()))
    operator = Operator(lambda: deciders, Bindings(directory), {"alice": Account("alice", 1000)}.get)
    fields = {"user": "alice"} | ({"token": claims} if isinstance(claims, str) else {"claims": json.dumps(claims)})
    _kind, answer = asyncio.run(operator.answers()["explain"](fields))
    return {each["rule"]: (each["passed"], each["detail"]) for each in json.loads(answer["json"])}


@pytest.mark.parametrize(
    ("changes", "claims", "rule", "verdict"),
    [
        ({}, BY_NAME, "claim", (True, "preferred_username is 'alice'")),
        ({"map": {"a": "alice"}}, BY_NAME, "map", (False, "preferred_username is 'alice', which is not in the map")),
        ({"map": {"alice": ["bob", "eve"]}}, BY_NAME, "map", (False, "preferred_username is 'alice': bob, eve")),
        ({"uid_claim": "uid"}, {"uid": 1000}, "uid_claim", (True, "uid is 1000")),
        ({"allow": {"everyone": True, "scopes": ["ssh", "x"]}}, BY_NAME, "scopes", (False, "not granted: ssh x")),
        ({"scopes": ["ssh"], "allow": {"everyone": True, "scopes": ["ssh"]}}, BY_NAME, "scopes",
         (True, "all are granted")),
        (INTROSPECTION, {"username": "alice"}, "scopes", (False, "not granted: openid profile")),
        (INTROSPECTION, {"username": "alice", "scope": "profile openid"}, "scopes", (True, "all are granted")),
        (INTROSPECTION, {"username": "alice"}, "binding",
         (True, "the account belongs to nobody yet: the first login takes it")),
        ({}, {"preferred_username": "alice"}, "binding", (False, "no sub names the person")),
        ({"issuer": ENTRA}, BY_NAME, "tenant", (False, "tid is missing")),
        ({"issuer": ENTRA}, BY_NAME | {"tid": TENANT}, "binding", (False, "no oid names the person")),
        ({"issuer": ENTRA, "allow": {"groups": ["g"]}}, BY_NAME | {"hasgroups": True}, "allow.groups",
         (False, "groups is missing, because there are too many: a login asks Microsoft Graph")),
        ({"allow": {"groups": ["g"]}}, BY_NAME | {"hasgroups": True}, "allow.groups", (False, "groups is missing")),
    ],
)  # fmt: skip
def test_each_rule_is_explained(
    tmp_path: Path, changes: dict[str, Any], claims: dict[str, Any], rule: str, verdict: tuple[bool, str]
) -> None:
    assert explained(tmp_path, claims, **changes)[rule] == verdict


@pytest.mark.parametrize(("oid", "is_own"), [("o1", True), ("o2", False)])
def test_account_at_entra_belongs_to_an_object_id(tmp_path: Path, oid: str, *, is_own: bool) -> None:
    Bindings(tmp_path).bind("alice", ENTRA, "o1", datetime.now(UTC))
    claims = BY_NAME | {"oid": oid, "tid": TENANT}
    verdict = is_own, f"the account belongs to 'o1' of {ENTRA}"
    assert explained(tmp_path, claims, issuer=ENTRA)["binding"] == verdict


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), "") as provider:
        provider.public, provider.is_approved = True, True
        yield provider


def at(provider: OpenIdProvider, **changes: Any) -> dict[str, Any]:
    return {"issuer": provider.issuer, "client_id": CLIENT_ID} | changes


def id_token(provider: OpenIdProvider) -> str:
    settings = HostLoginSettings.model_validate_json(json.dumps(at(provider, allow={"everyone": True})))
    grant, deadline = Realm(settings).grant, Deadline.after(10)
    tokens = grant.poll(grant.begin(deadline), deadline)
    assert tokens is not None
    assert tokens.id_token is not None
    return tokens.id_token


def test_id_token_is_checked_as_at_a_login(tmp_path: Path, provider: OpenIdProvider) -> None:
    said = explained(tmp_path, id_token(provider) + "\n", **at(provider))
    assert said["token"] == (True, f"it is that of 'subject-1' at {provider.issuer}")
    assert said["claim"] == (True, "preferred_username is 'alice'")
    provider.bend_claims = {"exp": 0}
    assert explained(tmp_path, id_token(provider), **at(provider)) == {
        "token": (False, "the id_token is not good: exp")
    }
    assert explained(tmp_path, "\x1b[2J", **at(provider))["token"][0] is False
    assert Bindings(tmp_path).all() == []


@pytest.mark.parametrize(("token", "is_good"), [("access", True), ("another", False)])
def test_access_token_is_asked_of_the_provider(
    tmp_path: Path, provider: OpenIdProvider, token: str, *, is_good: bool
) -> None:
    provider.bend_userinfo = {"sub": "subject-1", "preferred_username": "alice"}
    said = explained(tmp_path, token, **at(provider, identity_from="userinfo"))
    assert all(passed for passed, _detail in said.values()) is is_good
    if not is_good:
        assert said == {"token": (False, "the userinfo endpoint says invalid_token")}


def explained_approval(directory: Path, claims: Any, **changes: Any) -> dict[str, tuple[bool, str]]:
    configured = {"url": "https://mfa.example", "client_id": "c", "client_secret": "s", "allow": {"everyone": True}}
    realm = ApprovalRealm(ApprovalSettings.model_validate_json(json.dumps(configured | changes)))
    deciders = Deciders(None, realm, TokenRealms(()))
    operator = Operator(lambda: deciders, Bindings(directory), {"alice": Account("alice", 1000)}.get)
    fields = {"user": "alice"} | ({"token": claims} if isinstance(claims, str) else {"claims": json.dumps(claims)})
    _kind, answer = asyncio.run(operator.answers()["explain"](fields))
    return {each["rule"]: (each["passed"], each["detail"]) for each in json.loads(answer["json"])}


def test_person_who_may_approve_is_explained(tmp_path: Path) -> None:
    said = explained_approval(tmp_path, BY_NAME, user="{account}@example.org")
    assert said["approval"] == (True, "the user 'alice@example.org' may approve a login to alice")
    assert said["claim"] == (False, "preferred_username is 'alice'")
    Bindings(tmp_path).bind("alice", "https://mfa.example", "s1", datetime.now(UTC))
    said = explained_approval(tmp_path, BY_NAME)
    assert said["approval"] == (True, "the person 's1' alone may approve a login to alice")
    assert said["binding"][0]
    assert not explained_approval(tmp_path, BY_NAME | {"sub": "s2"})["binding"][0]


def test_token_says_nothing_of_an_approval(tmp_path: Path) -> None:
    assert not explained_approval(tmp_path, "a.b.c")["token"][0]
