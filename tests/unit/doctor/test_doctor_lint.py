"""Tests that each wrong setting has a finding, and that the hardened file of every version has none."""

from dataclasses import replace
from pathlib import Path

import pytest
from unit.doctor.conftest import Settings

from sshaft.openssh_version import Version
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Severity
from sshaft_doctor.lint import lint
from sshaft_doctor.penalties import LINE, authfail
from sshaft_doctor.sources import Line

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
V92, V94, V98, V99, V100, V104 = (Version(*v) for v in ((9, 2), (9, 4), (9, 8), (9, 9), (10, 0), (10, 4)))
OURS = "/usr/libexec/sshaft/sshaft-keys --agent /run/sshaft/keys/agent.sock --fingerprint %f --type %t --key %k"


@pytest.mark.parametrize("version", [Version(8, 7), Version(9, 1), V92, V94, V98, V99, V100, V104, Version(10, 5)])
def test_hardened_file_of_every_version_has_no_finding(settings: Settings, version: Version) -> None:
    assert lint(settings(version), version) == []


TRAPS = [
    ("PubkeyAuthentication", "no", ERROR, "PubkeyAuthentication yes"),
    ("AuthorizedKeysFile", ".ssh/authorized_keys", ERROR, "AuthorizedKeysFile none"),
    ("AuthorizedKeysFile", None, ERROR, "AuthorizedKeysFile none"),
    ("TrustedUserCAKeys", "/etc/ssh/ca.pub", ERROR, "TrustedUserCAKeys none"),
    ("ForceCommand", "/bin/date", ERROR, "ForceCommand none"),
    ("FingerprintHash", "MD5", ERROR, "FingerprintHash sha256"),
    ("RefuseConnection", "yes", ERROR, "RefuseConnection no"),
    ("ExposeAuthInfo", "no", ERROR, "ExposeAuthInfo yes"),
    ("ExposeAuthInfo", None, ERROR, "ExposeAuthInfo yes"),
    ("PermitUserEnvironment", "yes", WARNING, "PermitUserEnvironment no"),
    ("PermitUserEnvironment", "LANG", WARNING, "PermitUserEnvironment no"),
    ("PermitTTY", "no", WARNING, "PermitTTY yes"),
    ("PermitUserRC", None, WARNING, "PermitUserRC no"),
    ("ChrootDirectory", "/srv", WARNING, "ChrootDirectory none"),
    ("UseDNS", "yes", NOTE, "UseDNS no"),
    ("UsePAM", "yes", NOTE, "UsePAM no"),
    ("AllowAgentForwarding", "yes", WARNING, "AllowAgentForwarding no"),
    ("X11Forwarding", "yes", WARNING, "X11Forwarding no"),
    ("PermitTunnel", "point-to-point", WARNING, "PermitTunnel no"),
    ("AuthenticationMethods", "any", NOTE, "AuthenticationMethods publickey"),
    ("AuthenticationMethods", "publickey,password", WARNING, "AuthenticationMethods publickey"),
    ("AuthenticationMethods", "publickey password", ERROR, "AuthenticationMethods publickey"),
    ("AuthorizedKeysCommandUser", "none", ERROR, "AuthorizedKeysCommandUser _sshaft-keys"),
    ("AuthorizedKeysCommandUser", "root", ERROR, "AuthorizedKeysCommandUser _sshaft-keys"),
    ("LogLevel", "VERBOSE", WARNING, "LogLevel INFO"),
    ("LogLevel", "DEBUG3", WARNING, "LogLevel INFO"),
    ("ChannelTimeout", "session=60", WARNING, "ChannelTimeout session:*=120"),
    ("ChannelTimeout", "x11-connection=5 session=60", WARNING, "ChannelTimeout session:*=120"),
    ("UnusedConnectionTimeout", "0", NOTE, "UnusedConnectionTimeout 30"),
    ("UnusedConnectionTimeout", "none", NOTE, "UnusedConnectionTimeout 30"),
    ("LoginGraceTime", "0", WARNING, "LoginGraceTime 45"),
    ("LoginGraceTime", "35", WARNING, "LoginGraceTime 45"),
    ("MaxAuthTries", "3", WARNING, "MaxAuthTries 10"),
    ("MaxSessions", "0", ERROR, "MaxSessions 1"),
    ("AcceptEnv", "*", ERROR, "remove the AcceptEnv line"),
    ("AcceptEnv", "LANG LD_*", ERROR, "remove the AcceptEnv line"),
    ("AllowUsers", "alice bob", ERROR, "AllowUsers alice bob mfa"),
    ("DenyUsers", "m*", ERROR, "take mfa out of DenyUsers"),
]  # fmt: skip


