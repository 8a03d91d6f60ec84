"""Prepares a Debian in a chroot for first logins: both modules, the agent outside, and sshaft-accounts inside.

The agent looks accounts up in the files of the chroot.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian_host.chroot import LIMITS, PACKAGES, Debian, unpacked
from image.containers import SUITE
from image.debian import UnavailableError, skipping

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import Agent, free_port, wait_for
from sshaft_demo.place import CHECKOUT, Place

NSS_MODULE = CHECKOUT / "native" / "libnss_sshaft.so.2"
BEFORE = """mkdir "$1/run/sshaft-accounts"
mount --bind {folder} "$1/run/sshaft-accounts"
"""
HELPER = ("python3", "-m", "sshaft_accounts", "--socket", "/run/sshaft-accounts/accounts.sock")
FIRST_UID = 70000
ONE_TRY = ("-o", "PreferredAuthentications=keyboard-interactive", "-o", "NumberOfPasswordPrompts=1")
"""Options of ssh: it ends after a refusal."""
RESCUE = "rescue"
"""An account of `break_glass`."""
KEYS = """\
TrustedUserCAKeys /etc/ssh/authority.pub
AuthorizedKeysFile /etc/ssh/keys/%u
MaxStartups 100
"""
FILES = ("passwd", "shadow", "group", "gshadow")


@dataclass
class FirstLogins(Debian):
    """A host with `create`. `accounts` is sshaft-accounts, which runs in the namespaces of sshd."""

    accounts: "subprocess.Popen[bytes]" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.start_accounts()

    @property
    def enter(self) -> list[str]:
        """Returns the command that runs a program in the namespaces of sshd."""
        return ["nsenter", f"--target={self.sshd_pid}", "--mount", "--pid", "--root", "--wd"]

    @property
    def names(self) -> Path:
        """Returns the socket at which the agent answers the NSS module."""
        return self.agent.runtime / "host" / "names.sock"

    @property
    def accounts_socket(self) -> Path:
        return self.place.directory / "run-accounts" / "accounts.sock"

    def start_accounts(self) -> None:
        """Starts sshaft-accounts, also after it was killed."""
        self.accounts_socket.unlink(missing_ok=True)
        clean = ["env", "-i", f"PATH={os.defpath}:/usr/sbin:/sbin", "PYTHONPATH=/opt/sshaft"]
        self.accounts = self.place.start("accounts", [*clean, *self.enter, *HELPER])
        wait_for(self.accounts_socket.exists, self.accounts, lambda: self.place.log("accounts"), "sshaft-accounts")

    @property
    def accounts_pid(self) -> int:
        """Returns the process of sshaft-accounts, and not that of the program that entered the namespaces for it."""
        return int(Path(f"/proc/{self.accounts.pid}/task/{self.accounts.pid}/children").read_text().split()[0])

    def kill_accounts(self) -> None:
        os.kill(self.accounts_pid, signal.SIGKILL)
        self.accounts.wait(10)

    def kill_agent(self) -> None:
        self.agent.process.kill()
        self.agent.process.wait(10)

    def start_agent(self) -> None:
        self.agent.process = self.agent.start()

    def certificate(self, name: str) -> tuple[str, ...]:
        """Returns the options of ssh with a certificate for this name, which sshd trusts."""
        key = self.place.directory / f"key-of-{name}"
        if not key.exists():
            self.place.generate_key(key.name)
            authority = self.place.directory / "authority"
            sign = ["ssh-keygen", "-q", "-s", authority, "-I", name, "-n", name, key.with_suffix(".pub")]
            subprocess.run(sign, check=True, timeout=30)
        return "-i", str(key), "-o", "BatchMode=yes"

    def key(self, name: str) -> tuple[str, ...]:
        """Lets a key open an account, if it has one. Returns the options of ssh with it."""
        key = self.place.directory / f"key-for-{name}"
        if not key.exists():
            self.place.generate_key(key.name)
            shutil.copy(key.with_suffix(".pub"), self.root / "etc" / "ssh" / "keys" / name)
        return "-i", str(key), "-o", "BatchMode=yes"

    def refusal(self, name: str, person: str, **claims: Any) -> str:
        """Logs in with an approval that opens nothing. Returns what the person, who has these claims, reads."""
        terminal = self.ssh("echo in", options=ONE_TRY, user=name)
        self.provider.answer(self.code_at(terminal), user=person, **claims)
        terminal.type("\n")
        read = terminal.wait_for("Enter to go on")
        terminal.type("\n")
        said, status = terminal.end()
        assert status != 0
        assert "in\r\n" not in said
        return read

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Runs a program in the namespaces of sshd."""
        return subprocess.run(
            [*self.enter, *command], check=False, capture_output=True, text=True, timeout=60,
            env={"PATH": os.defpath + ":/usr/sbin:/sbin"},
        )  # fmt: skip

    def uid_of(self, name: str) -> str | None:
        lines = (self.root / "etc" / "passwd").read_text().splitlines()
        return next((line.split(":")[2] for line in lines if line.startswith(f"{name}:")), None)

    def files(self) -> list[bytes]:
        """Returns the accounts and groups of the host, as its files have them."""
        return [(self.root / "etc" / name).read_bytes() for name in FILES]


