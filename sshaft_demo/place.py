"""Makes the folder and the accounts of a trial, starts its processes, and removes everything at the end.

Root gets separate accounts (keys, login, agent, identity, host-api, web), as in production. For an ordinary user all
accounts are that user. Only the processes of the trial see the accounts: nss_wrapper shows them an extended passwd.
"""

import atexit
import glob
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Self

from sshaft import launchers
from sshaft.errors import ConfigurationError, SshaftError

SSHD = "/usr/sbin/sshd"
CHECKOUT = Path(__file__).resolve().parent.parent
NATIVE = CHECKOUT / "native" / "sshaft-keys-native"
"""`./dev` builds this file if there is a compiler."""
PACKAGES = (
    "sshaft",
    "sshaft_agent",
    "sshaft_client",
    "sshaft_demo",
    "sshaft_doctor",
    "sshaft_host_api",
    "sshaft_identity",
    "sshaft_keys",
    "sshaft_login",
    "sshaft_oidc",
    "sshaft_web",
)
AGENT, KEYS, LOGIN, IDENTITY = "sshaft", "_sshaft-keys", "mfa", "sshaft-identity"
HOST_API, WEB = "sshaft-host-api", "sshaft-web"
_FIRST_UID = 64801
_PERSON, _PERSON_UID = "alice", 59901


class StartError(SshaftError):
    """A program did not start. The message has the end of its log."""

    code = "not_started"


@dataclass(frozen=True)
class Accounts:
    """The uids by account name. For an ordinary user they are all the uid of that user."""

    uids: dict[str, int]
    separate: bool

    @classmethod
    def of_this_process(cls) -> "Accounts":
        names = (AGENT, KEYS, LOGIN, IDENTITY, HOST_API, WEB)
        if os.geteuid() == 0:
            return cls({name: _FIRST_UID + i for i, name in enumerate(names)}, separate=True)
        return cls(dict.fromkeys(names, os.geteuid()), separate=False)