@pytest.mark.parametrize(("keyword", "value", "severity", "remedy"), TRAPS)
def test_one_wrong_setting_is_one_finding_with_the_line_to_change(
    settings: Settings, keyword: str, value: str | None, severity: Severity, remedy: str
) -> None:
    (found,) = lint(settings(**{keyword: value}), V92)
    assert (found.check, found.severity, found.remedy) == (f"sshd.{keyword.lower()}", severity, remedy)
    assert found.where


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("AuthorizedKeysFile", "NONE"),
        ("FingerprintHash", "SHA256"),
        ("ExposeAuthInfo", "Yes"),
        ("LogLevel", "ERROR"),
        ("LogLevel", "info"),
        ("ChannelTimeout", "session:*=60 global=120"),
        ("ChannelTimeout", "session:command=60"),
        ("ChannelTimeout", "none"),
        ("LoginGraceTime", "36"),
        ("LoginGraceTime", "2m"),
        ("MaxAuthTries", "6"),
        ("AcceptEnv", "LANG LC_*"),
        ("AllowUsers", "alice mfa@192.0.2.*"),
        ("AllowUsers", None),
        ("DenyUsers", "root"),
        ("AuthorizedKeysCommand", OURS),
        ("AuthorizedKeysCommand", OURS.replace(" %", "=%")),
        ("AuthorizedKeysCommand", f"/usr/bin/python3 -IS {OURS}"),
    ],
)
def test_right_value_in_another_spelling_has_no_finding(settings: Settings, keyword: str, value: str | None) -> None:
    assert lint(settings(**{keyword: value}), V92) == []


def test_each_forwarding_without_a_line_has_a_finding(settings: Settings) -> None:
    open_by_default = {
        "DisableForwarding": None, "AllowTcpForwarding": None, "AllowStreamLocalForwarding": None,
        "AllowAgentForwarding": None, "X11Forwarding": None, "PermitTunnel": None,
    }  # fmt: skip
    found = {finding.check for finding in lint(settings(**open_by_default), V92)}
    names = ("disableforwarding", "allowtcpforwarding", "allowstreamlocalforwarding", "allowagentforwarding")
    assert found == {f"sshd.{name}" for name in names}


@pytest.mark.parametrize(
    ("keyword", "value", "missed_by", "covered_by"),
    [
        ("AllowAgentForwarding", "yes", Version(9, 9), V100),
        ("X11Forwarding", "yes", Version(9, 9), V100),
        ("PermitTunnel", "yes", Version(10, 3), V104),
        ("AllowTcpForwarding", "yes", None, V92),
        ("AllowStreamLocalForwarding", "local", None, V92),
    ],
)
def test_disable_forwarding_covers_the_forwardings_of_its_version(
    settings: Settings, keyword: str, value: str, missed_by: Version | None, covered_by: Version
) -> None:
    quiet = {"PerSourcePenalties": "no"}
    assert lint(settings(**{keyword: value}, **quiet), covered_by) == []
    assert [f.check for f in lint(settings(**{keyword: value}, DisableForwarding="no", **quiet), covered_by)] == [
        "sshd.disableforwarding",
        f"sshd.{keyword.lower()}",
    ]
    if missed_by is not None:
        (found,) = lint(settings(**{keyword: value}, **quiet), missed_by)
        assert f"misses it before {covered_by}" in found.what


