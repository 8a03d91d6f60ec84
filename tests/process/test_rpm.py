"""Tests the RPM packages: their contents, and their life in a chroot of the Debian in which they are built.

No Enterprise Linux is here. The chroot has the Python of Enterprise Linux 9, systemd, OpenSSH and rpm. Its policy of
SELinux is Debian's, and the tests add the domains of Enterprise Linux. They stand in the order of a host's life.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from debian_host.packages import build, builder, built
from image.debian import need_root, skipping

import sshaft

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]

CHROOT = """set -e
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
exec chroot "$@"
"""
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
NEWEST_GLIBC = 34
"""The second number of the glibc of Enterprise Linux 9."""
LIBRARIES = "/usr/lib/sshaft/lib/python3.11/site-packages"
FILES = {
    "sshaft": (
        "/usr/bin/sshaft /usr/lib/sshaft /usr/lib/sshaft/bin /usr/lib/sshaft/bin/python3 /usr/lib/sshaft/lib "
        "/usr/lib/sshaft/lib/python3.11 /usr/lib/sshaft/lib/python3.11/site-packages /usr/lib/sshaft/pyvenv.cfg "
        "/usr/lib/systemd/system-preset/80-sshaft-agent.preset /usr/lib/systemd/system/sshaft-agent.service "
        "/usr/lib/sysusers.d/sshaft.conf /usr/lib/tmpfiles.d/sshaft.conf /usr/libexec/sshaft "
        "/usr/libexec/sshaft/sshaft-keys /usr/libexec/sshaft/sshaft-keys-native /usr/libexec/sshaft/sshaft-login "
        "/usr/share/bash-completion/completions/sshaft /usr/share/fish/vendor_completions.d/sshaft.fish "
        "/usr/share/zsh/site-functions/_sshaft /usr/share/licenses/sshaft /usr/share/licenses/sshaft/LICENSE "
        "/var/lib/sshaft-backups"
    ),
    "sshaft-accounts": (
        "/usr/lib/systemd/system-preset/80-sshaft-accounts.preset /usr/lib/systemd/system/sshaft-accounts.service "
        "/usr/lib/systemd/system/sshaft-accounts.socket"
    ),
    "sshaft-host-api": (
        "/usr/lib/systemd/system-preset/80-sshaft-host-api.preset /usr/lib/systemd/system/sshaft-agent.service.d "
        "/usr/lib/systemd/system/sshaft-agent.service.d/sshaft-host-api.conf "
        "/usr/lib/systemd/system/sshaft-host-api.service /usr/lib/sysusers.d/sshaft-host-api.conf"
    ),
    "sshaft-identity": (
        "/usr/lib/systemd/system-preset/80-sshaft-identity.preset /usr/lib/systemd/system/sshaft-identity.service "
        "/usr/lib/sysusers.d/sshaft-identity.conf /usr/lib/tmpfiles.d/sshaft-identity.conf"
    ),
    "sshaft-nss": "/usr/lib64/libnss_sshaft.so.2",
    "sshaft-pam": "/usr/lib64/security/pam_sshaft.so",
    "sshaft-selinux": "/usr/share/selinux/packages/targeted/sshaft.pp",
    "sshaft-sshd": (
        "/etc/ssh/sshaft_sshd_config /usr/lib/systemd/system-preset/80-sshaft-sshd.preset "
        "/usr/lib/systemd/system/run-sshd.mount /usr/lib/systemd/system/sshaft-sshd.service "
        "/usr/lib/tmpfiles.d/sshaft-sshd.conf"
    ),
    "sshaft-web": (
        "/usr/lib/systemd/system-preset/80-sshaft-web.preset /usr/lib/systemd/system/sshaft-web.service "
        "/usr/lib/sysusers.d/sshaft-web.conf /usr/lib/tmpfiles.d/sshaft-web.conf"
    ),
}
"""All but manual pages, documentation, and the Python packages."""
EXECUTABLE = {
    "/usr/bin/sshaft",
    "/usr/libexec/sshaft/sshaft-keys",
    "/usr/libexec/sshaft/sshaft-keys-native",
    "/usr/libexec/sshaft/sshaft-login",
}
NEEDS = {
    "sshaft": {
        "openssh-clients", "python3.11", "/usr/bin/python3.11", "shadow-utils", "systemd",
        "(sshaft-selinux = {version} if selinux-policy-targeted)",
    },
    "sshaft-accounts": {"shadow-utils", "sshaft = {version}"},
    "sshaft-host-api": {"sshaft = {version}"},
    "sshaft-identity": {"sshaft = {version}"},
    "sshaft-nss": set(),
    "sshaft-pam": {"sshaft = {version}"},
    "sshaft-selinux": {"libselinux-utils", "policycoreutils", "selinux-policy-targeted"},
    "sshaft-web": {"sshaft = {version}"},
    "sshaft-sshd": {"openssh", "openssh-server", "sshaft = {version}", "config(sshaft-sshd) = {version}"},
}  # fmt: skip
"""What each package needs besides the shell, rpm, glibc and libpam."""
UNITS = (
    "sshaft-accounts.socket", "sshaft-agent.service", "sshaft-host-api.service", "sshaft-identity.service",
    "sshaft-sshd.service", "sshaft-web.service",
)  # fmt: skip
ACCOUNTS = ("sshaft", "_sshaft-keys", "mfa", "sshaft-identity", "sshaft-host-api", "sshaft-web")
UNCHANGED = ("etc/pam.d", "etc/ssh/sshd_config", "etc/ssh/sshd_config.d", "etc/nsswitch.conf")
CONFIG = "etc/ssh/sshaft_sshd_config"


@dataclass
class Host:
    """A chroot with the packages in /packages."""

    root: Path
    packages: Path

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Runs a program in the chroot, without a network. Standard error is part of the output."""
        spaces = ["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
        inside = ["sh", "-c", CHROOT, "sh", self.root, "env", "-i", PATH, "HOME=/root", "LC_ALL=C.UTF-8"]
        return subprocess.run(
            ["unshare", *spaces, *inside, *command], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=240,
        )  # fmt: skip

    def do(self, *command: str) -> str:
        """Runs a program that must succeed, and returns its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def rpm(self, options: str, *names: str) -> "subprocess.CompletedProcess[str]":
        """Runs rpm with the files of these packages. It knows no package of Debian, so it ignores dependencies."""
        files = (f"/packages/{self.file(name)}" for name in names)
        return self.run("rpm", *options.split(), "--nodeps", *files)

    def file(self, name: str) -> str:
        (path,) = self.packages.glob(f"{name}-{sshaft.__version__}-*.*.rpm")
        return path.name

    def ask(self, name: str, *words: str) -> list[str]:
        """Returns the lines of a query of a package's file."""
        return self.do("rpm", "-qp", *words, f"/packages/{self.file(name)}").splitlines()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with skipping():
        need_root()
        packages, tar = built("el9"), builder("el9")
    folder = Path(tempfile.mkdtemp(prefix="sshaft-rpm-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        unpack = ["tar", "-x", "-C", folder, "--exclude=./dev/*", "-f", tar]
        subprocess.run(unpack, check=True, timeout=300)
        (folder / "packages").mkdir()
        for path in packages.glob("*.rpm"):
            if not path.name.endswith(".src.rpm"):
                shutil.copy(path, folder / "packages")
        yield Host(folder, folder / "packages")
    finally:
        shutil.rmtree(folder)


# --- the packages as files


def test_file_lists_are_complete_and_hold_nothing_else(host: Host) -> None:
    assert {path.name.partition(f"-{sshaft.__version__}-")[0] for path in host.packages.iterdir()} == set(FILES)
    documentation = ("/usr/share/man/", "/usr/share/doc/sshaft", f"{LIBRARIES}/")
    for name, files in FILES.items():
        listed = host.ask(name, "-l")
        assert {path for path in listed if not path.startswith(documentation)} == set(files.split()), name
    pages = [path for name in FILES for path in host.ask(name, "-l") if path.startswith("/usr/share/man/")]
    assert {Path(path).name for path in pages} >= {
        "sshaft.1.gz", "sshaft-config.json.5.gz", "pam_sshaft.8.gz", "libnss_sshaft.8.gz",
    }  # fmt: skip


def test_all_files_are_roots_and_only_commands_can_be_executed(host: Host) -> None:
    for name in FILES:
        executable = set()
        for line in host.ask(name, "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\\n]"):
            mode, user, group, path = line.split(" ", 3)
            assert (user, group) == ("root", "root"), line
            assert mode[0] in "-dl", line
            assert mode[0] == "l" or mode[5] == mode[8] == "-", line
            assert not set(mode) & set("sStT"), line
            if mode[0] == "-" and "x" in mode:
                executable.add(path)
        assert executable == (EXECUTABLE if name == "sshaft" else set())


def test_dependencies_are_those_of_enterprise_linux_9(host: Host) -> None:
    release = host.ask("sshaft", "--qf", "%{VERSION}-%{RELEASE}")[0]
    assert release.endswith(".el9")
    for name, needs in NEEDS.items():
        found = set(host.ask(name, "--requires"))
        glibc = {int(number) for each in found for number in re.findall(r"GLIBC_2\.(\d+)", each)}
        assert max(glibc, default=0) <= NEWEST_GLIBC
        named = {each for each in found if not each.startswith(("rpmlib(", "rtld(", "libc.so.6", "libpam.so.0"))}
        assert named - {"/bin/sh"} == {need.format(version=release) for need in needs}, name
    assert "libpam.so.0()(64bit)" in host.ask("sshaft-pam", "--requires")
    provided = host.ask("sshaft", "--provides")
    assert [each for each in provided if not each.startswith("sshaft")] == []


def test_libraries_of_the_wheels_work_with_the_glibc_of_enterprise_linux_9(host: Host) -> None:
    host.do("sh", "-c", f"mkdir /unpacked; cd /unpacked; rpm2cpio /packages/{host.file('sshaft')} | cpio --quiet -id")
    tree = host.root / "unpacked" / LIBRARIES.lstrip("/")
    libraries = [path for path in tree.rglob("*.so*") if path.is_file()]
    assert len(libraries) > 10
    for path in libraries:
        assert all(int(number) <= NEWEST_GLIBC for number in re.findall(rb"GLIBC_2\.(\d+)", path.read_bytes())), path
    command = ["env", f"PYTHONPATH=/unpacked{LIBRARIES}", "python3.11", "-P", "-B", "-m", "sshaft", "--version"]
    assert host.do(*command) == f"sshaft, version {sshaft.__version__}\n"
    shutil.rmtree(host.root / "unpacked")


def test_scriptlets_are_shell_and_name_no_file_of_sshd_or_pam(host: Host) -> None:
    for name in FILES:
        for kind in ("PREIN", "POSTIN", "PREUN", "POSTUN", "PRETRANS", "POSTTRANS"):
            text = "\n".join(host.ask(name, "--qf", f"%{{{kind}}}"))
            if text != "(none)":
                (host.root / "scriptlet").write_text(text)
                assert host.do("sh", "-n", "/scriptlet") == ""
                assert "%{" not in text
                changed = re.findall(r"\S*(?:sshd_config|pam\.d|nsswitch)\S*", text)
                assert [word for word in changed if "sshaft_sshd_config" not in word] == (
                    ["/etc/pam.d/*", "*/etc/pam.d/sshd*)"] if (name, kind) == ("sshaft-pam", "PREUN") else []
                )  # fmt: skip


def test_units_run_the_python_of_the_package_and_sshd_may_change_its_domain(host: Host) -> None:
    """Under NoNewPrivileges SELinux would leave sshd, and the shells that it starts, in the domain of systemd."""
    for name in FILES:
        host.do(
            "sh",
            "-c",
            f"mkdir -p /units; cd /units; rpm2cpio /packages/{host.file(name)} | cpio --quiet -id '*/systemd/*'",
        )
    units = {path.name: path.read_text() for path in (host.root / "units").rglob("*") if path.is_file()}
    for name, text in units.items():
        assert "/opt/" not in text, name
        assert "/usr/bin/python3 " not in text, name  # an older one on Enterprise Linux 9
        commands = re.findall(r"(?m)^Exec(?:Start|StartPre|Reload)=(/\S+)", text)
        assert set(commands) <= {"/usr/lib/sshaft/bin/python3", "/usr/sbin/sshd", "/bin/kill"}, name
        if name.endswith((".service", ".socket")):
            assert "\nConditionPathExists=/" in text, name
    assert "NoNewPrivileges" not in units["sshaft-sshd.service"]
    assert "\nNoNewPrivileges=yes\n" in units["sshaft-agent.service"]
    shutil.rmtree(host.root / "units")


# --- the life of a host


def contents(root: Path) -> dict[str, bytes]:
    """Returns the files of sshd, PAM and NSS, which no package may change."""
    files = (path for name in UNCHANGED for path in [root / name, *(root / name).rglob("*")])
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.is_file()}


