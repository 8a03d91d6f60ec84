"""Tests which account belongs to an identity, and what the policy refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sshaft.errors import ConfigurationError
from sshaft_agent import configuration
from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_demo.place import library

ALICE = Account("alice", 1000)
BASE: dict[str, Any] = {"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True}}
INTROSPECTION = {"identity_from": "introspection", "client_secret_file": "/secret"}
ENDPOINTS = {
    "device_authorization_endpoint": "https://op.example/device",
    "token_endpoint": "https://op.example/token",
}
ENTRA = "https://login.microsoftonline.com/7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f/v2.0"
OTHER_TENANT = "https://sts.windows.net/00000000-0b9a-4f63-8e5d-2a1b3c4d5e6f/"


def settings(**changes: Any) -> HostLoginSettings:
    return HostLoginSettings.model_validate_json(json.dumps(BASE | changes))


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
        ({"match": r"(?i)([a-z]+)@kiss\.example"}, "alice@KISS.example", True),
        ({"match": r"(?i)([a-z]+)@kiss\.example"}, "alice@ki\u017fs.example", False),
        ({"match": r"(?i)([a-z]+)@kiss\.example"}, "alice@\u212aiss.example", False),
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
    claims = {changes.get("uid_claim", "preferred_username"): value}
    first, second = accounts.checks(ALICE, configured, claims, ())
    assert (first.passed, second.passed) == (True, belongs)


@pytest.mark.parametrize(
    "value",
    ["Alice", "ALICE", "\u0430lice", "\uff41lice", "al\u0131ce", "alice\u200b", "\u202ealice", "alice\u0000", "alice.",
     "\u00adalice", "alice@example.org", "EXAMPLE\\alice", "a\u0301lice"],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("changes", [{}, {"map": {"bob": "bob"}, "match": "(.+)"}, {"map": {"alice": "alice"}}])
def test_value_that_only_looks_like_the_name_is_another_one(changes: dict[str, Any], value: str) -> None:
    """Letters of another case or script, invisible characters, and domains that are not cut off."""
    checks = accounts.checks(ALICE, settings(**changes), {"preferred_username": value}, ())
    assert not all(each.passed for each in checks)


@pytest.mark.parametrize(
    ("changes", "claims", "rule", "belongs"),
    [
        ({"map": {"a.smith": "alice"}}, {"preferred_username": "a.smith"}, "map", True),
        ({"map": {"a.smith": ["bob", "alice"]}}, {"preferred_username": "a.smith"}, "map", True),
        ({"map": {"a.smith": "bob"}}, {"preferred_username": "a.smith"}, "map", False),
        ({"map": {"bob": "bob"}}, {"preferred_username": "alice"}, "map", False),
        ({"map": {"bob": "bob"}, "match": "(.+)"}, {"preferred_username": "alice"}, "claim", True),
        ({"map": {"bob": "bob"}, "name": r"\1"}, {"preferred_username": "alice"}, "claim", True),
        ({"map": {"alice": "bob"}, "match": "(.+)"}, {"preferred_username": "alice"}, "map", False),
        ({"map": {"alice": "bob"}, "match": "(.+)"}, {"preferred_username": "Alice"}, "claim", False),
        ({"map": {"x": "bob"}, "uid_claim": "uid"}, {"preferred_username": "y", "uid": 1000}, "uid_claim", True),
        ({"map": {"x": "bob"}, "uid_claim": "uid"}, {"preferred_username": "x", "uid": 1000}, "map", False),
        ({"map": {"x": "bob"}, "uid_claim": "uid"}, {"uid": 1000}, "map", False),
        ({"map": {"J\u00fcrgen": "alice"}}, {"preferred_username": "Ju\u0308rgen"}, "map", True),
        ({"claim": "sub", "map": {"s1": "alice"}}, {"sub": "s1", "preferred_username": "bob"}, "map", True),
        ({"map": {"alice": "alice"}}, {"preferred_username": ["alice"]}, "map", False),
        ({"match": "([a-z]+).*"}, {"preferred_username": "alice\u0301"}, "claim", False),
    ],
)
def test_map_alone_decides_what_it_lists(
    changes: dict[str, Any], claims: dict[str, Any], rule: str, *, belongs: bool
) -> None:
    _account, check = accounts.checks(ALICE, settings(**changes), claims, ())
    assert (check.rule, check.passed) == (rule, belongs)


def test_claim_may_stand_in_an_object() -> None:
    """Oracle's `Me` has the uid in a SCIM extension, and Keycloak the roles of a client in `resource_access`."""
    posix = "urn:ietf:params:scim:schemas:oracle:idcs:extension:posix:User"
    configured = settings(
        uid_claim=[posix, "uidNumber"], groups_claim=["resource_access", "ssh", "roles"], allow={"groups": ["login"]}
    )
    claims = {posix: {"uidNumber": 1000}, "resource_access": {"ssh": {"roles": ["login"]}}}
    assert all(each.passed for each in accounts.checks(ALICE, configured, claims, ()))
    assert accounts.wanted(configured) == {posix, "resource_access"}
    for other in ({posix: 1000}, {posix: {}}, {posix: {"uidNumber": 1001}}, {f"{posix}.uidNumber": 1000}):
        assert not all(each.passed for each in accounts.checks(ALICE, configured, claims | {posix: None} | other, ()))
    for other in ({"ssh": []}, {"ssh": {"roles": "login"}}, {"other": {"roles": ["login"]}}):
        assert not all(
            each.passed for each in accounts.checks(ALICE, configured, claims | {"resource_access": other}, ())
        )


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({"hd": "example.org", "email_verified": True}, True),
        ({"hd": ["other.org", "example.org"], "email_verified": True}, True),
        ({"hd": "example.org", "email_verified": "true"}, False),
        ({"hd": "example.org", "email_verified": 1}, False),
        ({"hd": "example.org.evil.example", "email_verified": True}, False),
        ({"hd": {"example.org": 1}, "email_verified": True}, False),
        ({"hd": None, "email_verified": True}, False),
        ({"email_verified": True}, False),
        ({"hd": "example.org"}, False),
    ],
)
def test_claims_that_are_demanded_must_be_there(claims: dict[str, Any], *, allowed: bool) -> None:
    """Google: a person of any organisation may have an account for an address of the domain; `hd` tells them apart."""
    demanded = {"everyone": True, "claims": {"hd": ["example.org"], "email_verified": [True]}}
    configured = settings(claim="email", match=r"(.+)@example\.org", allow=demanded)
    found = accounts.checks(ALICE, configured, claims | {"email": "alice@example.org"}, ())
    assert all(each.passed for each in found) == allowed
    assert accounts.wanted(configured) == {"email", "hd", "email_verified"}


