"""Tests first logins on a Debian that systemd has booted, with the units of sshd, cron and sshaft-accounts."""

import signal
from collections.abc import Iterator

import pytest
from debian_host.booted import PACKAGES, Booted
from debian_host.chroot import SUITES, log_in
from debian_host.first_login import FIRST_UID, RESCUE, first_logins
from image.containers import wait_until

from sshaft_demo.parts import run
from sshaft_demo.place import AGENT

GHOST = "ghost"
"""A name that sshd has asked for, and that nobody was approved for."""
POLICY = {"groups": ["operators"], "shells": ["/bin/sh"]}
ROLES = [{"groups": ["admins"], "local_groups": ["operators"]}, {"groups": ["plain"], "shell": "/bin/sh"}]


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[Booted]:
    with first_logins(request.param, packages=("python3", *PACKAGES), policy=POLICY, start=Booted, roles=ROLES) as made:
        assert isinstance(made, Booted)
        assert made.inside("groupadd", "--system", "operators").returncode == 0
        for name in (GHOST, RESCUE):
            (made.root / "etc" / "cron.d" / name).write_text(f"* * * * * {name} id -un >/var/tmp/cron-of-{name}\n")
        yield made


@pytest.fixture
def ghost(debian: Booted) -> Booted:
    """Returns the host after sshd has asked for the name, which has a key and a certificate."""
    for options in (debian.key(GHOST), debian.certificate(GHOST)):
        said, status = debian.ssh("echo in", options=options, user=GHOST).end()
        assert status == 255
        assert "Nobody has been approved for this account yet." in said
    return debian


def test_first_login_is_a_session_of_an_account_that_the_unit_has_made(debian: Booted) -> None:
    words = "id -un; id -u; loginctl show-user --value -p Name newbie; id -Gn"
    said = log_in(debian, words, user="newbie", groups=["admins"]).split()
    uid = debian.uid_of("newbie")
    assert uid is not None
    assert int(uid) >= FIRST_UID
    assert said == ["newbie", uid, "newbie", "newbie", "operators"]
    assert "Create" in debian.journal("-u", "sshaft-accounts.service")


def test_shell_of_a_role_is_that_of_the_second_connection(debian: Booted) -> None:
    assert "Log in again" in debian.refusal("plain", "plain", groups=["plain"])
    assert log_in(debian, "echo $0", user="plain", groups=["plain"]).strip().endswith("sh")
    assert debian.inside("getent", "passwd", "plain").stdout.strip().endswith(":/bin/sh")


@pytest.mark.parametrize(
    "command",
    [
        "id ghost",
        "getent passwd ghost",
        "getent group ghost",
        "su ghost -c true",
        "setpriv --reuid=ghost --clear-groups true",
        "systemd-run --wait --uid=ghost true",
        "crontab -u ghost -l",
        "usermod --shell /bin/sh ghost",
        "chown ghost /var/tmp",
    ],
)
def test_programs_of_the_host_do_not_know_a_reserved_name(ghost: Booted, command: str) -> None:
    assert ghost.inside(*command.split()).returncode not in (0, 127)


def test_account_of_a_first_login_is_an_account_for_every_program(debian: Booted) -> None:
    uid = log_in(debian, "id -u", user="worker").split()[0]
    for command in ("su worker -c", "systemd-run --wait --pipe --quiet --uid=worker sh -c"):
        assert debian.inside(*command.split(), "id -u").stdout.split() == [uid]
    (debian.root / "etc" / "cron.d" / "worker").write_text("* * * * * worker id -un >/var/tmp/cron-of-worker\n")


def test_units_and_logins_of_local_accounts_go_on_while_the_agent_is_frozen(debian: Booted) -> None:
    before = debian.files()
    debian.agent.process.send_signal(signal.SIGSTOP)
    try:
        for name in ("root", RESCUE):
            assert debian.ssh("id -un", options=debian.key(name), user=name).end() == (f"{name}\r\n", 0)
        run = ("systemd-run", "--wait", "--pipe", "--quiet", f"--uid={RESCUE}", "id", "-un")
        assert debian.inside(*run).stdout == f"{RESCUE}\n"
        assert debian.inside("systemctl", "restart", "systemd-logind", "cron").returncode == 0
        assert debian.ssh("echo in", options=debian.certificate("frozen"), user="frozen").end()[1] == 255
    finally:
        debian.agent.process.send_signal(signal.SIGCONT)
    assert debian.files() == before


def test_killed_unit_is_started_again_by_the_next_first_login(debian: Booted) -> None:
    log_in(debian, "true", user="first")
    assert debian.inside("systemctl", "kill", "--signal=KILL", "sshaft-accounts.service").returncode == 0
    assert int(log_in(debian, "id -u", user="second")) >= FIRST_UID


def test_suspension_ends_sessions_and_the_user_manager_in_the_sandbox_of_the_unit(debian: Booted) -> None:
    log_in(debian, "true", user="leaver")
    assert debian.inside("loginctl", "enable-linger", "leaver").returncode == 0
    session = debian.ssh("-tt", "trap '' HUP TERM; echo be''gun; cat", options=debian.key("leaver"), user="leaver")
    assert "begun" in session.wait_for("begun")
    assert debian.inside("pgrep", "--count", "--uid", "leaver").returncode == 0
    command = ("host", "accounts", "suspend", "leaver", "--runtime-directory", debian.agent.runtime)
    assert "is suspended" in run(debian.place, debian.place.sshaft(*command), AGENT)
    assert session.end()[1] != 0
    assert debian.inside("pgrep", "--uid", "leaver").stdout == ""
    assert debian.ssh("echo in", options=debian.key("leaver"), user="leaver").end()[1] == 255
    assert debian.inside("su", "leaver", "-c", "echo in").returncode != 0


def test_cron_runs_nothing_for_a_reserved_name(ghost: Booted) -> None:
    """cron reads its files every minute. It has run the lines of two accounts of the host in the same minute."""
    results = {name: ghost.root / "var" / "tmp" / f"cron-of-{name}" for name in (RESCUE, "worker", GHOST)}
    wait_until(lambda: results[RESCUE].exists() and results["worker"].exists(), "cron runs", seconds=150)
    assert results["worker"].read_text() == "worker\n"
    assert not results[GHOST].exists()
    assert GHOST in ghost.journal("-u", "cron.service")


def test_account_works_after_everything_of_ours_is_removed(debian: Booted) -> None:
    """It removes what `sshaft host disable` and the steps of docs/accounts.md remove. It is the last test."""
    uid = log_in(debian, "id -u; echo in >file", user="stayer").split()[0]
    debian.kill_agent()
    debian.inside("systemctl", "disable", "--now", "sshaft-accounts.socket", "sshaft-accounts.service")
    for name in ("pam.d/sshd", "nsswitch.conf"):
        path = debian.root / "etc" / name
        lines = [line for line in path.read_text().splitlines(keepends=True) if "pam_sshaft" not in line]
        path.write_text("".join(lines).replace(" sshaft", ""))
    for pattern in ("usr/lib/*/libnss_sshaft.so.2", "usr/lib/*/security/pam_sshaft.so"):
        next(debian.root.glob(pattern)).unlink()
    assert debian.inside("systemctl", "restart", "ssh").returncode == 0
    wait_until(lambda: debian.inside("systemctl", "is-active", "ssh").stdout == "active\n", "sshd starts")
    said = debian.ssh("id -u; cat file", options=debian.key("stayer"), user="stayer").end()
    assert said == (f"{uid}\r\nin\r\n", 0)
    assert debian.ssh("echo in", options=debian.certificate("nobody-knows"), user="nobody-knows").end()[1] == 255
