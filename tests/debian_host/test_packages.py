"""Tests the Debian packages on a Debian that systemd has booted. The tests stand in the order of a host's life."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from debian_host.chroot import ENTER, SUITES
from debian_host.packages import IDENTITY, Host, host, log_in_by_the_factor, with_version

from sshaft import __version__
from sshaft_demo.host import CODE, DemoProvider, Terminal
from sshaft_demo.parts import connects, free_port, wait_for
from sshaft_demo.place import CHECKOUT
from sshaft_demo.provider import CLIENT_ID

pytestmark = pytest.mark.timeout(1800)  # the first test waits for a build

ALL = (
    "sshaft", "sshaft-sshd", "sshaft-identity", "sshaft-host-api", "sshaft-web", "sshaft-accounts", "libpam-sshaft",
    "libnss-sshaft",
)  # fmt: skip
UNITS = (
    "sshaft-agent.service", "sshaft-sshd.service", "sshaft-identity.service", "sshaft-host-api.service",
    "sshaft-web.service", "sshaft-accounts.socket",
)  # fmt: skip
RUNNING = tuple(unit for unit in UNITS if unit not in ("sshaft-host-api.service", "sshaft-web.service"))
SERVICE_ACCOUNTS = ("sshaft", "_sshaft-keys", "mfa", "sshaft-identity", "sshaft-host-api", "sshaft-web")
OWNERS = {
    "/etc/sshaft": "root root 755",
    "/var/empty": "root root 755",
    "/var/lib/sshaft-identity": "sshaft-identity sshaft-identity 700",
    "/var/lib/sshaft-web": "sshaft-web sshaft-web 700",
    "/etc/ssh/keys": "root root 755",
    "/etc/ssh/keys/ssh_host_ed25519_key": "root root 600",
    "/usr/libexec/sshaft/sshaft-keys-native": "root root 755",
}
UNCHANGED = ("etc/pam.d", "etc/ssh/sshd_config", "etc/ssh/sshd_config.d")


@pytest.fixture(scope="module", params=SUITES[:1])
def debian(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Yields a host on which apt has installed all packages."""
    with host(request.param) as made:
        before = contents(made.root)
        by_hand = made.root / "etc" / "systemd" / "system" / "sshaft-web.service"
        shutil.copy(CHECKOUT / "systemd" / by_hand.name, by_hand)
        (command,) = re.findall(r"(?m)^    (apt install .*)", (CHECKOUT / "docs" / "install.md").read_text())
        made.do("sh", "-c", f"cd /packages && {command} -y --no-install-recommends")
        made.install(*ALL)
        assert not by_hand.exists()
        assert contents(made.root) == before
        yield made


def contents(root: Path) -> dict[str, bytes]:
    """Returns the files of sshd and PAM, which no package may change."""
    files = (path for name in UNCHANGED for path in [root / name, *(root / name).rglob("*")])
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.is_file()}


def write_config(debian: Host, **more: object) -> None:
    """Adds members to /etc/sshaft/config.json, which belongs to the agent."""
    path = debian.root / "etc" / "sshaft" / "config.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | more))
    debian.do("chown", "sshaft", "/etc/sshaft/config.json")
    debian.do("chmod", "0400", "/etc/sshaft/config.json")


# --- after the installation


def test_installation_changes_neither_sshd_nor_pam_and_starts_no_service_without_its_configuration(
    debian: Host,
) -> None:
    """The fixture has compared the files."""
    for unit in UNITS:
        assert debian.state(unit) == "inactive", unit
        assert debian.do("systemctl", "is-enabled", unit) == "enabled\n"
    assert debian.do("systemctl", "list-units", "--failed", "--no-legend", "sshaft*") == ""
    assert debian.state("ssh.service") == "active"


def test_programs_are_on_the_path_and_run(debian: Host) -> None:
    assert debian.do("sshaft", "--version") == f"sshaft, version {__version__}\n"
    for program in ("doctor", "agent", "identity", "host", "host-api", "web", "ssh"):
        assert "sage: sshaft" in debian.do("sshaft", program, "--help")
    assert "--list" in debian.do("/usr/lib/sshaft/bin/python3", "-I", "-m", "sshaft_accounts", "--help")