def test_map_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text('{"a.smith": "alice", "ops": ["alice", "bob"]}')
    assert settings(map=str(file)).map == {"a.smith": ("alice",), "ops": ("alice", "bob")}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "can't be read"),
        ("[]", "not a JSON object"),
        ('{"a": "x", "a": "y"}', "'a' is there twice"),
        ('{"a": 7}', "map.a"),
        ('{"a": []}', "map.a"),
        ('{"a": [["x"]]}', "map.a"),
        ('{"u\u0308": "x"}', "NFC"),
        ('{"": "x"}', "map"),
        ("{" * 100_000, "not JSON"),
    ],
)
def test_map_that_cannot_be_used_is_a_fault_of_the_configuration(tmp_path: Path, text: str | None, fault: str) -> None:
    file, config = tmp_path / "map.json", tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    config.write_text(json.dumps({"host_login": BASE | {"map": str(file)}}))
    with pytest.raises(ConfigurationError, match=fault):
        configuration.load(config)


def test_map_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    """It decides who may log in."""
    file, config = tmp_path / "map.json", tmp_path / "config.json"
    file.write_text('{"a": "alice"}')
    config.write_text(json.dumps({"host_login": BASE | {"map": str(file)}}))
    for mode in (0o666, 0o664, 0o602):
        file.chmod(mode)
        with pytest.raises(ConfigurationError, match="others can write to it"):
            configuration.load(config)
    file.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(file, 12345, 0)
        with pytest.raises(ConfigurationError, match="belongs to uid 12345"):
            configuration.load(config)


def test_account_that_shares_its_uid_is_known(tmp_path: Path) -> None:
    try:
        wrapper = library("libnss_wrapper.so", "libnss-wrapper")
    except ConfigurationError as error:
        pytest.skip(str(error))
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    names = {"alice": 1000, "alice2": 1000, "bob": 1001}
    passwd.write_text("".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in names.items()))
    group.write_text("")
    program = (
        "from sshaft_agent.host_login.accounts import find; print(*map(find, ('alice', 'alice2', 'bob')), sep=';')"
    )
    wrapped = {"LD_PRELOAD": wrapper, "NSS_WRAPPER_PASSWD": str(passwd), "NSS_WRAPPER_GROUP": str(group)}
    done = subprocess.run([sys.executable, "-c", program], env=wrapped, capture_output=True, text=True, check=True)
    found = [
        f"Account(name={name!r}, uid={uid}, is_first_of_uid={name != 'alice2'}, is_made=True, shell='/bin/sh')"
        for name, uid in names.items()
    ]
    assert done.stdout == ";".join(found) + "\n"


def test_uid_of_two_accounts_stands_for_the_first_one() -> None:
    second = Account("alice2", 1000, is_first_of_uid=False)
    configured = settings(uid_claim="uid")
    assert [each.passed for each in accounts.checks(second, configured, {"uid": 1000}, ())] == [True, False]


