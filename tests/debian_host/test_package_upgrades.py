"""Upgrades and removes the Debian packages while people log in. The tests stand in the order of a host's life."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from debian_host.chroot import SUITES
from debian_host.logins import Logins
from debian_host.packages import Host, host, with_version
from image.containers import wait_until

from sshaft import __version__
from sshaft_demo.place import CHECKOUT

pytestmark = pytest.mark.timeout(1800)  # the first test waits for a build

NAMES = ("sshaft", "sshaft-sshd", "sshaft-identity", "libpam-sshaft")
SERVICES = ("sshaft-agent", "sshaft-sshd", "sshaft-identity")
VERSIONS = Path("sshaft_identity/database/migrations/versions")
NEWEST = max(path.name[1:5] for path in (CHECKOUT / VERSIONS).glob("v*.py"))
"""The revision of the database in the packages as they are."""
MIGRATION = '''"""Makes a table that a later version needs."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None


def upgrade() -> None:
    op.create_table("later_{revision}", sa.Column("id", sa.Integer))
    {more}
'''
Change = Callable[[Path], None]


def migration(revision: str, before: str, more: str = "") -> Change:
    """Returns a change of the programs: one more migration."""

    def change(site: Path) -> None:
        text = MIGRATION.format(revision=revision, before=before, more=more)
        (site / VERSIONS / f"v{revision}_later.py").write_text(text)

    return change


FIRST = migration("9001", NEWEST)


def broken(module: str, line: str, instead: str) -> Change:
    """Returns a change of the programs: one line of a module is another one."""

    def change(site: Path) -> None:
        path = site / module
        text = path.read_text()
        assert text.count(line) == 1
        path.write_text(text.replace(line, instead))
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()

    return change


def make(debian: Host, version: str, *changes: Change) -> str:
    """Makes packages of this version in a folder of the host. Returns the folder."""
    made = debian.root / f"made-{version}"
    if made.exists():  # the second try of a test
        return f"/{made.name}"
    folder = debian.root / f"packages-{version}"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        shutil.copy(next((debian.root / "packages").glob(f"{name}_*.deb")), folder)
    with_version(folder, made, (__version__, version), *changes)
    shutil.rmtree(folder)
    return f"/{made.name}"


@pytest.fixture(scope="module")
def logins() -> Iterator[Logins]:
    """Yields a host with the packages, on which people log in by both ways."""
    with host(SUITES[0]) as debian:
        debian.install(*NAMES)
        made = Logins(debian)
        made.set_up_identity()
        made.choose_port()
        debian.do("systemctl", "start", *SERVICES)
        made.enable_host_login()
        yield made


def processes(debian: Host) -> dict[str, str]:
    """Returns the main process of each service."""
    return {name: debian.do("systemctl", "show", "--property=MainPID", "--value", name).strip() for name in SERVICES}


def upgrade(logins: Logins, folder: str) -> "subprocess.CompletedProcess[str]":
    """Upgrades the packages while people log in. No login may fail, whatever becomes of the upgrade."""
    debian = logins.debian
    with logins.going_on() as ends:
        done = debian.run("apt-get", "install", "-y", *debian.files(folder, *NAMES))
    assert set(ends) == {"factor accepted", "host accepted"}, f"{ends}\n{done.stdout}\n{debian.journal()}"
    assert min(ends.values()) > 2, ends
    return done


def go_back(debian: Host, said: str, folder: str) -> None:
    """Types the command that a failed upgrade has said, in the folder with the older packages."""
    (command,) = re.findall(r"(?m)^    (apt-get install .*)$", said)
    debian.do("sh", "-c", f"cd {folder} && {command}")
    assert not list((debian.root / "var" / "lib").glob("sshaft-upgrade-failed*"))


def check_logins(logins: Logins, version: str) -> None:
    """Checks that all packages have this version, and that both ways to log in work."""
    debian = logins.debian
    shown = debian.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}\n", *NAMES).splitlines()
    assert {line.partition("+")[0] for line in shown} == {f"ii {version}"}
    assert [debian.state(name) for name in SERVICES] == ["active"] * 3
    assert (logins.by_factor(), logins.by_host_login()) == ("accepted", "accepted"), debian.journal()


def revision(debian: Host) -> str:
    """Returns what the installed version says of the database."""
    return debian.do("sshaft", "identity", "init", "--dry-run").strip()


def test_no_login_fails_while_the_services_get_a_new_version(logins: Logins) -> None:
    debian = logins.debian
    session, code = logins.terminal("cat")
    logins.approve(session, code)
    session.type("begun\n")
    assert "begun" in session.wait_for("begun")
    waiting, code = logins.terminal("id", "-un")
    before = processes(debian)
    done = upgrade(logins, make(debian, "90.0.0"))
    assert done.returncode == 0, done.stdout
    after = processes(debian)
    assert {name for name in SERVICES if before[name] != after[name]} == {"sshaft-agent", "sshaft-identity"}
    assert "0" not in after.values()
    logins.approve(waiting, code)
    assert waiting.end()[1] == 0
    session.type("goes on\n")
    assert "goes on" in session.wait_for("goes on")
    session.kill()


def test_systemd_starts_a_service_again_whose_new_process_is_killed(logins: Logins) -> None:
    """The old process has started the new one, and not systemd."""
    debian = logins.debian
    killed = ("sshaft-agent", "sshaft-identity")
    before = processes(debian)
    for name in killed:
        debian.do("systemctl", "kill", "--signal=KILL", "--kill-who=main", name)

    def are_back() -> bool:
        after = processes(debian)
        return all(debian.state(name) == "active" and after[name] not in ("0", before[name]) for name in killed)

    wait_until(are_back, "new processes", seconds=60)
    check_logins(logins, "90.0.0")


def test_separate_sshd_starts_the_programs_of_a_new_openssh(logins: Logins) -> None:
    """An sshd that runs starts the programs that are on the disk now, which it may not understand."""
    debian = logins.debian
    pid = processes(debian)["sshaft-sshd"]
    debian.do("dpkg-trigger", "--by-package=openssh-server", "/usr/sbin/sshd")
    debian.do("dpkg", "--configure", "--pending")
    assert "Received SIGHUP; restarting." in debian.do("journalctl", "--no-pager", f"_PID={pid}")
    check_logins(logins, "90.0.0")


def test_upgrade_migrates_the_database_after_a_backup(logins: Logins) -> None:
    debian = logins.debian
    debian.install(*NAMES, folder=make(debian, "91.0.0", FIRST))
    assert revision(debian) == "The database is up to date: it is at revision 9001."
    (backup,) = (debian.root / "var" / "backups").glob("sshaft-identity-90.0.0+*.backup")
    assert (backup.stat().st_uid, backup.stat().st_mode & 0o777) == (0, 0o600)
    assert {path.name for path in (debian.root / "var/lib/sshaft-identity").glob("identity.db*")} <= {
        "identity.db", "identity.db-wal", "identity.db-shm",
    }  # fmt: skip
    check_logins(logins, "91.0.0")


def test_migration_that_fails_changes_nothing_and_the_way_back_works(logins: Logins) -> None:
    debian = logins.debian
    fault = migration("9002", "9001", "raise ZeroDivisionError")
    done = upgrade(logins, make(debian, "92.0.0", FIRST, fault))
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout
    assert "this version cannot use the database, see above. Nothing was changed, and the old service goes on." in (
        done.stdout
    )
    go_back(debian, done.stdout, "/made-91.0.0")
    assert revision(debian) == "The database is up to date: it is at revision 9001."
    check_logins(logins, "91.0.0")
    refused = debian.run("apt-get", "install", "-y", "--allow-downgrades", *debian.files("/made-90.0.0", *NAMES))
    assert "The downgrade is refused." in refused.stdout
    check_logins(logins, "91.0.0")


def test_service_that_does_not_start_leaves_the_database_as_it_was(logins: Logins) -> None:
    debian = logins.debian
    fault = broken(
        "sshaft_identity/service/server.py", "        self.stop_on_signals()\n", "        raise SystemExit(1)\n"
    )
    folder = make(debian, "93.0.0", FIRST, migration("9002", "9001"), fault)
    done = debian.run("apt-get", "install", "-y", *debian.files(folder, *NAMES))
    assert done.returncode != 0
    assert "the service of this version does not start" in done.stdout
    assert "The database is as it was." in done.stdout
    assert debian.state("sshaft-identity") in ("inactive", "failed")
    go_back(debian, done.stdout, "/made-91.0.0")
    assert revision(debian) == "The database is up to date: it is at revision 9001."
    check_logins(logins, "91.0.0")


def test_agent_that_does_not_start_stops_no_login(logins: Logins) -> None:
    debian = logins.debian
    fault = broken(
        "sshaft_agent/agent.py", "        sockets.make_directory(self._directory)\n", "        raise SystemExit(1)\n"
    )
    before = processes(debian)["sshaft-agent"]
    done = upgrade(logins, make(debian, "94.0.0", FIRST, fault))
    assert done.returncode != 0
    assert "the agent of this version does not start" in done.stdout
    assert processes(debian)["sshaft-agent"] == before
    go_back(debian, done.stdout, "/made-91.0.0")
    check_logins(logins, "91.0.0")


def test_removed_packages_that_come_back_have_their_data(logins: Logins) -> None:
    debian = logins.debian
    debian.do("apt-get", "remove", "-y", *NAMES)
    assert not (debian.root / "usr" / "bin" / "sshaft").exists()
    debian.install(*NAMES, folder="/made-91.0.0")
    debian.do("sshaft", "host", "enable", "--break-glass", "mfa")
    debian.do("systemctl", "reload", "ssh")
    check_logins(logins, "91.0.0")


def test_purge_after_a_failed_upgrade_leaves_nothing_and_ends_no_session_of_a_person(logins: Logins) -> None:
    debian = logins.debian
    session, code = logins.terminal("cat")
    logins.approve(session, code)
    session.type("begun\n")
    assert "begun" in session.wait_for("begun")
    logins.identity("challenge", "open", "alice")
    factor = logins.factor_that_waits()
    assert debian.run("apt-get", "install", "-y", *debian.files("/made-92.0.0", *NAMES)).returncode != 0
    debian.do("apt-get", "purge", "-y", *NAMES)
    factor.end()
    session.type("goes on\n")
    assert "goes on" in session.wait_for("goes on")
    session.kill()
    for name in ("sshaft", "_sshaft-keys", "mfa", "sshaft-identity"):
        assert debian.run("getent", "passwd", name).returncode != 0, name
    places = ("/etc", "/usr", "/opt", "/var/lib", "/var/backups", "/var/empty", "/run")
    left = debian.run("find", *places, "-name", "*sshaft*", "-not", "-path", "/var/lib/dpkg/*").stdout.splitlines()
    assert [line for line in left if "No such file" not in line] == []
    assert debian.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n").count("sshaft") == 0