def add_accounts(place: Place, root: Path) -> dict[str, str]:
    """Adds the accounts of the agent to the chroot. Returns the environment in which the agent sees the chroot's."""
    for name in ("passwd", "group"):
        own = [line for line in (place.directory / name).read_text().splitlines(keepends=True) if _is_ours(place, line)]
        with (root / "etc" / name).open("a") as file:
            file.writelines(own)
    return {f"NSS_WRAPPER_{name.upper()}": str(root / "etc" / name) for name in ("passwd", "group")}


def _is_ours(place: Place, line: str) -> bool:
    return line.partition(":")[0] in place.accounts.uids


def add_first_login(root: Path, policy: dict[str, Any]) -> Path:
    """Installs what a first login needs in the chroot. Returns the path of the NSS module there."""
    module = next(root.glob("usr/lib/*/security")).parent / NSS_MODULE.name
    shutil.copy(NSS_MODULE, module)
    switch = root / "etc" / "nsswitch.conf"
    text, changed = re.subn(r"(?m)^passwd:\s+files( systemd)?$", r"\g<0> sshaft", switch.read_text())
    assert changed == 1
    switch.write_text(text)
    for package in ("sshaft", "sshaft_accounts"):
        shutil.copytree(CHECKOUT / package, root / "opt" / "sshaft" / package)
    (root / "etc" / "sshaft").mkdir()
    (root / "etc" / "sshaft" / "accounts.json").write_text(json.dumps(policy))
    (root / "var" / "lib" / "sshaft-accounts").mkdir(mode=0o700)
    return module


@contextmanager
def first_logins(
    suite: str = SUITE,
    create: dict[str, Any] | None = None,
    *,
    packages: tuple[str, ...] = PACKAGES,
    policy: dict[str, Any] | None = None,
    start_agent: type[Agent] = Agent,
    start: "type[FirstLogins]" = FirstLogins,
    **config: Any,
) -> Iterator[FirstLogins]:
    """Yields a Debian of the suite, with these packages and this accounts.json. `start` starts it.

    `create` has more members of `host_login.create`, `config` of `host_login`.
    """
    with skipping():
        if not NSS_MODULE.exists():
            raise UnavailableError("native/libnss_sshaft.so.2 is not built: ./dev setup host")
    with unpacked(*packages, suite=suite) as (place, root):
        environment = add_accounts(place, root)
        add_first_login(root, policy or {})
        subprocess.run(["chroot", root, "useradd", "--create-home", RESCUE], check=True, timeout=60)
        authority = place.generate_key("authority")
        shutil.copy(authority.with_suffix(".pub"), root / "etc" / "ssh" / "authority.pub")
        (root / "etc" / "ssh" / "keys").mkdir()
        (root / "etc" / "ssh" / "sshd_config.d" / "20-keys.conf").write_text(KEYS)
        provider = DemoProvider(place, free_port())
        folder = place.directory / "run-accounts"
        folder.mkdir()
        files = {"socket": str(folder / "accounts.sock"), "pam_file": str(root / "etc" / "pam.d" / "sshd")}
        settings = {"enter": "always", **LIMITS, **config, "create": files | (create or {})}
        agent = start_agent(place, provider.write_config(**settings), environment=environment)
        arguments = f"break_glass={RESCUE}"
        debian = start(place, agent, provider, root, arguments, before=BEFORE.format(folder=folder))
        try:
            yield debian
        finally:
            debian.stop()
