"""Tests `sshaft host approvals` against a running agent."""

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fakes.agent_process import PROGRAM, AgentProcess

from sshaft_agent.host_login.bindings import Bindings


def approvals(agent: AgentProcess, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [*PROGRAM, "host", "approvals", words[0], "--runtime-directory", str(agent.directory), *words[1:]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
