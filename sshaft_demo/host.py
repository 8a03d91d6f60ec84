"""`sshaft demo host` logs a person in to this machine at a throwaway OpenID Provider, by the system's ssh and sshd."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import requests

from sshaft import openssh_version
from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft_demo.parts import Agent, connects, free_port, wait_for
from sshaft_demo.place import AGENT, CHECKOUT, SSHD, Place, StartError, library
from sshaft_demo.provider import CLIENT_ID
from sshaft_demo.steps import Steps, until_stopped

MODULE = CHECKOUT / "native" / "pam_sshaft.so"
CODE = re.compile(r"[A-Z]{4}-[A-Z]{4}")
_SSHD_CONFIG = """\
{settings}Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/ssh_host_ed25519_key
PidFile none
UsePAM yes
KbdInteractiveAuthentication yes
PasswordAuthentication no
PubkeyAuthentication no
LoginGraceTime 300
StrictModes no
{more}"""
_PAM = """\
auth    [success=done ignore=ignore default=die] {module} socket={socket} timeout=280 {arguments}
auth    requisite {others}
account [success=ok ignore=ignore default=bad] {module} socket={socket} {arguments}
account required pam_permit.so
session optional {module} socket={socket} {arguments}
session required pam_permit.so
"""


@dataclass
class HostSshd:
    """A running sshd whose PAM stack has our module. Only its own processes see that stack, by pam_wrapper.

    `settings` are lines of sshd_config, `arguments` those of the module. `others` decides where the module ignores.
    `stack` replaces the whole PAM stack.
    """

    place: Place
    socket: Path
    port: int
    settings: str = ""
    arguments: str = ""
    others: str = "pam_deny.so"
    stack: str = _PAM

    def __post_init__(self) -> None:
        directory = self.place.directory / f"sshd-{self.port}"
        services = directory / "pam.d"
        services.mkdir(parents=True)
        module = directory / MODULE.name
        module.write_bytes(MODULE.read_bytes())
        (services / "other").write_text("auth required pam_deny.so\n")
        stack = self.stack.format(module=module, socket=self.socket, arguments=self.arguments, others=self.others)
        (services / "sshd").write_text(stack)
        config = directory / "sshd_config"
        more = "PerSourcePenalties no\n" if openssh_version.installed(Path(SSHD)) >= (9, 8) else ""
        keys = self.place.directory
        config.write_text(_SSHD_CONFIG.format(port=self.port, directory=keys, more=more, settings=self.settings))
        environment = {
            "LD_PRELOAD": library("libpam_wrapper.so", "libpam-wrapper"),
            "PAM_WRAPPER": "1",
            "PAM_WRAPPER_SERVICE_DIR": str(services),
        }
        self.process = self.place.start("sshd", [SSHD, "-D", "-e", "-f", config], more=environment)
        wait_for(lambda: connects(self.port), self.process, lambda: self.place.log("sshd"), "sshd")

    def command(self, user: str, *words: str, key: Path | None = None) -> list[str]:
        """Returns `ssh USER@127.0.0.1 WORDS`, with this key alone and without the configuration of this user."""
        settings = {"UserKnownHostsFile": self.place.known_hosts, "IdentityAgent": "none", "IdentitiesOnly": "yes"}
        settings |= {"PubkeyAuthentication": "no"} if key is None else {"IdentityFile": key}
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-p", str(self.port), *options, f"{user}@127.0.0.1", *words]


@dataclass
class DemoProvider:
    """A running throwaway provider. It knows `place.person`, mallory, and `others`.

    `back_channel` has the address of each client that hears when a person signs out.
    """

    place: Place
    port: int
    back_channel: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.issuer = f"http://127.0.0.1:{self.port}"
        told = [f"--back-channel={client_id}={url}" for client_id, url in self.back_channel.items()]
        people = (self.place.person, "mallory", *self.others)
        command = [*self.place.python(), "-m", "sshaft_demo.provider", *told, str(self.port), *people]
        process = self.place.start("provider", command)
        wait_for(lambda: connects(self.port), process, lambda: self.place.log("provider"), "the provider")

    def answer(self, user_code: str, answer: str = "approve", user: str = "", **claims: Any) -> None:
        """Approves or denies a login as a person does at the page of the provider. `claims` are more of that person."""
        form = {"user_code": user_code, "user": user or self.place.person, "answer": answer}
        form["claims"] = json.dumps(claims)
        requests.post(f"{self.issuer}/device", data=form, timeout=10).raise_for_status()

    def remove(self, user: str) -> None:
        """Lets a person leave the organisation."""
        requests.delete(f"{self.issuer}/people/{user}", timeout=10).raise_for_status()

    def sign_out(self, user: str = "") -> dict[str, int]:
        """Signs a person out. Returns the status with which each client in `back_channel` answers."""
        answer = requests.post(f"{self.issuer}/people/{user or self.place.person}/sign-out", timeout=10)
        told: dict[str, int] = answer.json()
        return told

    def access_token(self, audience: str = "", user: str = "") -> str:
        """Returns an access token of a person: a JWT for this audience, or an opaque one without an audience."""
        client = {"client_id": CLIENT_ID}
        asked = {"scope": "openid profile", "resource": audience, **client}
        code = requests.post(f"{self.issuer}/device_authorization", data=asked, timeout=10).json()
        self.answer(code["user_code"], user=user)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code["device_code"]}
        return str(requests.post(f"{self.issuer}/token", data=form | client, timeout=10).json()["access_token"])

    def write_config(self, **more: Any) -> Path:
        """Writes a config.json with host login at this provider. `more` are members of `host_login`; None: left out."""
        state = str(self.place.folder("state", AGENT, 0o700))
        host_login = {"issuer": self.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True},
                      "state_directory": state} | more  # fmt: skip
        host_login = {name: value for name, value in host_login.items() if value is not None}
        config = self.place.directory / "config.json"
        config.write_text(json.dumps({"host_login": host_login}, indent=2))
        return config


@click.command()
@click.option("--once", is_flag=True, help="End after the scripted login; exit status 0 if it passed.")
@click.option("--port", default=2222, show_default=True, help="The port of sshd, or the next free one.")
@click.option("--provider-port", default=8090, show_default=True, help="The provider's port, or the next free one.")
def host(*, once: bool, port: int, provider_port: int) -> None:
    """Log in to this machine for real: OpenID Provider, agent, pam_sshaft, sshd and ssh on loopback.

    The approval is made by a script at the provider. Then everything stays up for you to try, until Ctrl-C. The PAM
    configuration of this machine is not changed, and nothing is left behind.
    """
    if not MODULE.exists():
        raise ConfigurationError("native/pam_sshaft.so is missing; ./dev setup demo builds it")
    with until_stopped(once=once) as step, Place() as place:
        provider, sshd = _start(place, step, free_port(port), free_port(provider_port))
        _log_in(step, provider, sshd)
        if not once:
            stay(sshd, f"approve at   {provider.issuer}/device", f"the logs     tail -f {place.directory}/*.log")


def _start(place: Place, step: Steps, port: int, provider_port: int) -> tuple[DemoProvider, HostSshd]:
    step(f"a folder for this run: {place.summary}")
    provider = DemoProvider(place, provider_port)
    step(f"OpenID Provider up: {provider.issuer}")
    agent = Agent(place, provider.write_config())
    socket = agent.runtime / "host" / "agent.sock"
    step(f"agent up: {socket}")
    sshd = HostSshd(place, socket, port)
    step(f"sshd up: 127.0.0.1 port {port}, with pam_sshaft.so in its PAM stack")
    return provider, sshd


def _log_in(step: Steps, provider: DemoProvider, sshd: HostSshd) -> None:
    """Runs ssh in a terminal, approves at the provider, and presses Enter. Raises `StartError` if no shell opens."""
    user = sshd.place.person
    step(f"$ ssh {user}@127.0.0.1 -p {sshd.port}")
    words = ["-t", "echo logged in as $(id -u), on the terminal $SSH_TTY"]
    terminal = Terminal(sshd.command(user, *words))
    said = terminal.wait_for("Press Enter")
    show(said)
    code = CODE.search(said)
    if code is None:
        raise StartError(f"ssh shows no code\n{said}\n{sshd.place.log('sshd')}\n{sshd.place.log('agent')}")
    provider.answer(code[0])
    step(f"{user} approves the code {code[0]} at the provider")
    time.sleep(1.2)  # the provider is asked every second
    began = time.monotonic()
    terminal.type("\n")
    said, status = terminal.end()
    line = printable(said.strip().partition("\n")[0].rstrip())
    step(f"Enter: {line} (exit status {status}, {time.monotonic() - began:.2f} s)")
    check_login(said, status, sshd)


def show(said: str) -> None:
    """Prints what ssh has shown in its terminal."""
    click.echo("".join(f"          {printable(line)}\n" for line in said.splitlines()), nl=False)


def check_login(said: str, status: int, sshd: HostSshd) -> None:
    """Raises `StartError` with the logs if no shell has opened."""
    if status != 0 or "logged in" not in said:
        raise StartError(f"the login did not pass\n{sshd.place.log('sshd')}\n{sshd.place.log('agent')}")


def stay(sshd: HostSshd, *hints: str) -> None:
    """Prints the ssh command and the hints, and waits for Ctrl-C."""
    click.echo("\n".join([
        "", "Try it by hand:", "", f"  {' '.join(sshd.command(sshd.place.person))}", *(f"  {each}" for each in hints),
        "", "Ctrl-C ends it all and removes everything.",
    ]))  # fmt: skip
    threading.Event().wait()


class Terminal:
    """A program in a terminal of its own, where Ctrl-C works. ssh shows a QR code only in a UTF-8 locale."""

    def __init__(self, command: list[str], locale: str = "C.UTF-8") -> None:
        self._master, slave = pty.openpty()
        environment = {"PATH": os.defpath, "TERM": "xterm", "LC_ALL": locale}
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", "env", "--default-signal=INT", *command],
            stdin=slave, stdout=slave, stderr=slave, env=environment,
        )  # fmt: skip
        os.close(slave)
        self._said = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def kill(self) -> None:
        """Kills the program, if it has not ended, and closes its terminal."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._master)

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Returns what the program has written since the last call, until `text`, or until it ends."""
        end = time.monotonic() + seconds
        while text not in self._said and self._read(end):
            pass
        said, self._said = self._said, ""
        return said

    def end(self, seconds: float = 30) -> tuple[str, int]:
        """Returns what the program writes until its end, and its exit status."""
        said = self.wait_for("\0", seconds)
        self._process.terminate()
        status = self._process.wait(10)
        os.close(self._master)
        return said, status

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0, end - time.monotonic()))
        try:
            part = os.read(self._master, 4096) if ready else b""
        except OSError:  # the program has ended
            part = b""
        self._said += part.decode(errors="replace")
        return bool(part)
