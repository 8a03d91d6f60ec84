"""Lets people log in by a real ssh while strangers try to use up the identity service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
CONNECTIONS = 2000
MOST_MB = 300
MOST_DESCRIPTORS = 2300
"""docs/operating.md names both figures."""


def figures(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.load.attackers", "--connections", str(CONNECTIONS), "--logins", "2", name]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.root  # an ordinary user cannot look into the agent
@pytest.mark.parametrize(
    "name", ["pipelining_behind_a_stream", "slow_headers", "slow_bodies", "event_streams", "cancelled_streams"]
)
def test_people_log_in_while_strangers_hold_all_they_can(name: str) -> None:
    """Findings S6 and S8: memory and descriptors ran out, and no login passed."""
    found = figures(name)
    assert found["passed"] == found["logins"]
    assert found["identity"]["memory_mb"] < MOST_MB
    assert found["identity"]["descriptors"] < MOST_DESCRIPTORS
