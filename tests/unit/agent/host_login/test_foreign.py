"""Tests the formats of other modules: what each member becomes, and what is refused or has no counterpart."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft import config
from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import config_file
from sshaft_agent.host_login.foreign import cpp, formats, lines, python, rust
from sshaft_agent.host_login.foreign.members import Converted, Member, MemberError

FILES = Path(__file__).parent / "foreign"
REALM = "https://login.example.org/realms/staff"
TENANT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def no_file(name: str) -> dict[str, Any]:
    raise AssertionError(name)


def text_of(name: str) -> str:
    return (FILES / name).read_text()


def converted(name: str, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Converted:
    """Returns what a fixture means after a change of its members."""
    data = json.loads(text_of(name))
    change(data)
    return formats.read_object(data, no_file)


MEANINGS = {
    "rust.json": {
        "issuer": REALM,
        "client_id": "client-id",
        "scopes": ["openid", "profile", "ssh"],
        "endpoints": {
            "device_authorization_endpoint": f"{REALM}/protocol/openid-connect/auth/device",
            "token_endpoint": f"{REALM}/protocol/openid-connect/token",
            "introspection_endpoint": f"{REALM}/protocol/openid-connect/token/introspect",
        },
        "identity_from": "introspection",
        "claim": "username",
        "allow": {"everyone": True},
        "login_seconds": 120,
        "qr": "off",
        "messages": {"prompt_no_qr_complete": "Open this at work:", "prompt_enter": "ENTER, please"},
    },
    "azure.json": {
        "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "client_id": "11111111-2222-3333-4444-555555555555",
        "scopes": ["openid", "profile", "email"],
        "entra": {"other_issuer": f"https://sts.windows.net/{TENANT}/"},
        "claim": "preferred_username",
        "allow": {"groups": ["99999999-0000-0000-0000-000000000001"]},
        "login_seconds": 600,
        "qr": "off",
    },
    "ics_mu.json": {
        "issuer": "https://provider.example.org/oidc",
        "client_id": "client_id",
        "scopes": ["openid", "profile"],
        "endpoints": {
            "device_authorization_endpoint": "https://provider.example.org/oidc/devicecode",
            "token_endpoint": "https://provider.example.org/oidc/token",
            "userinfo_endpoint": "https://provider.example.org/oidc/userinfo",
        },
        "identity_from": "userinfo",
        "claim": "preferred_username",
        "map": {"provider_user_id_1": ["bob"], "provider_user_id_2": ["mike"]},
        "allow": {"everyone": True},
        "qr_error_correction": "L",
    },
    "stfc.json": {
        "issuer": "https://iam.example.org",
        "client_id": "client_id",
        "scopes": ["openid", "profile", "offline_access"],
        "endpoints": {
            "device_authorization_endpoint": "https://iam.example.org/devicecode",
            "token_endpoint": "https://iam.example.org/token",
            "userinfo_endpoint": "https://iam.example.org/userinfo",
        },
        "identity_from": "userinfo",
        "claim": "preferred_username",
        "map": {"provider_user_id_1": ["bob"], "provider_user_id_2": ["mike", "support"]},
        "match": r"(.+)_iris\.iam",
        "name": r"\1",
        "allow": {"groups": ["stfc-cloud-prod"], "mapped": True},
        "qr_error_correction": "H",
        "ca_file": "/etc/ssl/certs/ca-certificates.crt",
        "token_endpoint_auth_method": "client_secret_post",
    },
}


@pytest.mark.parametrize("name", MEANINGS)
def test_json_file_is_read_as_a_whole(name: str) -> None:
    found = converted(name)
    assert (found.members, found.secret) == (MEANINGS[name], "the-secret")
    config_file.settings_of(FILES / name, found.members | {"client_secret": found.secret})


def put(path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Returns a change that sets the member of a dotted name. None removes it."""

    def change(data: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        for each in folders:
            data = data.setdefault(each, {})
        if value is None:
            data.pop(last, None)
        else:
            data[last] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "member", "expected"),
    [
        ("rust.json", put("scope", None), "scopes", ["openid", "profile"]),
        ("rust.json", put("scopes", "openid profile ssh"), "scopes", ["openid", "profile", "ssh"]),
        ("rust.json", lambda data: data.update(scopes=data.pop("scope")), "scopes", ["openid", "profile", "ssh"]),
        ("rust.json", put("qr_enabled", True), "qr", None),
        ("rust.json", put("qr_enabled", None), "qr", None),
        ("rust.json", put("messages", None), "messages", None),
        ("rust.json", put("messages.prompt_code", "Type:"), "messages",
         {"prompt_no_qr_complete": "Open this at work:", "prompt_code": "Type:", "prompt_enter": "ENTER, please"}),
        ("rust.json", put("oauth_device_token_polling_timeout", None), "login_seconds", None),
        ("rust.json", put("oauth_token_url", "https://op.example/as/token.oauth2"), "issuer", "https://op.example"),
        ("rust.json", put("oauth_token_url", "https://op.example/oauth2/default/v1/token"), "issuer",
         "https://op.example/oauth2/default"),
        ("azure.json", put("allowed_groups", None), "allow", {"everyone": True}),
        ("azure.json", put("allowed_groups", []), "allow", {"groups": []}),
        ("azure.json", put("tenant_id", None), "issuer", f"https://login.microsoftonline.com/{TENANT}/v2.0"),
        ("azure.json", put("oauth_device_url", "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode"),
         "issuer", f"https://login.microsoftonline.com/{TENANT}/v2.0"),
        ("azure.json", put("oauth_token_introspect_url", "https://example.org/introspect"), "identity_from", None),
        ("ics_mu.json", put("qr.error_correction_level", 1), "qr_error_correction", "M"),
        ("ics_mu.json", put("qr.error_correction_level", 3), "qr_error_correction", "L"),
        ("ics_mu.json", put("qr.error_correction_level", -1), "qr", "off"),
        ("ics_mu.json", put("qr", None), "qr", "off"),
        ("ics_mu.json", put("users.provider_user_id_2", "mike"), "map",
         {"provider_user_id_1": ["bob"], "provider_user_id_2": ["mike"]}),
        ("ics_mu.json", put("users.provider_user_id_1", ["root"]), "map", {"provider_user_id_2": ["mike"]}),
        ("ics_mu.json", put("oauth.client.secret", ""), "client_id", "client_id"),
        ("stfc.json", put("users", None), "allow", {"groups": ["stfc-cloud-prod"]}),
        ("stfc.json", put("users", None), "map", None),
        ("stfc.json", put("oauth.local_username_suffix", ""), "match", "(.+)"),
        ("stfc.json", put("group.access", False), "allow", {"everyone": True}),
        ("stfc.json", put("group.access", False), "match", None),
        ("stfc.json", put("http_basic_auth", True), "token_endpoint_auth_method", None),
        ("stfc.json", put("tls.ca_bundle", None), "ca_file", None),
    ],
)  # fmt: skip
def test_member_has_its_counterpart(
    name: str, change: Callable[[dict[str, Any]], object], member: str, expected: object
) -> None:
    assert converted(name, change).members.get(member) == expected


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("rust.json", put("client_id", None), "missing: client_id"),
        ("rust.json", put("client_secret", None), "missing: client_secret"),
        ("rust.json", put("oauth_device_url", None), "missing: oauth_device_url"),
        ("rust.json", put("oauth_token_url", None), "missing: oauth_token_url"),
        ("rust.json", put("oauth_token_introspect_url", None), "missing: oauth_token_introspect_url (or, for Entra, "),
        ("rust.json", put("scopes", "openid"), "scope and scopes are both there and differ"),
        ("rust.json", put("scope", ["openid"]), "scope must be a text"),
        ("rust.json", put("qr_enabled", 1), "qr_enabled must be true or false"),
        ("rust.json", put("oauth_device_token_polling_timeout", True), "must be a whole number"),
        ("rust.json", put("massages", {}), "unknown: massages"),
        ("rust.json", put("messages.prompt", "x"), "unknown: messages.prompt"),
        ("rust.json", put("allowed_groups", ["g"]), "allowed_groups needs tenant_id"),
        ("azure.json", put("tenant_id", "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee"), "is not the tenant of"),
        ("ics_mu.json", put("oauth.require_mfa", True), "oauth.require_mfa cannot be kept"),
        ("ics_mu.json", put("oauth.request_mfa", True), "oauth.request_mfa cannot be kept"),
        ("ics_mu.json", put("mfa", {"if_absent": "deny"}), "unknown: mfa"),
        ("ics_mu.json", put("oauth.client.key", "x"), "unknown: oauth.client.key"),
        ("ics_mu.json", put("users", None), "users and group let nobody in"),
        ("ics_mu.json", put("users", {"*bypass*": ["bob"], "x": ["root"]}), "users and group let nobody in"),
        ("ics_mu.json", put("users", {"x": [7]}), "users must have a list of accounts"),
        ("ics_mu.json", put("users", {"x": {"y": "z"}}), "users must have a list of accounts"),
        ("stfc.json", put("group.service_name", None), "missing: group.service_name"),
        ("stfc.json", put("group.access", "true"), "group.access must be true or false"),
        *(("stfc.json", put(f"oauth.{name}", None), f"missing: oauth.{name}")
          for name in ("scope", "device_endpoint", "token_endpoint", "userinfo_endpoint", "username_attribute")),
        *(("stfc.json", put(f"oauth.client.{name}", None), f"missing: oauth.client.{name}")
          for name in ("id", "secret")),
    ],
)  # fmt: skip
def test_file_that_means_something_else_is_refused(
    name: str, change: Callable[[dict[str, Any]], object], fault: str
) -> None:
    with pytest.raises(MemberError) as error:
        converted(name, change)
    assert fault in str(error.value)
    assert "the-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "fault"),
    [({}, "in no format that sshaft knows"), ({"clientId": "x"}, "in no format that sshaft knows")],
)
def test_unknown_format_is_refused(data: dict[str, Any], fault: str) -> None:
    with pytest.raises(MemberError, match=fault):
        formats.read_object(data, no_file)