@dataclass
class Place:
    """The folder and the processes of a trial. `close` stops the processes and removes the folder.

    Every account can enter the folder. For root it is not below /tmp, because sshd would not trust it there.
    """

    accounts: Accounts = field(default_factory=Accounts.of_this_process)
    directory: Path = field(init=False)

    def __post_init__(self) -> None:
        if not (CHECKOUT / "sshd_config").exists():
            raise ConfigurationError("the demo runs from a checkout of the project: ./dev demo")
        missing = [p for p in (SSHD, "ssh", "ssh-keygen") if not shutil.which(p)]
        if missing:
            raise ConfigurationError(f"missing programs: {', '.join(missing)}; ./dev setup demo installs them")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._made_sshd_directory = False
        parent = "/var/lib" if self.accounts.separate else None
        self.directory = Path(tempfile.mkdtemp(prefix="sshaft-demo-", dir=parent))
        self.directory.chmod(0o755)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def person(self) -> str:
        """The account that a person of the demo logs in to: for root one of its own, or else this user's."""
        return _PERSON if self.accounts.separate else pwd.getpwuid(os.geteuid()).pw_name

    @property
    def summary(self) -> str:
        """The folder, and whose processes use it."""
        how = "each part with its own account" if self.accounts.separate else "all parts as you (not root)"
        return f"{self.directory}, {how}"

    def _prepare(self) -> None:
        if self.accounts.separate and not os.path.isdir("/run/sshd"):  # noqa: PTH112 - sshd's own folder, which the boot makes
            Path("/run/sshd").mkdir(mode=0o755)
            self._made_sshd_directory = True
        self.packages = self.directory / "packages"
        if self.accounts.separate:
            # The accounts cannot read a checkout in root's home.
            _copy_packages(self.packages)
        else:
            self.packages.symlink_to(CHECKOUT)
        self.libexec = self.directory / "libexec"
        launchers.install(self.libexec, packages=self.packages if self.accounts.separate else None)
        if NATIVE.exists():
            shutil.copy(NATIVE, self.libexec)
            (self.libexec / NATIVE.name).chmod(0o755)
        self.empty_home = self.directory / "home"
        self.empty_home.mkdir(mode=0o755)
        self._write_accounts()
        self.host_key = self.generate_key("ssh_host_ed25519_key").with_suffix(".pub")
        self.known_hosts = self.directory / "known_hosts"
        self.known_hosts.write_text(f"* {' '.join(self.host_key.read_text().split()[:2])}\n")

    def _write_accounts(self) -> None:
        """Writes passwd and group files with the accounts, for nss_wrapper."""
        passwd = [x for x in Path("/etc/passwd").read_text().splitlines() if x.split(":")[0] not in self.accounts.uids]
        group = [x for x in Path("/etc/group").read_text().splitlines() if x.split(":")[0] not in self.accounts.uids]
        for name, uid in self.accounts.uids.items():
            gid = uid if self.accounts.separate else os.getegid()
            shell = "/bin/sh" if name == LOGIN else "/usr/sbin/nologin"
            passwd.append(f"{name}:*:{uid}:{gid}::{self.empty_home}:{shell}")
            members = AGENT if self.accounts.separate and name != AGENT else ""
            group.append(f"{name}:*:{gid}:{members}")
        if self.accounts.separate:
            home = self.directory / _PERSON
            home.mkdir()
            os.chown(home, _PERSON_UID, _PERSON_UID)
            passwd.append(f"{_PERSON}:*:{_PERSON_UID}:{_PERSON_UID}::{home}:/bin/sh")
            group.append(f"{_PERSON}:*:{_PERSON_UID}:")
        else:
            # sshd gives a new terminal to the group tty. Only root may, so the terminal must have this group already.
            group = [line for line in group if not line.startswith("tty:")] + [f"tty:*:{_group_of_terminals()}:"]
        (self.directory / "passwd").write_text("\n".join(passwd) + "\n")
        (self.directory / "group").write_text("\n".join(group) + "\n")

    def sshaft(self, *arguments: str | Path) -> list[str | Path]:
        """Returns the command line of `sshaft ...` that every account can run."""
        if not self.accounts.separate:
            return [sys.executable, "-I", "-m", "sshaft", *arguments]
        start = (
            f"import sys; sys.path.append({str(self.packages)!r}); from sshaft.__main__ import main; sys.exit(main())"
        )
        return [Path(sys.executable).resolve(), "-IS", "-c", start, *arguments]

    def python(self) -> list[str | Path]:
        """Returns the command line of a Python that every account can run, with the packages of sshaft."""
        if not self.accounts.separate:
            return [sys.executable]
        return ["/usr/bin/env", f"PYTHONPATH={self.packages}", Path(sys.executable).resolve()]

    def agent_clients(self) -> list[str]:
        """Returns the names of the keys clients that can ask an agent, the preferred one first."""
        return [name for name in (NATIVE.name, "sshaft-keys") if (self.libexec / name).exists()]

    def keys_command(self, arguments: str, client: str = "sshaft-keys") -> str:
        """Returns the value of AuthorizedKeysCommand.

        sshd wants a program that root owns, so env or Python starts the client of an ordinary user.
        """
        keys = self.libexec / client
        starts = "/usr/bin/env" if client == NATIVE.name else f"{Path(sys.executable).resolve()} -IS"
        return f"{keys if self.accounts.separate else f'{starts} {keys}'} {arguments}"

    def environment(self) -> dict[str, str]:
        """Returns the environment of processes that must see the accounts. Raises `ConfigurationError`."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_PRELOAD": library("libnss_wrapper.so", "libnss-wrapper"),
            "NSS_WRAPPER_PASSWD": str(self.directory / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.directory / "group"),
        }

    def generate_key(self, name: str, *options: str) -> Path:
        """Makes a key pair without a passphrase and returns the private file."""
        path = self.directory / name
        kind = options or ("-t", "ed25519")
        subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-C", name, "-f", str(path)], check=True)
        return path

    def folder(self, name: str, account: str = AGENT, mode: int = 0o755) -> Path:
        """Makes a folder that belongs to `account`."""
        path = self.directory / name
        path.mkdir()
        return self.give(path, account, mode)

    def give(self, path: Path, owner: str | None, mode: int, group: str | None = None) -> Path:
        """Gives `path` to an account, if accounts are separate. Returns `path`.

        `owner` None: root owns it. `group` None: the group is that of the owner, or of the agent where root owns it.
        """
        if self.accounts.separate:
            uid = 0 if owner is None else self.accounts.uids[owner]
            os.chown(path, uid, self.accounts.uids[group or owner or AGENT])
        path.chmod(mode)
        return path

    def popen(
        self, command: Sequence[str | Path], *, account: str | None, more: Mapping[str, str] | None = None, **files: Any
    ) -> "subprocess.Popen[bytes]":
        """Starts a process of `account` in a session of its own, which sees the accounts.

        `more` adds to the environment; its LD_PRELOAD is loaded beside nss_wrapper.
        """
        own, more = self.environment(), more or {}
        preloaded = " ".join(each["LD_PRELOAD"] for each in (own, more) if "LD_PRELOAD" in each)
        user: dict[str, Any] = {}
        if account is not None and self.accounts.separate:
            uid = self.accounts.uids[account]
            others = [self.accounts.uids[each] for each in (KEYS, LOGIN, HOST_API)] if account == AGENT else []
            user = {"user": uid, "group": uid, "extra_groups": others}
        return subprocess.Popen(
            [str(word) for word in command],
            env={**own, "HOME": str(self.empty_home), **more, "LD_PRELOAD": preloaded},
            cwd="/",
            start_new_session=True,
            **files,
            **user,
        )

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        account: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Starts a process that runs until `stop`. Its output goes to `NAME.log`; `more` adds to the environment."""
        command = ["setpriv", "--pdeathsig", "TERM", "--", *command]  # the kernel ends it if the demo is killed
        with self.log_path(name).open("ab") as log:
            process = self.popen(command, account=account, more=more, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def log_path(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def log(self, name: str) -> str:
        return self.log_path(name).read_text(errors="replace")

    def stop(self, process: subprocess.Popen[bytes], seconds: float = 10) -> int:
        """Ends a process, by force after `seconds`, and returns its exit status."""
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            status = process.wait()
        if process in self._processes:
            self._processes.remove(process)
        return status

    def close(self) -> None:
        for process in reversed(self._processes[:]):
            self.stop(process)
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._made_sshd_directory:
            with suppress(OSError):
                Path("/run/sshd").rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _group_of_terminals() -> int:
    """Returns the group that new terminals have on this machine."""
    descriptors = os.openpty()
    try:
        return os.fstat(descriptors[1]).st_gid
    finally:
        for each in descriptors:
            os.close(each)


def library(name: str, package: str) -> str:
    """Returns the path of a library that a process can be started with. Raises `ConfigurationError`."""
    found = sorted(glob.glob(f"/usr/lib/*/{name}") + glob.glob(f"/usr/lib*/{name}"))  # noqa: PTH207
    if not found:
        raise ConfigurationError(f"{package} is missing; ./dev setup demo installs it")
    return found[0]


def _copy_packages(target: Path) -> None:
    """Copies the packages of sshaft and their dependencies, readable for every account."""
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, target / package)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(target)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)
    shutil.copytree(_dependencies(target.parent.parent), target, copy_function=os.link, dirs_exist_ok=True)


@cache
def _dependencies(parent: Path) -> Path:
    """Copies the dependencies of sshaft into a new folder in `parent`, once for all places of this process."""
    target = Path(tempfile.mkdtemp(prefix="sshaft-demo-packages-", dir=parent))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    required = chain(project["dependencies"], *project["optional-dependencies"].values())
    wanted, copied = [_name(r) for r in required], set()
    while wanted:
        name = wanted.pop()
        if name in copied:
            continue
        copied.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system or Python version
        wanted += [_name(r) for r in distribution.requires or [] if "extra ==" not in r]
        for file in distribution.files or []:
            if ".." not in file.parts and (source := Path(str(distribution.locate_file(file)))).is_file():
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target / file)
    subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)
    return target


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