def test_login_without_a_key_has_a_finding(settings: Settings) -> None:
    (found,) = lint(settings(AuthenticationMethods=None, PasswordAuthentication="yes"), V92)
    assert (found.check, found.severity) == ("sshd.authenticationmethods", ERROR)
    assert "PasswordAuthentication" in found.what


def test_passwords_that_authentication_methods_excludes_have_no_finding(settings: Settings) -> None:
    assert lint(settings(PasswordAuthentication="yes", KbdInteractiveAuthentication="yes"), V92) == []


def test_grace_time_must_be_long_enough_for_all_tries(settings: Settings) -> None:
    (found,) = lint(settings(MaxAuthTries="20", LoginGraceTime="60"), V92)
    assert (found.check, found.remedy) == ("sshd.logingracetime", "LoginGraceTime 75")
    assert lint(settings(MaxAuthTries="20", LoginGraceTime="75"), V92) == []


@pytest.mark.parametrize("value", [None, "yes", "authfail:5 noauth:1", "crash:90.000000 authfail:5.000000 max:600.0"])
def test_default_penalties_have_a_finding_in_versions_with_penalties(settings: Settings, value: str | None) -> None:
    wrong = settings(V98, PerSourcePenalties=value)
    (found,) = lint(wrong, V98)
    assert (found.check, found.severity, found.remedy) == ("sshd.penalties", WARNING, LINE)
    assert lint(wrong, V92) == []


@pytest.mark.parametrize("value", ["no", "authfail:1s", "crash:90.000000 authfail:1.000000", "authfail:0"])
def test_mild_penalties_have_no_finding(settings: Settings, value: str) -> None:
    assert lint(settings(V98, PerSourcePenalties=value), V98) == []


def test_penalties_with_an_exempt_list_are_a_note(settings: Settings) -> None:
    (found,) = lint(settings(V98, PerSourcePenalties="yes", PerSourcePenaltyExemptList="192.0.2.0/24"), V98)
    assert found.severity == NOTE


@pytest.mark.parametrize(
    ("text", "seconds"), [("authfail:2m", 120), ("noauth:1", 5), ("xauthfail:1", 5), ("authfail:1.5", 1.5)]
)
def test_penalty_of_a_failed_login_in_seconds(text: str, seconds: float) -> None:
    assert authfail(text) == seconds


# --- the command


@pytest.mark.parametrize("token", ["C", "D"])
def test_tokens_of_a_later_version_have_a_finding(settings: Settings, token: str) -> None:
    wrong = settings(AuthorizedKeysCommand=f"{OURS} --connection=%{token}", PerSourcePenalties="no")
    (found,) = lint(wrong, V92)
    assert (found.check, found.severity) == ("sshd.token", ERROR)
    assert f"%{token} (only from 9.4 on)" in found.what
    assert lint(wrong, Version(9, 3)) != []
    assert lint(wrong, V94) == lint(wrong, Version(10, 5)) == []


@pytest.mark.parametrize("token", ["%x", "%F", "%"])
def test_tokens_of_no_version_have_a_finding(settings: Settings, token: str) -> None:
    assert [f.check for f in lint(settings(AuthorizedKeysCommand=f"{OURS} --x {token}"), V92)] == ["sshd.token"]


@pytest.mark.parametrize("token", ["%%", "%u", "%h", "%U"])
def test_tokens_of_every_version_have_no_finding(settings: Settings, token: str) -> None:
    assert lint(settings(AuthorizedKeysCommand=f"{OURS} --x {token}"), V92) == []


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (OURS.replace(" --key %k", ""), "lacks --key"),
        (OURS.replace(" --fingerprint %f --type %t", ""), "lacks --fingerprint and --type"),
        (OURS.replace("%f", "%k"), "--fingerprint %k"),
        (OURS.replace("--type %t --key %k", "--type %k --key %t"), "--type %k and --key %t"),
        (f"{OURS} --config /etc/sshaft/config.json", "both --agent and --config"),
    ],
)
def test_missing_or_swapped_token_has_one_finding(settings: Settings, command: str, word: str) -> None:
    (found,) = lint(settings(AuthorizedKeysCommand=command), V92)
    assert (found.check, found.severity) == ("sshd.keys_command", ERROR)
    assert word in found.what
    if "both" not in word:
        assert found.remedy == f"AuthorizedKeysCommand {OURS}"