TABLES: list[tuple[str, Mapping[str, Member]]] = [
    ("rust.json", rust.TABLE), ("azure.json", rust.TABLE), ("ics_mu.json", cpp.TABLE), ("stfc.json", cpp.TABLE),
]  # fmt: skip


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_each_member_without_a_counterpart_is_named(name: str, table: Mapping[str, Member]) -> None:
    samples = {str: "x", bool: False, int: 1, list: [], dict: {}}

    def change(data: dict[str, Any]) -> None:
        for each, member in table.items():
            if member.lost:
                put(each, samples[member.kind])(data)

    noted = {note.member for note in converted(name, change).notes}
    assert noted >= {each for each, member in table.items() if member.lost}


def test_bypass_and_root_are_named_as_refused() -> None:
    noted = {note.member: note.reason for note in converted("stfc.json").notes}
    assert "break_glass=" in noted["users.*bypass*"]
    assert "break_glass=" in noted["ldap.preauth"]
    noted = {note.member: note.reason for note in converted("ics_mu.json").notes}
    assert noted["users"] == "'provider_user_id_1' does not get root: host login never opens it"


_NAMES = sorted({each for table in (rust.TABLE, cpp.TABLE) for name in table for each in name.split(".")})
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "https://op.example/token", "http://[", "x", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(list(MEANINGS)),
    st.lists(st.tuples(st.sampled_from(sorted({**rust.TABLE, **cpp.TABLE})), _VALUES), min_size=1, max_size=3),
)
def test_any_change_is_read_or_refused_with_a_sentence(name: str, changes: list[tuple[str, Any]]) -> None:
    data = json.loads(text_of(name))
    for member, value in changes:
        with contextlib.suppress(TypeError, AttributeError):  # a folder of the name is no object any more
            put(member, value)(data)
    with contextlib.suppress(MemberError, ConfigurationError):
        found = formats.read_object(data, lambda name: config.parse_object(Path(name), "{}"))
        config_file.settings_of(FILES / name, found.members | {"client_secret": found.secret})


