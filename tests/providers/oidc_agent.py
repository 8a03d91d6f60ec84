"""Runs the real oidc-agent of Debian, which keeps the refresh tokens of a person and gives out access tokens."""

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class OidcAgent:
    """A running agent. `variables` are those that its clients need."""

    folder: Path
    variables: dict[str, str]

    def add(self, account: str, issuer: str, client: str, secret: str, refresh_token: str) -> None:
        """Adds an account at a provider."""
        password = self.folder / "password"
        password.write_text(secrets.token_hex(8))
        own = ("--client-id", client, "--client-secret", secret, "--scope", "openid", "--rt", refresh_token)
        rest = ("--flow=refresh", "--redirect-uri=http://localhost:4242", f"--pw-file={password}", "--prompt=none")
        command = ["oidc-gen", account, "--manual", "--issuer", issuer, *own, *rest]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            env=_environment(self.folder) | self.variables,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(folder), "OIDC_CONFIG_DIR": str(folder), "TMPDIR": str(folder)}


@contextmanager
def running(folder: Path) -> Iterator[OidcAgent]:
    """Yields an agent without accounts."""
    try:
        done = subprocess.run(
            ["oidc-agent", "--no-autoload"], check=True, capture_output=True, text=True, timeout=30,
            env=_environment(folder),
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("needs oidc-agent: apt-get install oidc-agent-cli")
    variables = dict(re.findall(r"^(OIDC\w+)=([^;]+);", done.stdout, re.MULTILINE))
    try:
        yield OidcAgent(folder, {"OIDC_SOCK": variables["OIDC_SOCK"]})
    finally:
        os.kill(int(variables["OIDCD_PID"]), signal.SIGTERM)
