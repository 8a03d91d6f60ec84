"""Tests what the doctor says of remembered approvals where sshd asks for no key."""

import json
from pathlib import Path
from typing import Any

import pytest

from sshaft_doctor.effective import parse
from sshaft_doctor.findings import Severity
from sshaft_doctor.host_login import provider, remember_checks

AFTER_KEY = "publickey,keyboard-interactive:pam"


@pytest.mark.parametrize(
    ("approval", "mode"),
    [
        (None, "off"),
        ({}, "off"),
        ({"remember": None, "remember_without_key": True}, "off"),
        ({"remember": "12h"}, "keys"),
        ({"remember": "12h", "remember_without_key": True}, "everybody"),
        ("no object", "off"),
    ],
)
def test_whose_approvals_are_remembered_stands_in_config_json(tmp_path: Path, approval: Any, mode: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"host_login": {"approval": approval}}))
    assert provider.read_and_ask(config)["remember"] == mode


@pytest.mark.parametrize(
    ("mode", "methods", "severity"),
    [
        ("off", "any", None),
        ("keys", AFTER_KEY, None),
        ("everybody", AFTER_KEY, None),
        ("keys", "publickey", None),
        ("keys", "any", Severity.NOTE),
        ("keys", "keyboard-interactive:pam", Severity.NOTE),
        ("keys", "keyboard-interactive:pam,publickey", Severity.NOTE),
        ("everybody", "any", Severity.WARNING),
        ("everybody", f"{AFTER_KEY} keyboard-interactive:pam", Severity.WARNING),
    ],
)
def test_login_without_a_key_is_named(mode: str, methods: str, severity: Severity | None) -> None:
    found = remember_checks.examine(mode, parse(f"authenticationmethods {methods}"))
    assert [each.severity for each in found] == ([] if severity is None else [severity])
    assert all(each.remedy for each in found)
