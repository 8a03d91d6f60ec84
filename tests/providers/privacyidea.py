"""privacyIDEA as its Python package has it, in an environment of its own, with one remote token that points at us."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from providers.openid_client import cache

from sshaft_demo.parts import connects, free_port

VERSION = "3.14"
ADMIN, PASSWORD, SERIAL = "admin", "only-for-this-test", "SSHA0001"
SERVE = (
    "import sys; from privacyidea.app import create_app; "
    'create_app(config_name="production", config_file=sys.argv[1], silent=True)'
    '.run("127.0.0.1", int(sys.argv[2]), threaded=True)'
)


@dataclass
class PrivacyIdea:
    url: str

    def add_remote_token(self, server: str, user: str) -> None:
        """For one person; it hands everything that is typed on to `server`."""
        account = {"username": ADMIN, "password": PASSWORD}
        token = self.post("/auth", account)["result"]["value"]["token"]
        wanted = {
            "type": "remote", "serial": SERIAL, "remote.server": server, "remote.local_checkpin": "0",
            "remote.user": user, "remote.realm": "corp", "otplen": "6", "pin": "",
        }  # fmt: skip
        assert self.post("/token/init", wanted, {"Authorization": token})["result"]["value"] is True

    def accepts(self, typed: str) -> bool:
        return bool(self.post("/validate/check", {"serial": SERIAL, "pass": typed})["result"]["value"])

    def post(self, path: str, form: dict[str, str], headers: dict[str, str] | None = None) -> Any:
        answer = requests.post(self.url + path, data=form, headers=headers, timeout=60)
        return answer.json()


def installed() -> Path:
    """Its programs; installed once."""
    environment = cache() / f"privacyidea-{VERSION}-{sys.version_info[0]}.{sys.version_info[1]}"
    programs = environment / "bin"
    if not (environment / "complete").exists():
        uv = [sys.executable, "-m", "uv", "--quiet"]
        for command in (
            [*uv, "venv", "--clear", "--python", sys.executable, environment],
            [*uv, "pip", "install", "--python", programs / "python", f"privacyidea=={VERSION}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            if done.returncode != 0:
                pytest.skip(f"privacyIDEA could not be installed: {done.stderr.strip()[-300:]}")
        (environment / "complete").touch()
    return programs


@contextmanager
def running(directory: Path) -> Iterator[PrivacyIdea]:
    programs, port = installed(), free_port()
    configuration = directory / "pi.cfg"
    configuration.write_text(
        "SUPERUSER_REALM = ['super']\nSECRET_KEY = 'only-for-this-test-0123456789'\nPI_PEPPER = 'only-for-this-test'\n"
        f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{directory}/pi.db'\nPI_ENCFILE = '{directory}/enckey'\n"
        f"PI_AUDIT_KEY_PRIVATE = '{directory}/private.pem'\nPI_AUDIT_KEY_PUBLIC = '{directory}/public.pem'\n"
        f"PI_LOGFILE = '{directory}/pi.log'\nPI_LOGLEVEL = 20\n"
    )
    environment = {**os.environ, "PRIVACYIDEA_CONFIGFILE": str(configuration)}
    for step in (
        ("setup", "create_enckey"),
        ("setup", "create_audit_keys"),
        ("setup", "create_tables"),
        ("admin", "add", "-p", PASSWORD, ADMIN),
    ):
        command = [programs / "pi-manage", *step]
        done = subprocess.run(
            command, env=environment, cwd=directory, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (step, done.stdout, done.stderr)
    log = directory / "server.log"
    serving = [programs / "python", "-c", SERVE, configuration, str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(serving, env=environment, cwd=directory, stdout=output, stderr=output) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while not connects(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield PrivacyIdea(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