def test_account_may_have_several_people() -> None:
    found = converted("stfc.json", put("users", {"a": ["bob", "bob"], "b": ["bob", "mike"]}))
    assert found.members["map"] == {"a": ["bob", "bob"], "b": ["bob", "mike"]}
    assert not [note for note in found.notes if note.member == "users"]


def test_section_may_stand_in_a_file_of_its_own() -> None:
    data = json.loads(text_of("stfc.json"))
    whole = formats.read_object(data, no_file)
    files = {f"/etc/x/{name}.json": data[name] for name in ("oauth", "qr", "users", "group", "tls", "cloud", "ldap")}
    files["/etc/x/client.json"] = files["/etc/x/oauth.json"].pop("client")
    files["/etc/x/oauth.json"]["client"] = "/etc/x/client.json"
    named = data | {name: f"/etc/x/{name}.json" for name in ("oauth", "qr", "users", "group", "tls", "cloud", "ldap")}
    assert formats.read_object(named, files.__getitem__) == whole


def test_yaml_of_the_python_module_is_converted() -> None:
    found = formats.read_text(text_of("config.yml"))
    assert found.members == {
        "issuer": "https://provider.example.org",
        "client_id": "client_id",
        "scopes": ["openid"],
        "endpoints": {
            "device_authorization_endpoint": "https://provider.example.org/devicecode",
            "token_endpoint": "https://provider.example.org/token",
            "userinfo_endpoint": "https://provider.example.org/userinfo",
        },
        "identity_from": "userinfo",
        "claim": "sub",
        "map": {"provider_user_sub_1": ["bob"], "provider_user_sub_2": ["mike"]},
        "allow": {"everyone": True},
    }
    assert found.secret == "the-secret"
    lost = {"users", *(name for name, member in python.TABLE.items() if member.lost)}
    assert {note.member for note in found.notes} == lost