def test_accounts_and_folders_have_their_owners(debian: Host) -> None:
    for path, owner in OWNERS.items():
        assert debian.do("stat", "-c", "%U %G %a", path).strip() == owner
    for name in SERVICE_ACCOUNTS:
        shell = "/bin/sh" if name == "mfa" else "/usr/sbin/nologin"
        assert debian.do("getent", "passwd", name).strip().endswith(f":/var/empty:{shell}")
    assert debian.do("id", "-Gn", "sshaft").split() == ["sshaft", "_sshaft-keys", "mfa"]
    # sshd refuses an account whose password begins with "!"
    assert debian.do("getent", "shadow", "mfa").split(":")[1] == "*"


def test_files_are_those_of_the_packages_and_nothing_is_written_beside_them(debian: Host) -> None:
    debian.do("sshaft", "identity", "--help")
    listed = set(debian.do("dpkg", "-L", "sshaft").splitlines())
    files = debian.do("find", "/usr/lib/sshaft", "-not", "-type", "d").splitlines()
    assert len(files) > 1000
    assert set(files) <= listed
    changed = debian.do("dpkg", "--verify", *ALL).splitlines()
    assert [line for line in changed if not line.startswith("missing") or "/usr/share/" not in line] == []


def test_every_launcher_has_the_python_that_apt_keeps_while_sshaft_is_there(debian: Host) -> None:
    python = debian.do("readlink", "-f", "/usr/lib/sshaft/bin/python3").strip()
    assert Path(python).name in debian.do("dpkg-query", "-W", "-f", "${Depends}", "sshaft")
    for name in ("sshaft-keys", "sshaft-login"):
        assert debian.do("head", "-n", "1", f"/usr/libexec/sshaft/{name}") == f"#!{python} -IS\n"
    for unit in UNITS:
        started = re.findall(r"(?m)^Exec\w+=(\S+ .* sshaft.*)$", debian.do("systemctl", "cat", unit))
        assert [line for line in started if not line.startswith("/usr/lib/sshaft/bin/python3 ")] == [], unit
    removed = debian.do("apt-get", "--simulate", "remove", Path(python).name)
    assert "\nRemv sshaft " in removed


def test_launcher_without_its_python_says_what_to_do(debian: Host) -> None:
    python = debian.do("readlink", "-f", "/usr/lib/sshaft/bin/python3").strip()
    (debian.root / "etc" / "sshaft" / "config.json").write_text("{}")
    debian.do("mv", python, f"{python}.away")
    try:
        done = debian.run("sshaft", "--version")
        login = debian.run("sh", "-c", "/usr/libexec/sshaft/sshaft-login --ticket x")
        debian.run("systemctl", "start", "sshaft-agent")
        journal = debian.journal()
    finally:
        debian.do("mv", f"{python}.away", python)
        debian.do("systemctl", "stop", "sshaft-agent")
        debian.do("rm", "/etc/sshaft/config.json")
    assert done.returncode == 69
    assert f"sshaft: {python} is missing" in done.stdout
    assert f"Install {Path(python).name}, or the package of sshaft for this version of Debian." in done.stdout
    # the shell of mfa and systemd name the file that they cannot start, and docs/install.md says what this means
    assert "sshaft-login: not found" in login.stdout
    assert "/usr/lib/sshaft/bin/python3: No such file or directory" in journal


def test_nss_module_stands_behind_the_other_sources(debian: Host) -> None:
    lines = (debian.root / "etc" / "nsswitch.conf").read_text().splitlines()
    assert next(line.split() for line in lines if line.startswith("passwd:")) == [
        "passwd:",
        "files",
        "systemd",
        "sshaft",
    ]


def test_separate_sshd_has_the_generated_configuration(debian: Host) -> None:
    generated = debian.do("sshaft", "sshd-config", "--keys-command", "/usr/libexec/sshaft/sshaft-keys-native")
    assert (debian.root / "etc" / "ssh" / "sshaft_sshd_config").read_text() == generated
    assert "\nPort 2222\n" in generated
    debian.do("mkdir", "-p", "/run/sshd")
    debian.do("/usr/sbin/sshd", "-t", "-f", "/etc/ssh/sshaft_sshd_config")


