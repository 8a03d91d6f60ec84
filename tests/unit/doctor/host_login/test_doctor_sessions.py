"""Tests what the doctor says where the agent does not hear of sessions, or cannot have them ended."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from sshaft_doctor.host_login import pam_stack, provider, session_checks
from sshaft_doctor.host_login.create import Create

AUTH = "auth [success=done ignore=ignore default=die] pam_sshaft.so timeout=280\n"
SESSION = "session optional pam_sshaft.so\n"


@pytest.mark.parametrize(("approval", "reports"), [(None, False), ({"url": "https://id"}, True), ("x", False)])
def test_sessions_are_reported_where_approvals_are_in_use(tmp_path: Path, approval: Any, reports: bool) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"host_login": {"approval": approval}}))
    assert provider.read_and_ask(config)["reports"] is reports


@pytest.mark.parametrize("line", ["", SESSION])
@pytest.mark.parametrize("listens", [False, True])
def test_missing_line_and_missing_helper_are_named(tmp_path: Path, line: str, listens: bool) -> None:
    (tmp_path / "sshd").write_text(AUTH + line)
    path = tmp_path / "accounts.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        if listens:
            listening.bind(str(path))
        found = session_checks.examine(pam_stack.read("sshd", [tmp_path]), Create(socket=str(path)))
    places = [each.where for each in found]
    assert places == ([] if line else [str(tmp_path / "sshd")]) + ([] if listens else [str(path)])
    assert all(each.remedy for each in found)
