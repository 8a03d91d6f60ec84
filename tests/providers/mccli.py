"""Runs the unmodified mccli of the Python package index, the client with which people use motley_cue."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from providers.python_packages import installed

from sshaft_demo.host import Terminal

LOCK = Path(__file__).parent / "mccli-client" / "requirements.lock"
_NO_PROXY = "127.0.0.1,localhost"
_DEAD_PROXY = "http://127.0.0.1:9"
"""mccli asks the package index for its newest version at each start."""


@dataclass
class Mccli:
    """mccli of a person with an own home. `service` is the address of the HTTP API."""

    home: Path
    service: str
    seconds: float = 120

    def __post_init__(self) -> None:
        self.program = installed("mccli", LOCK, builds=True) / "mccli"
        (self.home / ".ssh").mkdir(exist_ok=True)

    def run(self, *words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Runs `mccli WORDS` without a terminal."""
        return subprocess.run(
            self.command(*words, **environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=self.seconds, check=False,
        )  # fmt: skip

    def terminal(self, *words: str | Path) -> Terminal:
        """Begins `mccli WORDS` in a terminal."""
        return Terminal(self.command(*words))

    def command(self, program: str | Path, *words: str | Path, **environment: str) -> list[str]:
        variables = {
            "HOME": str(self.home), "PATH": os.defpath, "http_proxy": _DEAD_PROXY, "https_proxy": _DEAD_PROXY,
            "no_proxy": _NO_PROXY, **environment,
        }  # fmt: skip
        named = (f"{name}={value}" for name, value in variables.items())
        own = (program, "--no-cache", "--mc-endpoint", self.service)
        return ["env", "-i", *named, str(self.program), *map(str, (*own, *words))]