def test_web_server_starts_by_its_unit(debian: Host) -> None:
    """The kernel makes no user namespace for a process in a chroot. All else of the sandbox is as in the unit."""
    drop_in = debian.root / "etc" / "systemd" / "system" / "sshaft-web.service.d" / "chroot.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nPrivateUsers=no\n")
    port = free_port()
    web = json.loads((CHECKOUT / "examples" / "web" / "web.json").read_text())
    web |= {"public_url": f"http://127.0.0.1:{port}", "port": port}
    web["provider"] = {"issuer": "https://login.example.org", "client_id": "ssh-web"}
    (debian.root / "etc" / "sshaft" / "web.json").write_text(json.dumps(web))
    key = debian.place.known_hosts.read_text().split(maxsplit=1)[1]
    (debian.root / "etc" / "sshaft" / "web-known-hosts").write_text(f"login.example.org {key}")
    debian.do("systemctl", "daemon-reload")
    debian.do("systemctl", "start", "sshaft-web")
    requests.get(f"http://127.0.0.1:{port}/", timeout=30).raise_for_status()
    debian.do("systemctl", "reload", "sshaft-web")
    assert debian.state("sshaft-web") == "active"
    debian.do("systemctl", "stop", "sshaft-web")
    debian.do("rm", "-r", "/etc/sshaft/web.json", "/etc/systemd/system/sshaft-web.service.d")


# --- logins


def test_setup_makes_a_factor_in_which_a_login_passes(debian: Host) -> None:
    port, sshd_port = free_port(), free_port()
    key = debian.place.generate_key("key-of-alice")
    here = ("--role", "factor-and-identity", "--ssh-host", "127.0.0.1", "--ssh-port", str(sshd_port))
    addresses = ("--listen", f"127.0.0.1:{port}", "--public-url", f"http://127.0.0.1:{port}")
    debian.do("sshaft", "setup", "--yes", *here, *addresses)
    debian.do(*IDENTITY, "user", "add", "alice")
    debian.do(*IDENTITY, "key", "add", "alice", "-", stdin=key.with_suffix(".pub").read_text())
    assert log_in_by_the_factor(debian) == "accepted"


def test_doctor_finds_no_error(debian: Host) -> None:
    said = debian.run("sshaft", "doctor").stdout
    assert "ERROR" not in said, said
    assert "(sshaft-sshd.service)" in said


def test_stop_of_the_host_sshd_leaves_the_separate_one_its_folder(debian: Host) -> None:
    debian.do("systemctl", "restart", "ssh")
    debian.do("systemctl", "stop", "ssh")
    try:
        debian.do("systemctl", "restart", "sshaft-sshd")
    finally:
        debian.do("systemctl", "start", "ssh")


def log_in(debian: Host, provider: DemoProvider, user: str, *words: str) -> str:
    """Logs in to the host's sshd with an approval, and returns what the shell says."""
    known = f"UserKnownHostsFile={debian.place.known_hosts}"
    options = ("-F", "none", "-p", str(debian.ssh_port), "-o", known, "-o", "PubkeyAuthentication=no")
    terminal = Terminal(["ssh", *options, f"{user}@127.0.0.1", *words])
    said = terminal.wait_for(ENTER)
    code = CODE.search(said)
    assert code, said + debian.journal()
    provider.answer(code[0], user=user)
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 0, said + debian.journal()
    return said


