"""Starts the real privacyIDEA from the Python package index, in an environment in the project's cache."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from providers.python_packages import installed

from sshaft_demo.parts import connects, free_port

LOCK = Path(__file__).parent / "privacyidea-server" / "requirements.lock"
ADMINISTRATOR = "admin"


@dataclass
class PrivacyIdea:
    """A privacyIDEA server. After `set_up`, each person can have a remote token that asks our service."""

    url: str
    password: str
    log: Path
    server: str = ""

    def set_up(self, url: str) -> None:
        """Adds our service as a server for remote tokens."""
        self._administrate("/privacyideaserver/sshaft", url=url, tls="0", description="sshaft")
        self.server = str(self._administrate("/privacyideaserver/", "GET")["sshaft"]["id"])

    def add_token(self, serial: str, user: str, pin: str = "", **more: str) -> None:
        named = more or {"remote.server_id": self.server}
        local = "1" if pin else "0"
        self._administrate(
            "/token/init", type="remote", serial=serial, pin=pin,
            **named, **{"remote.user": user, "remote.local_checkpin": local},
        )  # fmt: skip

    def accepts(self, serial: str, password: str) -> bool:
        """Whether privacyIDEA accepts what a person has typed."""
        answer = self._call("POST", "/validate/check", data={"serial": serial, "pass": password})
        assert answer["status"] is True, (answer, self.log.read_text()[-3000:])
        return answer["value"] is True

    def _administrate(self, path: str, method: str = "POST", **form: str) -> Any:
        account = {"username": ADMINISTRATOR, "password": self.password}
        token = self._call("POST", "/auth", data=account)["value"]["token"]
        answer = self._call(method, path, data=form, headers={"Authorization": token})
        assert answer["status"] is True, answer
        return answer["value"]

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False
            result: dict[str, Any] = session.request(method, self.url + path, timeout=60, **more).json()["result"]
            return result


@contextmanager
def running(directory: Path) -> Iterator[PrivacyIdea]:
    manage = installed("privacyidea", LOCK) / "pi-manage"
    port = free_port()
    server = PrivacyIdea(f"http://127.0.0.1:{port}", secrets.token_hex(8), directory / "log")
    settings = {
        "SUPERUSER_REALM": ["super"],
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{directory}/privacyidea.db",
        "SECRET_KEY": secrets.token_hex(16),
        "PI_PEPPER": secrets.token_hex(16),
        "PI_ENCFILE": f"{directory}/enckey",
        "PI_AUDIT_KEY_PRIVATE": f"{directory}/private.pem",
        "PI_AUDIT_KEY_PUBLIC": f"{directory}/public.pem",
        "PI_LOGFILE": f"{directory}/privacyidea.log",
    }
    config = directory / "pi.cfg"
    config.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PRIVACYIDEA_CONFIGFILE": str(config)}
    with server.log.open("wb") as log:
        begun: dict[str, Any] = {"env": environment, "cwd": directory, "stdout": log, "stderr": log}
        keys = (["create_enckey"], ["create_audit_keys"], ["create_tables"])
        account = ["admin", "add", "-p", server.password, ADMINISTRATOR]
        for step in (*(["setup", *key] for key in keys), account):
            done = subprocess.run([manage, *step], check=False, timeout=120, **begun)
            assert done.returncode == 0, server.log.read_text()[-3000:]
        command = [manage, "run", "--host", "127.0.0.1", "--port", str(port), "--no-reload"]
        with subprocess.Popen(command, **begun) as process:
            try:
                deadline = time.monotonic() + 60
                while not connects(port):
                    assert process.poll() is None, server.log.read_text()[-3000:]
                    assert time.monotonic() < deadline, server.log.read_text()[-3000:]
                    time.sleep(0.05)
                yield server
            finally:
                process.terminate()
