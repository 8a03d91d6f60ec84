"""Tests what motley_cue.conf and feudal_adapter.conf become, and what is refused or has no counterpart."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import config_file
from sshaft_agent.host_login.foreign import formats
from sshaft_agent.host_login.foreign.members import Converted, MemberError

FILES = Path(__file__).parent / "foreign"
MOTLEY_CUE = (FILES / "motley_cue.conf").read_text()
FEUDAL = (FILES / "feudal_adapter.conf").read_text()
START = "[authorisation.x]\nop_url = https://op.example.org\n"
COMMUNITY = {
    "issuer": "https://login.example.org/",
    "any_audience": True,
    "form": "userinfo",
    "opaque": False,
    "allow": {
        "entitlements": ["urn:geant:example.org:group:physics", "urn:geant:example.org:group:ops:role=admin"],
        "entitlement_claim": "entitlements",
        "entitlement_match": "all",
        "subjects": ["d7a53cbe@example.org"],
    },
    "admins": ["c2370093@example.org"],
    "admins_for_all": True,
    "advertise": {"scopes": ["openid", "profile", "eduperson_entitlement"], "audience": ""},
}
STAFF = {
    "issuer": "https://sso.example.com/realms/staff",
    "audience": ["ssh_example"],
    "allow": {"everyone": True},
    "advertise": {"scopes": ["openid"], "audience": "ssh_example"},
}


def noted(found: Converted) -> set[str]:
    return {note.member for note in found.notes}


def one(options: str) -> dict[str, Any]:
    """Returns the only provider of a file, whose settings the agent takes."""
    members = formats.read_text(START + options).members
    config_file.settings_of(Path("motley_cue.conf"), members)
    (provider,) = members["tokens"]
    return dict(provider)


def test_providers_of_motley_cue_are_read_as_a_whole() -> None:
    found = formats.read_text(MOTLEY_CUE)
    assert found.members == {"tokens": [COMMUNITY, STAFF]}
    config_file.settings_of(FILES, found.members)
    assert noted(found) == {
        "[mapper] log_level", "[mapper.otp] backend", "[privacy] privacy_contact", "op_url", "preferred_username",
        "[authorisation.community] op_url", "[authorisation.community] audience", "[authorisation.staff] op_url",
        "[authorisation.staff] audience", "[authorisation.unused]",
    }  # fmt: skip


def test_local_accounts_of_feudal_adapter_are_read() -> None:
    found = formats.read_text(MOTLEY_CUE, FEUDAL)
    assert found.members == {
        "tokens": [COMMUNITY, STAFF],
        "login_info": {
            "description": "Cluster of the physicists",
            "login_help": "Login via `mccli ssh {ssh_host}`, for 100% of you.",
            "ssh_host": "login.example.org",
            "room": "1.23",
        },
        "create": {
            "shell": "/bin/zsh",
            "home": "/home/users/{user}",
            "approve": True,
            "notify": {
                "email": "admins@example.org", "sender": "ssh@example.org",
                "smtp_host": "mail.example.org", "smtp_port": 587,
            },
        },
        "roles": [{"everyone": True, "local_groups": ["cluster", "users-of-the-federation"]}],
    }  # fmt: skip
    config_file.settings_of(FILES, found.members)
    assert "the-secret" not in str(found)
    assert {"[mapper] log_level", "[groups] policy", "[notifier.email] sent_from_password"} <= noted(found)
    assert not any(each.startswith("[backend.ldap]") for each in noted(found)), "the backend is another one"


def test_only_provider_sees_opaque_tokens() -> None:
    assert "opaque" not in one("authorise_all = True\n")


def test_rules_of_default_hold_for_each_provider() -> None:
    text = f"[DEFAULT]\nauthorised_users = ['one']\n{START}[authorisation.y]\nop_url = b.example\nauthorise_all = yes\n"
    first, second = formats.read_text(text).members["tokens"]
    assert first["allow"] == {"subjects": ["one"]}
    assert (second["issuer"], second["allow"]) == ("https://b.example", {"everyone": True})


@pytest.mark.parametrize(
    ("options", "allow"),
    [
        ("authorised_vos = [a]", {"entitlements": ["a"], "entitlement_claim": "eduperson_entitlement",
                                  "entitlement_match": "one"}),
        ("authorised_vos = ['/wlcg', \"b\",]\nvo_claim = wlcg.groups\nvo_match = 2",
         {"entitlements": ["/wlcg", "b"], "entitlement_claim": "wlcg.groups", "entitlement_match": 2}),
        ("authorised_vos = ['urn:x:y:group:100%%25']", {"entitlements": ["urn:x:y:group:100%25"],
         "entitlement_claim": "eduperson_entitlement", "entitlement_match": "one"}),
        ("authorise_all = 1\nauthorised_vos = [a]", {"everyone": True}),
    ],
)  # fmt: skip
def test_rules_say_who_may_log_in(options: str, allow: dict[str, Any]) -> None:
    assert one(options)["allow"] == allow


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[mapper]\n", "lets anybody in"),
        (START, "lets anybody in"),
        ("[authorisation.x]\nauthorise_all = True\n", "lets anybody in"),
        (f"{START}authorise_all = perhaps", "authorise_all must be True or False"),
        (f"{START}authorised_vos = a", "square brackets"),
        (f"{START}authorised_vos = [a]\n  audience = b", "square brackets"),
        (f"{START}authorised_vos = [a, , b]", "one is empty"),
        (f"{START}authorised_vos = [[a]]", "has brackets"),
        (f"{START}authorised_vos = [a]\nvo_match = most", "one, all or a number"),
        (f"{START}authorised_vos = [a]\nvo_match = -1", "one, all or a number"),
        (f"{START}authorise_all = True\naudience = a\n  authorised_vos = [b]", "audience has several lines"),
        (f"{START}authorise_all = %(other)s", "has a % for another option"),
        (f"{START}authorise_all = True\nauthorise_all = True", "line 4 has a name for the second time"),
        (f"{START}authorise_all = True\n{START}", "line 4 has a name for the second time"),
        (f"{START}authorise_all = True\nthe-secret", "line 4 is no option"),
        (f"the-secret = 1\n{START}", "line 1 stands in no section"),
        (f"{START}authorise_all = True\n[authorisation.y]\nop_url = http://WWW.op.example.org/\nauthorise_all = True",
         "another section has this provider too"),
        (f"{START}authorise_all = True\nassurance_based_shell_tier_full = +", "give feudal_adapter.conf behind it"),
        (f"{START}authorise_all = True\nassurance_based_shell_max_tier = most", "must be one of full"),
        (f"{START}authorise_all = True\nassurance_based_shell_default_tier = Full", "must be one of full"),
    ],
)  # fmt: skip
def test_file_that_would_mean_something_else_is_refused(text: str, fault: str) -> None:
    with pytest.raises(MemberError) as error:
        formats.read_text(text)
    assert fault in str(error.value)
    assert "the-secret" not in str(error.value)


def test_every_unknown_section_and_option_is_named() -> None:
    text = f"[mapper]\nlog = 1\n{START}authorised_vo = [a]\nauthorise_all = True\n[others]\nx = the-secret\n"
    with pytest.raises(MemberError) as error:
        formats.read_text(text)
    assert str(error.value) == "unknown in motley_cue.conf: [mapper] log, [authorisation.x] authorised_vo, [others]"


def test_section_of_defaults_is_known_and_its_options_are_not() -> None:
    assert formats.read_text(MOTLEY_CUE, f"[DEFAULT]\n{FEUDAL}") == formats.read_text(MOTLEY_CUE, FEUDAL)
    with pytest.raises(MemberError, match=r"^unknown in feudal_adapter.conf: \[DEFAULT\] shell$"):
        formats.read_text(MOTLEY_CUE, f"[DEFAULT]\nshell = /bin/sh\n{FEUDAL}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[ldf_adapter]\nbackends = local_unix\n[backend.afs]\n", "[ldf_adapter] backends, [backend.afs]"),
        ("[ldf_adapter]\nbackend = afs\n", "backend is unknown"),
        ("[approval]\nenabled = True\n[notifier.email]\nsmtp_port = x\n", "smtp_port must be a number"),
        ("[approval]\nenabled = maybe\n", "enabled must be True or False"),
    ],
)
def test_wrong_file_of_feudal_adapter_is_refused(text: str, fault: str) -> None:
    with pytest.raises(MemberError) as error:
        formats.read_text(f"{START}authorise_all = True", text)
    assert fault in str(error.value)


LIMITED, RESTRICTED = "/bin/rbash", "/sbin/nologin"


@pytest.mark.parametrize(
    ("options", "shells", "otherwise"),
    [
        ("tier_full = profile/mfa & IAP/high\nassurance_based_shell_tier_limited = +",
         [("profile/mfa & IAP/high", None), ("+", LIMITED)], RESTRICTED),
        ("tier_full = +\nassurance_based_shell_default_tier = full\nassurance_based_shell_max_tier = limited",
         [("+", LIMITED)], LIMITED),
        ("tier_restricted = a\nassurance_based_shell_default_tier = limited", [("a", RESTRICTED)], LIMITED),
        ("tier_restricted = a\nassurance_based_shell_default_tier = full", [("a", RESTRICTED), ("*", None)],
         RESTRICTED),
        ("max_tier = restricted", [], RESTRICTED),
        ("default_tier = limited", [], LIMITED),
        ("max_tier = full", [], None),
        ("tier_full = *\nassurance_based_shell_default_tier = full", [], None),
    ],
)  # fmt: skip
def test_tiers_become_shells(options: str, shells: list[tuple[str, str | None]], otherwise: str | None) -> None:
    text = f"{START}authorise_all = True\nassurance_claims = [acr]\nassurance_based_shell_{options}\n"
    found = formats.read_text(text, "[backend.local_unix]\nshell_limited = /bin/rbash\n")
    config_file.settings_of(FILES, found.members)
    assurance = found.members["tokens"][0].get("assurance")
    if otherwise is None:
        assert assurance is None
    else:
        rules = [{"when": when, **({"shell": shell} if shell else {})} for when, shell in shells]
        assert assurance == {"shells": rules, "otherwise": otherwise, "claims": ["acr"]}


def test_expression_that_cannot_be_read_is_refused() -> None:
    text = f"{START}authorise_all = True\nassurance_based_shell_tier_full = a &\n"
    found = formats.read_text(text, "[ldf_adapter]\n")
    with pytest.raises(ConfigurationError, match="a value is missing at the end"):
        config_file.settings_of(FILES, found.members)
    assert "assurance" not in formats.read_text(text, "[ldf_adapter]\nbackend = ldap\n").members["tokens"][0]


@pytest.mark.parametrize("backend", ["ldap", "bonsai_ldap", "bwidm"])
def test_accounts_of_a_directory_are_not_made_here(backend: str) -> None:
    text = f"[ldf_adapter]\nbackend = {backend}\nadditional_groups = x\n[backend.local_unix]\nshell = /bin/zsh\n"
    found = formats.read_text(f"{START}authorise_all = True", text)
    assert set(found.members) == {"tokens"}
    assert "[ldf_adapter] backend" in noted(found)


def test_accounts_without_rules_are_refused() -> None:
    with pytest.raises(MemberError, match="is the configuration of feudalAdapter"):
        formats.read_text(FEUDAL)
    with pytest.raises(MemberError, match="only that has feudal_adapter"):
        formats.read_text("AUTHORITY = https://op.example.org", FEUDAL)


def test_rule_that_nobody_can_keep_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="entitlement_match is 3"):
        one("authorised_vos = [a]\nvo_match = 3\n")


@given(st.text(alphabet="[]=%\n\"' ,ab#;\x1b", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for end in (text, f"authorised_vos = {text}", f"authorise_all = True\naudience = {text}"):
        try:
            one(end)
        except (MemberError, ConfigurationError):
            continue