INSTALLED = sorted(set(FILES) - {"sshaft-selinux"})


def test_installation_changes_neither_sshd_nor_pam_and_makes_accounts_and_folders(host: Host) -> None:
    before = contents(host.root)
    assert len(before) > 10
    done = host.rpm("-i", *INSTALLED)
    assert done.returncode == 0, done.stdout
    assert "scriptlet failed" not in done.stdout
    assert contents(host.root) == before
    assert host.do("rpm", "-V", "--nodeps", *INSTALLED) == ""
    for unit in UNITS:
        assert host.do("systemctl", "is-enabled", unit) == "enabled\n"
    for name in ACCOUNTS:
        shell = "/bin/sh" if name == "mfa" else "/usr/sbin/nologin"
        assert host.do("getent", "passwd", name).strip().endswith(f":/var/empty:{shell}")
    assert host.do("getent", "shadow", "mfa").split(":")[1] == "*"
    owners = {"/etc/sshaft": "root 755", "/var/lib/sshaft-identity": "sshaft-identity 700",
              "/var/lib/sshaft-web": "sshaft-web 700",
              "/var/lib/sshaft-backups": "root 700", "/etc/ssh/keys/ssh_host_ed25519_key": "root 600"}  # fmt: skip
    assert {path: host.do("stat", "-c", "%U %a", path).strip() for path in owners} == owners