@pytest.mark.parametrize(
    ("changes", "granted", "is_refused"),
    [
        ({"allow": {"everyone": True, "scopes": ["ssh", "x"]}}, {"x", "ssh", "openid"}, False),
        ({"allow": {"everyone": True, "scopes": ["ssh", "x"]}}, {"ssh"}, True),
        ({"allow": {"everyone": True, "scopes": ["ssh"]}}, {"SSH"}, True),
        ({"scopes": ["openid", "ssh"]}, set(), False),
        (INTROSPECTION | {"scopes": ["openid", "ssh"]}, {"openid"}, True),
        (INTROSPECTION | {"scopes": ["openid", "ssh"]}, {"ssh", "openid"}, False),
    ],
)
def test_scopes_that_are_needed_must_be_granted(
    changes: dict[str, Any], granted: set[str], *, is_refused: bool
) -> None:
    claims = {"preferred_username": "alice", "username": "alice"}
    assert all(each.passed for each in accounts.checks(ALICE, settings(**changes), claims, granted)) is not is_refused


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
    _account, _claim, *policy = accounts.checks(ALICE, configured, claims | {configured.groups_claim: groups}, ())
    assert all(each.passed for each in policy) is not is_refused


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"allow": {}}, "names nobody"),
        ({"allow": {"everyone": False}}, "names nobody"),
        ({"allow": {"groups": []}}, "names nobody"),
        ({"allow": {"claims": {"hd": ["example.org"]}}}, "names nobody"),
        ({"allow": {"everyone": True, "claims": {"hd": []}}}, "allow.claims.hd"),
        ({"allow": {"everyone": True, "claims": {"hd": "example.org"}}}, "allow.claims.hd"),
        ({"match": "("}, "no regular expression"),
        ({"match": "alice"}, "a group that match does not have"),
        ({"name": r"\2"}, "a group that match does not have"),
        ({"name": r"\g<1>"}, "name"),
        ({"issuer": "http://op.example"}, "https"),
        ({"pending_per_user": 0}, "pending_per_user"),
        ({"uid_claim": "uid", "match": "(.+)"}, "keep one rule"),
        ({"uid_claim": "uid", "claim": "email"}, "without a map"),
        ({"identity_from": "introspection"}, "needs client_secret_file"),
        ({"subject_claim": "id"}, "needs identity_from userinfo"),
        ({"identity_from": "userinfo", "allow": {"everyone": True, "amr": ["x"]}}, "allow.acr and allow.amr"),
        ({"endpoints": ENDPOINTS}, "endpoints.jwks_uri is missing"),
        ({"endpoints": ENDPOINTS, "identity_from": "userinfo"}, "endpoints.userinfo_endpoint is missing"),
        ({"endpoints": ENDPOINTS} | INTROSPECTION, "endpoints.introspection_endpoint is missing"),
        ({"endpoints": {"token_endpoint": "http://op.example/token"}}, "https"),
        ({"issuer": "https://login.microsoftonline.com/common/v2.0"}, "must name one tenant"),
        ({"issuer": "https://login.microsoftonline.com/organizations/v2.0"}, "must name one tenant"),
        ({"issuer": "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0"}, "must name one tenant"),
        ({"issuer": ENTRA, "entra": {"other_issuer": "https://sts.windows.net/common/"}}, "must name one tenant"),
        ({"issuer": ENTRA, "entra": {"other_issuer": OTHER_TENANT}}, "another tenant"),
        (
            {"issuer": ENTRA.replace("login.microsoftonline.com", "op.example"), "entra": {}},
            "graph_endpoint is missing",
        ),
        ({"issuer": ENTRA, "identity_from": "userinfo"}, "does not work with Entra"),
    ],
)
def test_configuration_that_would_surprise_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        settings(**changes)


def test_no_account_fails_the_first_check() -> None:
    (check,) = accounts.checks(None, settings(), {"preferred_username": "alice"}, ())
    assert (check.rule, check.passed) == ("account", False)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["alice", "g1", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["uid", "x"]), inner, max_size=2),
    max_leaves=5,
)
EVERY_RULE = [
    {"match": "(.*)", "name": r"\1"},
    {"map": {"alice": "alice"}, "match": "(.+)"},
    {"uid_claim": ["x", "uid"], "map": {"g1": "alice"}},
    {"issuer": ENTRA, "groups_claim": ["groups", "x"]},
]


@pytest.mark.slow
@given(claims=st.dictionaries(st.sampled_from(["preferred_username", "x", "groups", "acr", "amr", "tid"]), VALUES))
def test_claims_of_any_form_are_decided(claims: dict[str, Any]) -> None:
    """What the provider says never ends a login with a fault, and reaches no log as it is."""
    allow = {"groups": ["g1"], "acr": ["g1"], "amr": ["g1"], "claims": {"x": ["g1", True]}, "scopes": ["ssh"]}
    for rule in EVERY_RULE:
        for check in accounts.checks(ALICE, settings(**rule, allow=allow), claims, ()):
            assert type(check.passed) is bool
            assert check.detail.isprintable()
