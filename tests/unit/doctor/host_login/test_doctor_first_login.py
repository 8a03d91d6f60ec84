"""Tests what the doctor says of `create`: the policy, uids, the order of the sources, sshd's settings."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.unix_server import UnixServer

from sshaft import messages
from sshaft.host.nsswitch import sources
from sshaft_accounts import policy as accounts_policy
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_doctor.accounts import Account
from sshaft_doctor.effective import parse
from sshaft_doctor.findings import Finding, Severity
from sshaft_doctor.host_login import first_login, helper_checks, nss_checks, provider, role_checks, uid_checks
from sshaft_doctor.host_login.create import Create, Policy, read_policy
from sshaft_doctor.host_login.pam_stack import Line, Stack

OK, NOTE, WARNING, ERROR = Severity.OK, Severity.NOTE, Severity.WARNING, Severity.ERROR
AGENT = Account("sshaft", 64801, 64801, frozenset({64801}))
WORKS = messages.encode("refused", {"reason": "user: not an account of this program"})


def severities(found: list[Finding]) -> list[Severity]:
    assert all(each.remedy and each.where for each in found)
    return [each.severity for each in found]


def test_defaults_are_those_of_the_programs() -> None:
    agent, helper = CreateSettings().model_dump(mode="json"), accounts_policy.from_members({})
    for name, value in Create().model_dump(exclude={"roles", "assurance"}).items():
        assert agent[name] == value, name
    for name, value in Policy().model_dump(exclude={"names"}).items():
        assert (list(own) if isinstance(own := getattr(helper, name, value), tuple) else own) == value, name


@pytest.mark.parametrize("text", ["", "[]", '{"uid_first": "x"}', "[" * 100_000])
def test_policy_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "accounts.json").write_text(text)
    assert read_policy(tmp_path / "accounts.json") is None


@pytest.mark.parametrize(
    ("create", "policy", "found"),
    [
        ({}, {}, []),
        ({"uid_first": 70001}, {}, []),
        ({}, {"uid_first": 70001}, [ERROR]),
        ({"uid_last": 100000}, {}, [ERROR]),
        ({"home": "/srv/{user}"}, {}, [ERROR]),
        ({"shell": "/bin/sh"}, {}, [WARNING]),
        ({"shell": "/bin/sh"}, {"shells": ["/bin/sh"]}, []),
        ({}, {"names": "[a-z]+"}, [NOTE]),
        ({"names": "[a-z]+"}, {"names": "[a-z]+"}, []),
        ({}, {"agent": "other"}, [ERROR]),
        ({"uid": {"claim": "uidNumber"}}, {}, [WARNING]),
        ({"uid": {"claim": "uidNumber"}}, {"uid_first": 20000, "uid_last": 70000}, [WARNING]),
        ({"uid": {"claim": "uidNumber"}}, {"uid_first": 20000, "uid_last": 29999}, []),
        ({"uid": {"file": "/x"}}, {"uid_first": 20000, "uid_last": 29999}, [ERROR]),
    ],
)
def test_policy_that_create_does_not_fit_is_told(
    create: dict[str, object], policy: dict[str, object], found: list[Severity]
) -> None:
    given, allowed = Create.of(create), Policy.of(policy)
    assert given
    assert allowed
    assert severities(helper_checks.judge_policy(given, allowed, AGENT)) == found


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ({}, [WARNING, ERROR]),
        ({"groups": ["adm", "dev"]}, [WARNING, ERROR]),
        ({"groups": ["adm", "dev"], "shells": ["/bin/zsh"]}, [WARNING]),
        ({"groups": ["adm"], "shell": "/bin/zsh"}, [WARNING]),
        ({"groups": ["adm", "dev", "x"], "shells": ["/bin/zsh"]}, [WARNING]),
    ],
)
def test_group_or_shell_of_a_role_that_nobody_would_get_is_told(
    policy: dict[str, object], found: list[Severity]
) -> None:
    create = Create.of({"roles": [{"groups": ["x"], "local_groups": ["adm", "dev"]}, {"shell": "/bin/zsh"}]})
    allowed = Policy.of(policy)
    assert create
    assert severities(role_checks.examine(create, allowed, lambda name: name == "adm")) == found
    assert role_checks.examine(Create(), allowed) == []


def test_shell_of_assurance_that_accounts_json_does_not_allow_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    token = {"assurance": {"shells": [{"when": "+"}, {"shell": "/bin/rbash"}], "otherwise": "/bin/false"}}
    login = {"tokens": [token, 1, {"assurance": 1}], "assurance": {"shells": 1, "otherwise": "/bin/zsh"}}
    path.write_text(json.dumps({"host_login": login | {"create": {}}}))
    create = Create.of(provider.read_and_ask(path)["create"])
    policy = Policy.of({"shells": ["/bin/zsh"]})
    assert create
    (found,) = role_checks.examine(create, policy)
    assert found.what.endswith(": /bin/false, /bin/rbash")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Returns a folder that every account can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.root
def test_helper_must_answer_the_agent(folder: Path) -> None:
    path = folder / "accounts.sock"
    (found,) = helper_checks.examine_program(path, AGENT, path)
    assert "does not answer: No such file or directory" in found.what
    with UnixServer(path, WORKS):
        path.chmod(0o660)
        (found,) = helper_checks.examine_program(path, AGENT, path)
        assert "answers root, and not the agent's account sshaft" in found.what
        assert "Permission denied" in found.what
        path.chmod(0o666)
        assert helper_checks.examine_program(path, AGENT, path) == []


@pytest.mark.root
def test_root_asks_at_no_path_that_the_agent_has_chosen(folder: Path) -> None:
    path = folder / "accounts.sock"
    with UnixServer(path, WORKS) as server:
        path.chmod(0o600)
        assert severities(helper_checks.examine_program(path, AGENT)) == [ERROR]
        assert [each.severity for each in helper_checks.examine_program(path, None)] == [NOTE]
    assert server.asked == []


@pytest.mark.root
@pytest.mark.parametrize(
    "answer", [b"", b"x" * 100_000, messages.encode("refused", {"reason": "accounts.json: wrong"})]
)
def test_helper_without_a_right_answer_is_told(folder: Path, answer: bytes) -> None:
    path = folder / "accounts.sock"
    with UnixServer(path, answer):
        path.chmod(0o666)
        assert severities(helper_checks.examine_program(path, AGENT, path)) == [ERROR]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("files systemd sshaft", []),
        ("files systemd", [ERROR]),
        ("files sshaft sss", [ERROR]),
        ("files [NOTFOUND=return] sshaft", [ERROR]),
    ],
)
def test_ours_must_be_the_last_source(line: str, found: list[Severity]) -> None:
    assert severities(nss_checks.judge_order(sources(f"passwd: {line}".encode()))) == found


def test_userdb_needs_systemd_in_each_database() -> None:
    right, wrong = sources(b"passwd: files systemd sshaft"), sources(b"passwd: files sshaft")
    whole = nss_checks.judge_userdb({"passwd": right, "group": right, "shadow": right})
    found = nss_checks.judge_userdb({"passwd": wrong, "group": right, "shadow": sources(b"passwd: files")})
    said = [each.remedy for each in found if each not in whole]
    assert said == ["passwd: files systemd sshaft", "shadow: files systemd"]


def test_running_cache_must_leave_accounts_alone(tmp_path: Path) -> None:
    config = tmp_path / "nscd.conf"
    assert nss_checks.judge_cache(None) == []
    assert severities(nss_checks.judge_cache(config)) == [WARNING]
    config.write_text("enable-cache passwd yes\n")
    assert severities(nss_checks.judge_cache(config)) == [WARNING]
    config.write_text("\tenable-cache\t\tpasswd\t\tno\n")
    assert nss_checks.judge_cache(config) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("UID_MAX 60000\n#UID_MAX 80000\n", 0),
        ("UID_MAX\t\t80000\n", 1),
        ("UID_MAX 80000\nGID_MAX 80000\nSUB_UID_MIN 65536\nSUB_GID_MIN 65536\n", 4),
    ],
)
def test_numbers_that_useradd_takes_are_told(text: str, count: int) -> None:
    assert severities(uid_checks.judge_login_defs(Create(), text)) == [WARNING] * count


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alice:100000:65536\n", []),
        ("alice:99000:65536\n", [NOTE]),
        ("a:70000:20000\nb:85000:15000\n", [ERROR]),
        ("alice:65536:65536\n", [ERROR]),
        ("alice:x:65536\n:70000:65536\n", []),
    ],
)
def test_uids_of_containers_are_told(text: str, found: list[Severity]) -> None:
    assert severities(uid_checks.judge_subordinate(Create(), text, "/etc/subuid")) == found


def test_uids_of_another_source_are_told() -> None:
    assert uid_checks.judge_others(Create(), {"alice": 69999, "bob": 100000}) == []
    (found,) = uid_checks.judge_others(Create(), {"alice": 70000})
    assert (found.severity, "alice" in found.what) == (WARNING, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("logingracetime 300", []),
        ("logingracetime 0", [ERROR]),
        ("logingracetime 600", [ERROR]),
        ("logingracetime 300\nallowusers alice\nallowusers bob", [WARNING]),
        ("logingracetime 300\nallowusers alice *@192.0.2.*", []),
        ("logingracetime 300\nallowusers alice@192.0.2.*", [WARNING]),
        ("logingracetime 300\nallowgroups people", [ERROR]),
        ("logingracetime 300\ndenygroups people", [ERROR]),
    ],
)
def test_setting_that_keeps_new_names_out_is_told(text: str, found: list[Severity]) -> None:
    assert severities(first_login.judge_settings(Create(), parse(text))) == found


def test_account_line_must_stand_in_the_file_of_create(tmp_path: Path) -> None:
    file = tmp_path / "sshd"
    line = Line(file, 3, "account", {"default": "bad"}, "pam_sshaft.so")
    for create, lines, found in (
        (Create(pam_file=str(file)), (line,), []),
        (Create(), (line,), [ERROR]),
        (Create(pam_file=str(file)), (), [ERROR]),
    ):
        assert severities(first_login.judge_stack(create, Stack(lines, (file,)))) == found