def test_programs_run_from_the_package_and_write_nothing_beside_it(host: Host) -> None:
    assert host.do("sshaft", "--version") == f"sshaft, version {sshaft.__version__}\n"
    for program in ("doctor", "agent", "identity", "host", "host-api", "ssh"):
        assert "sage: sshaft" in host.do("sshaft", program, "--help")
    for command in ("sshaft-keys", "sshaft-keys-native"):
        assert "--agent" in host.do(f"/usr/libexec/sshaft/{command}", "--help")
    listed = set(host.do("rpm", "-ql", "sshaft").splitlines())
    assert set(host.do("find", "/usr/lib/sshaft").splitlines()) <= listed
    (host.root / "run" / "sshd").mkdir(exist_ok=True)
    host.do("/usr/sbin/sshd", "-t", "-f", f"/{CONFIG}")


def test_launcher_without_its_python_says_what_to_do(host: Host) -> None:
    python = host.root / "usr" / "bin" / "python3.11"
    python.rename(f"{python}.away")
    try:
        done = host.run("sshaft", "--version")
    finally:
        Path(f"{python}.away").rename(python)
    assert done.returncode == 69
    assert "Install python3.11, or the package of sshaft for this version of Enterprise Linux." in done.stdout


def test_upgrade_keeps_what_an_administrator_changed_and_saves_the_database_first(host: Host) -> None:
    host.do("usermod", "--lock", "mfa")
    config = host.root / CONFIG
    config.write_text(config.read_text() + "# ours\n")
    changed = config.read_text()
    address = ("--listen", "127.0.0.1:8080", "--public-url", "https://id.example.org")
    host.do("sshaft", "identity", "init", *address, "--ssh-host", "mfa.example.org", "--ssh-port", "2222")
    host.do("sshaft", "identity", "user", "add", "alice")
    done = host.rpm("-U --force", *INSTALLED)
    assert done.returncode == 0, done.stdout
    assert config.read_text() == changed
    assert host.do("getent", "shadow", "mfa").split(":")[1] == "!*"
    assert f"/{CONFIG}.rpmnew" in done.stdout
    assert (host.root / f"{CONFIG}.rpmnew").read_text() == changed.removesuffix("# ours\n")
    (backup,) = (host.root / "var" / "lib" / "sshaft-backups").iterdir()
    assert (backup.name, backup.stat().st_mode & 0o777) == (f"identity-{sshaft.__version__}.backup", 0o600)
    assert "alice" in host.do("sshaft", "identity", "user", "list")
    assert host.do("stat", "-c", "%U", "/var/lib/sshaft-identity/identity.db") == "sshaft-identity\n"
    for unit in UNITS:
        assert host.do("systemctl", "is-enabled", unit) == "enabled\n"


