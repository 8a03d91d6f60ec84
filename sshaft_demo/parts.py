"""Starts identity service, agent, sshd and ssh, each as the real program with its own account."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from sshaft import openssh_version
from sshaft_demo.place import AGENT, CHECKOUT, HOST_API, IDENTITY, KEYS, LOGIN, SSHD, WEB, Place, StartError

_SSHD_CONFIG = CHECKOUT / "sshd_config"


@dataclass
class Identity:
    """A running identity service with its own folder."""

    place: Place
    port: int
    ssh_port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of the service."""

    def __post_init__(self) -> None:
        self._token_until = 0.0
        self._client: dict[str, Any] = {}
        self.directory = self.place.folder("identity", IDENTITY, 0o700)
        self.url = f"http://127.0.0.1:{self.port}"
        self.run("init", "--listen", f"127.0.0.1:{self.port}", "--public-url", self.url, "--ssh-host", "127.0.0.1",
                 "--ssh-port", str(self.ssh_port), "--ssh-host-key", self.place.host_key)  # fmt: skip
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        command = self.place.sshaft("identity", "--directory", self.directory, "serve")
        process = self.place.start("identity", command, account=IDENTITY, more=self.environment)
        wait_for(lambda: connects(self.port), process, lambda: self.place.log("identity"), "the identity service")
        return process

    def run(self, *arguments: str | Path, stdin: str = "") -> str:
        """Runs `sshaft identity ...` and returns its standard output. Raises `StartError`."""
        command = self.place.sshaft("identity", "--directory", self.directory, *arguments)
        return run(self.place, command, IDENTITY, stdin)

    def run_all(self, commands: list[list[str]]) -> None:
        """Runs many `sshaft identity ...` in one process. Raises `StartError` if one of them fails."""
        own = ["identity", "--directory", str(self.directory)]
        program = (
            f"import json, sys; sys.path.append({str(self.place.packages)!r}); from sshaft.__main__ import main; "
            f"sys.exit(max(main({own!r} + words) for words in json.load(sys.stdin)))"
        )
        command = [self.place.sshaft()[0], "-I", "-c", program]
        run(self.place, command, IDENTITY, json.dumps(commands))

    def add_user(self, name: str, public_key: Path | None = None) -> None:
        self.run("user", "add", name)
        if public_key is not None:
            self.run("key", "add", name, "-", stdin=public_key.read_text())

    def write_config(self, path: Path) -> Path:
        """Adds a client and writes its config.json to `path`, where only the agent can read it."""
        login_path = str(self.place.libexec / "sshaft-login")
        scopes = ("--scope", "mfa:list", "--scope", "mfa:accept")
        written = self.directory / path.name
        self.run("client", "add", path.stem, *scopes, "--login-path", login_path, "--config-json", written)
        shutil.move(written, path)
        return self.place.give(path, AGENT, 0o600)

    def open_challenge(self, user: str | None, **more: Any) -> dict[str, Any]:
        """Opens a challenge as a web login does. Returns `id`, `code`, `ssh_command`, `page_url` and more."""
        return self._api("POST", "", json=more if user is None else {"user": user, **more})

    def challenge(self, challenge: str, wait: int = 0) -> dict[str, Any]:
        return self._api("GET", f"/{challenge}", params={"wait": wait})

    def consume(self, challenge: str) -> dict[str, Any]:
        return self._api("POST", f"/{challenge}/consume")

    def verify(self, challenge: str, code: str) -> dict[str, Any]:
        return self._api("POST", f"/{challenge}/verify", json={"code": code})

    def cancel(self, challenge: str) -> dict[str, Any]:
        return self._api("POST", f"/{challenge}/cancel")

    def _api(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Sends a request; a second time with a new access token if the service refuses the token."""
        answer = self._send(method, path, **request)
        if answer.status_code == requests.codes.unauthorized:
            self._token_until = 0.0
            answer = self._send(method, path, **request)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def _send(self, method: str, path: str, **request: Any) -> requests.Response:
        if time.monotonic() > self._token_until:
            if not self._client:
                self._client = json.loads(self.run("client", "add", "web", "--scope", "challenges", "--json"))
            client = {name: self._client[name] for name in ("client_id", "client_secret")}
            form = {"grant_type": "client_credentials", "scope": "challenges", **client}
            answer = requests.post(f"{self.url}/oauth2/token", data=form, timeout=10).json()
            self._session = requests.Session()
            self._session.trust_env = False
            self._session.headers["Authorization"] = f"Bearer {answer['access_token']}"
            self._token_until = time.monotonic() + float(answer["expires_in"]) - 30
        return self._session.request(method, f"{self.url}/api/v1/challenges{path}", timeout=40, **request)


@dataclass
class Agent:
    """A running agent for the identity service of `config`."""

    place: Place
    config: Path
    name: str = "agent"
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runtime = self.place.folder(f"run-{self.name}", AGENT)
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        own = ("--config", self.config, "--runtime-directory", self.runtime)
        users = ["--keys-user", KEYS, "--login-user", LOGIN]
        if "host_login" in json.loads(self.config.read_text()):
            users += ["--api-user", HOST_API]
        process = self.place.start(
            self.name, self.place.sshaft("agent", *own, *users), account=AGENT, more=self.environment
        )
        wait_for(
            lambda: _answers(self.runtime / "status.sock"), process, lambda: self.place.log(self.name), "the agent"
        )
        return process

    def status(self) -> dict[str, Any]:
        command = self.place.sshaft("agent", "status", "--json", "--runtime-directory", self.runtime)
        facts: dict[str, Any] = json.loads(run(self.place, command, AGENT))
        return facts


@dataclass
class HostApi:
    """A running `sshaft host-api` of the agent with this runtime directory."""

    place: Place
    runtime: Path
    account: str | None = HOST_API

    def __post_init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = self.place.directory / "host-api.json"
        config.write_text(json.dumps({"port": port, "agent_socket": str(self.runtime / "api" / "agent.sock")}))
        command = self.place.sshaft("host-api", "--config", config)
        self.process = self.place.start("host-api", command, account=self.account)
        wait_for(lambda: connects(port), self.process, lambda: self.place.log("host-api"), "sshaft host-api")


@dataclass
class Web:
    """A running `sshaft web`. `settings` are members of web.json."""

    place: Place
    settings: Mapping[str, Any]
    port: int = 0
    name: str = "web"

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        settings = {"public_url": f"http://localhost:{self.port}", "port": self.port, **self.settings}
        self.url = str(settings["public_url"])
        self.config = self.place.directory / f"{self.name}.json"
        self.config.write_text(json.dumps(settings))
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        process = self.place.start(self.name, self.place.sshaft("web", "--config", self.config), account=WEB)
        wait_for(lambda: connects(self.port), process, lambda: self.place.log(self.name), "sshaft web")
        return process


@dataclass
class Sshd:
    """A running sshd on 127.0.0.1 with the project's sshd_config and the agent of `runtime`.

    `changes` (keyword: value) replace lines of the file.
    """

    place: Place
    runtime: Path
    port: int
    changes: dict[str, str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.place.directory / f"sshd_config.{self.port}"
        path.write_text(sshd_config(self.place, self.runtime, self.port, self.changes))
        self.name = f"sshd.{self.port}"
        self.process = self.place.start(self.name, [SSHD, "-D", "-e", "-f", path], more=self.environment)
        wait_for(lambda: connects(self.port), self.process, self.log, "sshd")

    def log(self) -> str:
        return self.place.log(self.name)

    def command(self, key: Path | None, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        """Returns `ssh mfa@127.0.0.1 WORDS` with `key`, without the configuration of this user."""
        settings = {"BatchMode": "yes", "LogLevel": "ERROR"}
        if key is not None:
            settings |= {"IdentitiesOnly": "yes", "IdentityAgent": "none", "IdentityFile": str(key)}
        flags = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        known = ["-o", f"UserKnownHostsFile={self.place.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        return ["ssh", "-F", "none", "-p", str(self.port), *known, *flags, *options, f"{LOGIN}@127.0.0.1", *words]

    def by_hand(self, key: Path) -> str:
        """Returns the ssh command for a person to paste."""
        only = f"-o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile={self.place.known_hosts} -i {key}"
        return f"ssh -F none {only} -p {self.port} {LOGIN}@127.0.0.1"

    def ssh(
        self, key: Path | None, *words: str, options: tuple[str, ...] = (), stdin: str = "", timeout: float = 60,
        environment: dict[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":  # fmt: skip
        """Runs ssh and waits for its end."""
        return subprocess.run(
            self.command(key, *words, options=options),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
        )


def agent_question(place: Place, runtime: Path, client: str) -> str:
    """Returns the value of AuthorizedKeysCommand with which `client` asks the agent of `runtime`."""
    return place.keys_command(f"--agent {runtime}/keys/agent.sock --fingerprint %f --type %t --key %k", client)


def sshd_config(place: Place, runtime: Path, port: int, changes: dict[str, str] | None = None) -> str:
    """Returns the project's sshd_config with the paths of `place`, the port and the changes."""
    replaced = {
        "Port": str(port),
        "AddressFamily": "inet\nListenAddress 127.0.0.1",
        "HostKey": str(place.directory / "ssh_host_ed25519_key"),
        "AuthorizedKeysCommand": agent_question(place, runtime, place.agent_clients()[0]),
        "AuthorizedKeysCommandUser": KEYS if place.accounts.separate else LOGIN,
        # all clients come from 127.0.0.1 here
        "PerSourceMaxStartups": "200",
        "MaxStartups": "200",
        **({"PerSourcePenalties": "no"} if openssh_version.installed(Path(SSHD)) >= (9, 8) else {}),
        **(changes or {}),
    }
    text = _SSHD_CONFIG.read_text()
    for keyword, value in replaced.items():
        text, count = re.subn(rf"(?m)^{keyword} .*$", lambda _, k=keyword, v=value: f"{k} {v}", text)  # type: ignore[misc]
        if not count:
            text += f"{keyword} {value}\n"
    return text


def run(place: Place, command: list[str | Path], account: str, stdin: str = "") -> str:
    """Runs a command as `account` and returns its standard output. Raises `StartError` if it fails."""
    process = place.popen(
        command, account=account, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, error = process.communicate(stdin.encode())
    except BaseException:  # after an interrupt the command must end too
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        raise StartError(f"{' '.join(map(str, command[-4:]))}: {error.decode(errors='replace').strip()}")
    return out.decode()


def wait_for(
    ready: Callable[[], bool],
    process: "subprocess.Popen[bytes]",
    log: Callable[[], str],
    name: str,
    seconds: float = 20,
) -> None:
    """Waits until `ready()` is true. Raises `StartError` if the process ends first, or after `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise StartError(f"{name} did not start: {log()[-2000:].strip()}")
        time.sleep(0.02)


def free_port(first: int = 0) -> int:
    """Returns a free port on 127.0.0.1: `first` or one of the hundred after it, or any port for 0."""
    for port in range(first, first + 100) if first else [0]:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                trial.bind(("127.0.0.1", port))
                return int(trial.getsockname()[1])
    raise StartError(f"no free port from {first} to {first + 99}")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trial, suppress(OSError):
        trial.connect(str(path))
        return True
    return False


def connects(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    return False
