"""Logs in to a booted Debian by the factor and by host login, again and again, while the test changes the host."""

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import requests
from debian_host.chroot import ENTER
from debian_host.packages import Host

from sshaft_demo.host import CODE, DemoProvider, Terminal
from sshaft_demo.parts import connects, free_port, wait_for
from sshaft_demo.provider import CLIENT_ID

PERSON = "walter"
SSHD_CONFIG = "etc/ssh/sshaft_sshd_config"


@dataclass
class Logins:
    """All parts on one host: alice has a key for the factor, and walter logs in to the host with an approval."""

    debian: Host
    port: int = field(default_factory=free_port)
    sshd_port: int = field(default_factory=free_port)

    @cached_property
    def provider(self) -> DemoProvider:
        return DemoProvider(self.debian.place, free_port())

    @cached_property
    def key(self) -> Path:
        return self.debian.place.generate_key("key-of-alice")

    def identity(self, *words: str, stdin: str = "") -> str:
        return self.debian.do("sshaft", "identity", *words, stdin=stdin)

    def set_up_identity(self) -> None:
        """Writes the configurations of the identity service and of the agent. Starts nothing."""
        url = f"http://127.0.0.1:{self.port}"
        self.identity("init", "--listen", f"127.0.0.1:{self.port}", "--public-url", url, "--ssh-host", "127.0.0.1",
                      "--ssh-port", str(self.sshd_port))  # fmt: skip
        self.identity("user", "add", "alice")
        self.identity("key", "add", "alice", "-", stdin=self.key.with_suffix(".pub").read_text())
        scopes = ("--scope", "mfa:list", "--scope", "mfa:accept", "--login-path", "/usr/libexec/sshaft/sshaft-login")
        self.identity("client", "add", "factor", *scopes, "--config-json", "/root/factor.json")
        web = json.loads(self.identity("client", "add", "web", "--scope", "challenges", "--json"))
        self.client = web["client_id"], web["client_secret"]
        host_login = {"issuer": self.provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True},
                      "enter": "always", "pending_per_user": 10, "pending_per_source": 10}  # fmt: skip
        factor = json.loads((self.debian.root / "root" / "factor.json").read_text())
        (self.debian.root / "root" / "config.json").write_text(json.dumps(factor | {"host_login": host_login}))
        self.debian.do("install", "-m", "0400", "-o", "sshaft", "/root/config.json", "/etc/sshaft/config.json")

    def choose_port(self) -> None:
        """Lets the separate sshd listen at a free port."""
        config = self.debian.root / SSHD_CONFIG
        config.write_text(re.sub(r"(?m)^Port \d+$", f"Port {self.sshd_port}", config.read_text()))

    def enable_host_login(self) -> None:
        """Puts host login into PAM and sshd."""
        debian = self.debian
        debian.do("useradd", "--create-home", "--shell", "/bin/sh", PERSON)
        (debian.root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
        key = debian.place.generate_key("key-of-root")
        (debian.root / "root" / ".ssh" / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
        debian.do("sshaft", "host", "enable", "--break-glass", "mfa")
        debian.do("systemctl", "reload", "ssh")
        wait_for(lambda: connects(debian.ssh_port), debian.process, lambda: debian.place.log("boot"), "sshd")

    def by_factor(self) -> str:
        """Opens a challenge as a web login does, and passes it by ssh. Returns its state, or what went wrong."""
        url = f"http://127.0.0.1:{self.port}"
        with requests.Session() as web:
            web.trust_env = False
            form = {"grant_type": "client_credentials", "scope": "challenges"}
            token = web.post(f"{url}/oauth2/token", data=form, auth=self.client, timeout=20).json()["access_token"]
            web.headers["Authorization"] = f"Bearer {token}"
            opened = web.post(f"{url}/api/v1/challenges", json={"user": "alice"}, timeout=20).json()
            known = f"UserKnownHostsFile={self._known}"
            options = ("-F", "none", "-i", self.key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
                       "-o", known, "-o", "BatchMode=yes")  # fmt: skip
            command = ["ssh", *options, "-p", str(self.sshd_port), "mfa@127.0.0.1", opened["code"]]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                return done.stdout + done.stderr
            return str(web.get(f"{url}/api/v1/challenges/{opened['id']}", timeout=20).json()["state"])

    def factor_that_waits(self) -> Terminal:
        """Returns a login by the factor that asks its person for the code."""
        options = (
            "-F",
            "none",
            "-i",
            str(self.key),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            f"UserKnownHostsFile={self._known}",
        )
        terminal = Terminal(["ssh", "-tt", *options, "-p", str(self.sshd_port), "mfa@127.0.0.1"])
        terminal.wait_for("ode")
        return terminal

    @cached_property
    def _known(self) -> Path:
        known = self.debian.place.directory / "known-of-factor"
        key = (self.debian.root / "etc" / "ssh" / "keys" / "ssh_host_ed25519_key.pub").read_text()
        known.write_text(f"[127.0.0.1]:{self.sshd_port} {key}")
        return known

    def terminal(self, *words: str) -> tuple[Terminal, str]:
        """Begins a login to the host, and returns it with the code that the person must approve."""
        known = f"UserKnownHostsFile={self.debian.place.known_hosts}"
        options = ("-F", "none", "-p", str(self.debian.ssh_port), "-o", known, "-o", "PubkeyAuthentication=no")
        terminal = Terminal(["ssh", *options, f"{PERSON}@127.0.0.1", *words])
        said = terminal.wait_for(ENTER)
        code = CODE.search(said)
        return terminal, code[0] if code else said

    def approve(self, terminal: Terminal, code: str) -> None:
        self.provider.answer(code, user=PERSON)
        terminal.type("\n")

    def by_host_login(self) -> str:
        """Logs in to the host. Returns `accepted`, or what went wrong."""
        terminal, code = self.terminal("id", "-un")
        if not CODE.fullmatch(code):
            terminal.kill()
            return code
        self.approve(terminal, code)
        said, status = terminal.end()
        return "accepted" if status == 0 and said.split() == [PERSON] else said

    @contextmanager
    def going_on(self) -> Iterator[Counter[str]]:
        """Logs in by both ways without a pause until the end of the body. Yields the number of logins by their end."""
        ends: Counter[str] = Counter()
        ended = threading.Event()

        def repeat(name: str, log_in: Callable[[], str]) -> None:
            while not ended.is_set():
                try:
                    end = log_in()
                except Exception as error:  # noqa: BLE001 - it is a failed login
                    end = repr(error)
                ends[f"{name} {end}"] += 1

        loops = {"factor": self.by_factor, "host": self.by_host_login}
        threads = [threading.Thread(target=repeat, args=loop) for loop in loops.items()]
        for thread in threads:
            thread.start()
        try:
            yield ends
        finally:
            ended.set()
            for thread in threads:
                thread.join()