def test_downgrade_is_refused_for_every_package(host: Host) -> None:
    program = host.root / "usr" / "bin" / "sshaft"
    before = program.read_text()
    program.write_text("#!/bin/sh\necho 'sshaft, version 99.0.0'\n")
    try:
        done = host.rpm("-U --force", *INSTALLED)
        assert done.returncode != 0
        assert done.stdout.count("99.0.0 is installed") == len(INSTALLED)
        assert "99.0.0" in program.read_text()
    finally:
        program.write_text(before)


def test_module_for_pam_cannot_be_removed_while_a_file_names_it(host: Host) -> None:
    other = host.root / "etc" / "pam.d" / "other-program"
    other.write_text("auth required pam_sshaft.so\n")
    refused = host.run("rpm", "-e", "--nodeps", "sshaft-pam")
    assert refused.returncode != 0
    assert "/etc/pam.d/other-program" in refused.stdout
    assert (host.root / "usr" / "lib64" / "security" / "pam_sshaft.so").exists()
    other.unlink()


def test_removal_of_the_module_for_pam_takes_it_out_of_sshd_first(host: Host) -> None:
    stack = host.root / "etc" / "pam.d" / "sshd"
    before = stack.read_text()
    line = "auth [success=done ignore=ignore default=die] pam_sshaft.so timeout=280"
    stack.write_text(f"# sshaft: begin\n{line}\n# sshaft: end\n{before}")
    done = host.run("rpm", "-e", "--nodeps", "sshaft-pam")
    assert done.returncode == 0, done.stdout
    assert stack.read_text() == before
    assert not (host.root / "usr" / "lib64" / "security" / "pam_sshaft.so").exists()