def test_oracles_variant_compares_the_uid() -> None:
    found = formats.read_text(text_of("oracle.yml"))
    assert found.members["issuer"] == "https://idcs-0.identity.oraclecloud.com"
    assert found.members["uid_claim"] == "uidNumber"
    assert found.members["subject_claim"] == "id"
    assert not {"map", "claim"} & set(found.members)
    assert found.secret == ""
    config_file.settings_of(FILES / "oracle.yml", found.members)


@pytest.mark.parametrize(
    "text",
    [
        "oauth: [",
        "oauth: {}",
        "oauth:\n  scope: !!python/object:os.system x",
        "oauth: &a [*a]",
        "oauth:\n  2026-01-01: x",
        "oauth:\n  1: x",
    ],
)
def test_broken_yaml_is_refused(text: str) -> None:
    with pytest.raises(MemberError):
        formats.read_text(text)


def test_ssh_aad_is_a_public_client_of_one_tenant() -> None:
    found = formats.read_text(text_of("ssh-aad.conf"))
    assert found == Converted(
        {
            "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "client_id": "11111111-2222-3333-4444-555555555555",
            "claim": "preferred_username",
            "allow": {"everyone": True},
        },
        "",
        [],
    )


def test_weblogin_has_no_counterpart() -> None:
    found = formats.read_text(text_of("pam-weblogin.conf") + "cache_per_rhost\n")
    assert found.members == {}
    assert {note.member for note in found.notes} == set(lines.WEBLOGIN)
    assert "the-secret" not in str(found)


def test_broken_line_is_named_by_its_number() -> None:
    with pytest.raises(MemberError, match=r"unknown: line 8$"):
        formats.read_text(text_of("pam-weblogin.conf") + "Bearer the-secret\n")


def test_pam_ssh_oidc_is_known_and_not_served() -> None:
    text = text_of("pam-ssh-oidc-config.ini")
    for read in (formats.read_text, formats.refuse_other_than_json):
        with pytest.raises(MemberError, match="pam-ssh-oidc, which asks a server"):
            read(text)


def test_yaml_needs_a_package_that_sshaft_does_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MemberError, match="apt install python3-yaml"):
        formats.read_text(text_of("config.yml"))