def test_native_client_without_an_agent_has_a_finding(settings: Settings) -> None:
    native = OURS.replace("sshaft-keys", "sshaft-keys-native")
    assert lint(settings(AuthorizedKeysCommand=native), V92) == []
    (found,) = lint(settings(AuthorizedKeysCommand=native.replace("--agent", "--config")), V92)
    assert (found.check, found.severity) == ("sshd.keys_command", ERROR)
    assert "no --config" in found.what


def test_stand_alone_command_without_a_key_is_a_warning(settings: Settings) -> None:
    command = "/usr/libexec/sshaft/sshaft-keys --config /etc/sshaft/config.json"
    (found,) = lint(settings(AuthorizedKeysCommand=command), V92)
    assert (found.severity, found.remedy) == (
        WARNING,
        f"AuthorizedKeysCommand {command} --fingerprint %f --type %t --key %k",
    )
    whole = settings(AuthorizedKeysCommand=found.remedy.partition(" ")[2])
    assert lint(whole, V92) == []


@pytest.mark.parametrize("command", ["none", "/usr/bin/sss_ssh_authorizedkeys %u", "/usr/bin/keys", "/bin/sshaft-keys"])
def test_file_without_sshaft_has_one_finding_and_no_advice(command: str) -> None:
    values = {"authorizedkeyscommand": (command,), "authorizedkeysfile": (".ssh/authorized_keys",)}
    (found,) = lint(Effective(values, "/etc/ssh/sshd_config"), V92)
    assert (found.check, found.severity, found.where) == (
        "sshd.authorizedkeyscommand",
        ERROR,
        "/etc/ssh/sshd_config",
    )
    assert found.remedy.startswith("name the file of sshaft's sshd")


def test_advice_for_a_shared_sshd_is_for_the_match_block(settings: Settings) -> None:
    wrong = settings(AuthorizedKeysFile=".ssh/authorized_keys", UsePAM="yes", LoginGraceTime="0")
    lines = tuple(replace(line, match="User mfa") for line in wrong.lines)
    found = {f.check: f.remedy for f in lint(replace(wrong, lines=lines), V92)}
    assert found == {
        "sshd.authorizedkeysfile": "below Match User mfa: AuthorizedKeysFile none",
        "sshd.logingracetime": "LoginGraceTime 45",
    }


def test_finding_names_the_places_of_both_commands(settings: Settings, tmp_path: Path) -> None:
    right = settings()
    theirs = "/usr/bin/userdbctl ssh-authorized-keys %u"
    drop_in = Line(Path("/etc/ssh/sshd_config.d/20-userdb.conf"), 3, "authorizedkeyscommand", theirs)
    wrong = Effective({**right.values, "authorizedkeyscommand": (theirs,)}, right.file, (drop_in, *right.lines))
    (found,) = lint(wrong, V92)
    assert found.where == "/etc/ssh/sshd_config.d/20-userdb.conf:3"
    assert "comes too late" in found.what
    own = next(line for line in right.lines if line.keyword == "authorizedkeyscommand")
    assert own.place in found.what
    assert str(tmp_path) in own.place


def test_command_in_a_match_block_that_does_not_match_has_a_finding(settings: Settings) -> None:
    right = settings()
    lines = tuple(replace(line, match="User mfaa") for line in right.lines)
    (found,) = lint(Effective({**right.values, "authorizedkeyscommand": ("none",)}, right.file, lines), V92)
    assert found.severity == ERROR
    assert "Match block that does not match (User mfaa)" in found.what