def test_host_login_and_first_login(debian: Host) -> None:
    debian.do("useradd", "--create-home", "--shell", "/bin/sh", "walter")
    (debian.root / "etc" / "sshaft" / "accounts.json").write_text('{"shells": ["/bin/sh"]}')
    provider = DemoProvider(debian.place, free_port())
    who = {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True}}
    write_config(debian, host_login=who | {"create": {}, "enter": "always"})
    debian.do("systemctl", "start", "sshaft-accounts.socket")
    debian.do("systemctl", "restart", "sshaft-agent")
    (debian.root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
    key = debian.place.generate_key("key-of-root")
    (debian.root / "root" / ".ssh" / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    said = debian.do("sshaft", "host", "enable", "--require-approval", "--break-glass", "mfa")
    assert "pam_sshaft" in said
    debian.do("systemctl", "reload", "ssh")
    wait_for(lambda: connects(debian.ssh_port), debian.process, lambda: debian.place.log("boot"), "sshd")
    assert log_in(debian, provider, "walter", "id -un").split() == ["walter"]
    assert log_in(debian, provider, "newbie", "id -un; pwd").split() == ["newbie", "/home/newbie"]
    assert "newbie" in debian.do("getent", "passwd", "newbie")


# --- upgrade and removal


def test_installation_again_keeps_configuration_and_services(debian: Host) -> None:
    config = debian.root / "etc" / "ssh" / "sshaft_sshd_config"
    before = config.read_text()
    debian.do("dpkg", "--install", *debian.files("/packages", *ALL))
    assert config.read_text() == before
    assert "Port 2222" not in before
    for unit in RUNNING:
        assert debian.state(unit) == "active", unit
    assert (debian.root / "etc" / "nsswitch.conf").read_text().count("sshaft") == 1


def test_upgrade_migrates_after_a_backup_and_a_downgrade_is_refused(debian: Host) -> None:
    with_version(debian.packages, debian.root / "newer", (__version__, "99.0.0"))
    debian.install(*ALL, folder="/newer")
    versions = debian.do("dpkg-query", "-W", "-f", "${Version}\n", *ALL).split()
    assert {version.split("+")[0] for version in versions} == {"99.0.0"}
    (backup,) = (debian.root / "var" / "backups").glob(f"sshaft-identity-{__version__}+*.backup")
    assert (backup.stat().st_uid, backup.stat().st_mode & 0o777) == (0, 0o600)
    for unit in RUNNING:
        assert debian.state(unit) == "active", unit
    assert log_in_by_the_factor(debian) == "accepted"
    refused = debian.run("apt-get", "install", "-y", "--allow-downgrades", *debian.files("/packages", *ALL))
    assert refused.returncode != 0
    assert "The downgrade is refused." in refused.stdout
    assert debian.state("sshaft-agent.service") == "active"
    assert log_in_by_the_factor(debian) == "accepted"


def test_removal_of_the_pam_module_takes_it_out_of_sshd_first(debian: Host) -> None:
    debian.do("sh", "-c", "echo 'auth required pam_sshaft.so' >/etc/pam.d/other-program")
    refused = debian.run("apt-get", "remove", "-y", "libpam-sshaft")
    assert refused.returncode != 0
    assert "/etc/pam.d/other-program" in refused.stdout
    assert list(debian.root.glob("usr/lib/*/security/pam_sshaft.so"))
    debian.do("rm", "/etc/pam.d/other-program")
    debian.do("apt-get", "remove", "-y", "libpam-sshaft")
    assert "pam_sshaft" not in (debian.root / "etc" / "pam.d" / "sshd").read_text()
    assert not (debian.root / "etc" / "ssh" / "sshd_config.d" / "30-sshaft.conf").exists()
    assert not list(debian.root.glob("usr/lib/*/security/pam_sshaft.so"))


def test_purge_leaves_the_accounts_of_people_and_says_so(debian: Host) -> None:
    said = debian.do("apt-get", "purge", "-y", *ALL)
    assert "these accounts of people stay" in said
    assert "newbie" in said
    for name in SERVICE_ACCOUNTS:
        assert debian.run("getent", "passwd", name).returncode != 0, name
        assert debian.run("getent", "group", name).returncode != 0, name
    assert debian.do("getent", "passwd", "newbie", "walter").count("\n") == 2
    assert (debian.root / "home" / "newbie").is_dir()
    assert (debian.root / "etc" / "nsswitch.conf").read_text().count("sshaft") == 0
    # dpkg's log and list of packages, the journal, and what ucf and systemd keep of files that are gone
    places = ("/etc", "/usr", "/opt", "/var/lib", "/var/backups", "/var/empty", "/run")
    left = debian.run("find", *places, "-name", "*sshaft*", "-not", "-path", "/var/lib/dpkg/*").stdout.splitlines()
    assert [line for line in left if "No such file" not in line] == []
    assert debian.do("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n").count("sshaft") == 0
    assert debian.state("ssh.service") == "active"