def test_removal_leaves_data_and_accounts_and_nothing_else(host: Host) -> None:
    left = [name for name in INSTALLED if name != "sshaft-pam"]
    done = host.run("rpm", "-e", "--nodeps", *left)
    assert done.returncode == 0, done.stdout
    assert "scriptlet failed" not in done.stdout
    places = ("/etc", "/usr", "/opt", "/var", "/run")
    found = set(host.do("find", *places, "-xdev", "-path", "/var/lib/sshaft-*", "-prune", "-print", "-o", "-name",
                        "*sshaft*", "-print").splitlines())  # fmt: skip
    assert found == {
        f"/{CONFIG}", f"/{CONFIG}.rpmnew", "/etc/sshaft", "/var/lib/sshaft-backups", "/var/lib/sshaft-identity",
        "/var/lib/sshaft-web",
    }  # fmt: skip
    for name in ACCOUNTS:
        host.do("getent", "passwd", name)


# --- SELinux

POLICY = "/etc/selinux/targeted/policy/policy.33"
CONTEXTS = "/etc/selinux/targeted/contexts/files/file_contexts"
DOMAIN = "(type {name}) (typeattributeset domain ({name}))"
TYPES = ("sshaft_var_run_t", "sshaft_sshd_var_run_t", "unconfined_service_t")
RULES = {
    "sshaft_var_run_t:dir { getattr search }",
    "sshaft_sshd_var_run_t:dir { getattr search }",
    "sshaft_sshd_var_run_t:sock_file write",
    "unconfined_service_t:unix_stream_socket connectto",
}
LABELS = {
    "/run/sshaft": "sshaft_var_run_t",
    "/var/run/sshaft": "sshaft_var_run_t",
    "/run/sshaft/status.sock": "sshaft_var_run_t",
    "/run/sshaft/login/agent.sock": "sshaft_var_run_t",
    "/run/sshaft/api/agent.sock": "sshaft_var_run_t",
    "/run/sshaft/hosts": "sshaft_var_run_t",
    "/run/sshaft/host": "sshaft_sshd_var_run_t",
    "/run/sshaft/host/agent.sock": "sshaft_sshd_var_run_t",
    "/run/sshaft/host/names.sock": "sshaft_sshd_var_run_t",
    "/run/sshaft/keys/agent.sock": "sshaft_sshd_var_run_t",
    # those of the policy
    "/usr/libexec/sshaft/sshaft-keys-native": "bin_t",
    f"{LIBRARIES}/library.so": "lib_t",
    "/usr/lib64/security/pam_sshaft.so": "lib_t",
    "/var/lib/sshaft-agent": "var_lib_t",
}


@pytest.fixture(scope="module")
def policy(host: Host) -> Host:
    """Adds the policy of Debian under the name of Enterprise Linux's, and its domain of services without one."""
    for folder in ("etc/selinux", "var/lib/selinux"):
        shutil.copytree(host.root / folder / "default", host.root / folder / "targeted", symlinks=True)
    add_domain(host, "unconfined_service_t")
    return host


