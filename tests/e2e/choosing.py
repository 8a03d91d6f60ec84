"""Runs ssh as a person does who chooses one of several waiting logins."""

import subprocess
from pathlib import Path

from sshaft_demo.parts import Sshd

_QUESTION = b"none: "


def choose(sshd: Sshd, key: Path, number: int = 1) -> tuple[str, str]:
    """Runs ssh without a code, and types `number` if ssh asks which login. Returns stdout, and stderr until then."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(sshd.command(key), **pipes) as ssh:
        assert ssh.stderr
        asked = b""
        while not asked.endswith(_QUESTION) and (part := ssh.stderr.read(1)):
            asked += part
        typed = f"{number}\n".encode() if asked.endswith(_QUESTION) else b""
        out, _ = ssh.communicate(typed, timeout=60)
    assert ssh.returncode == 0, asked.decode()
    return out.decode(), asked.decode()