def add_domain(host: Host, name: str) -> None:
    """Adds a domain to the sources of the policy. The next `semodule` compiles it."""
    module = host.root / "var" / "lib" / "selinux" / "targeted" / "active" / "modules" / "400" / name
    module.mkdir(parents=True)
    (module / "cil").write_text(DOMAIN.format(name=name))
    (module / "lang_ext").write_text("cil")


def rules(host: Host, *words: str) -> set[str]:
    return set(host.do("sesearch", *words, POLICY).splitlines()) - {""}


def allowed(host: Host, domain: str) -> set[str]:
    """Returns what the domain itself, by none of its attributes, may do with our types and the domain of the agent."""
    found = rules(host, "-A", "-s", domain, "-ds")
    ours = (each.removeprefix(f"allow {domain} ").rstrip(";") for each in found)
    return {each for each in ours if each.startswith(TYPES)}


def test_module_has_the_rules_for_sshd_and_no_other_one(policy: Host) -> None:
    policy.do("sh", "-c", f"rpm2cpio /packages/{policy.file('sshaft-selinux')} | cpio --quiet -id '*/sshaft.pp'")
    module = policy.do("/usr/libexec/selinux/hll/pp", "/usr/share/selinux/packages/targeted/sshaft.pp")
    found = re.findall(r"\(allow (\w+) (\w+) \((\w+) \((.*)\)\)\)", module)
    assert len(found) == module.count("allow")
    named = {"dir": "dir {{ {} }}", "sock_file": "sock_file {}", "unix_stream_socket": "unix_stream_socket {}"}
    rules_of = {
        domain: {f"{type_}:{named[kind].format(rights)}" for name, type_, kind, rights in found if name == domain}
        for domain in {name for name, *_ in found}
    }
    assert rules_of == {"sshd_t": RULES, "sshd_session_t": RULES}


def test_policy_gives_sshd_the_sockets_that_are_for_it(policy: Host) -> None:
    done = policy.rpm("-i", "sshaft-selinux")
    assert done.returncode == 0, done.stdout
    assert "scriptlet failed" not in done.stdout
    assert allowed(policy, "sshd_t") == RULES
    assert rules(policy, "-A", "-s", "sshd_t", "-t", "sshaft_var_run_t", "-c", "sock_file") == set()


def test_policy_serves_the_domain_of_newer_servers_where_it_is_there(policy: Host) -> None:
    add_domain(policy, "sshd_session_t")
    policy.do("semodule", "-n", "-s", "targeted", "-B")
    assert allowed(policy, "sshd_session_t") == RULES
    assert allowed(policy, "sshd_t") == RULES


def test_sockets_have_their_labels_and_other_files_those_of_the_policy(policy: Host) -> None:
    found = policy.do("matchpathcon", "-f", CONTEXTS, *LABELS)
    assert dict(re.findall(r"(?m)^(\S+)\tsystem_u:object_r:(\w+):s0$", found)) == LABELS
    made = rules(policy, "-T", "-s", "unconfined_service_t", "-t", "sshaft_var_run_t")
    assert made == {
        f"type_transition unconfined_service_t sshaft_var_run_t:dir sshaft_sshd_var_run_t {name};"
        for name in ("host", "keys")
    }


def test_systemd_may_make_label_and_remove_the_folder(policy: Host) -> None:
    found = " ".join(rules(policy, "-A", "-s", "init_t", "-t", "sshaft_var_run_t", "-c", "dir"))
    assert {"create", "relabelto", "rmdir", "setattr"} <= set(found.split())


def test_removal_of_the_policy_leaves_no_rule(policy: Host) -> None:
    done = policy.run("rpm", "-e", "--nodeps", "sshaft-selinux")
    assert done.returncode == 0, done.stdout
    assert "sshaft" not in policy.do("semodule", "-s", "targeted", "-lfull")
    assert "sshaft" not in policy.do("seinfo", "-t", POLICY)


@pytest.mark.skipif("SUITE" not in os.environ, reason="takes minutes; SUITE=el9 runs it")
@pytest.mark.usefixtures("host")
def test_second_build_gives_the_same_bytes(tmp_path: Path) -> None:
    build("el9", tmp_path)
    first = built("el9")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.rpm")} == {
        path.name: path.read_bytes() for path in first.iterdir()
    }
