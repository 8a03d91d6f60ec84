"""Tests what the doctor says of `recheck`: the account line, and what the provider publishes of refresh tokens."""

import json
from pathlib import Path
from typing import Any

import pytest

from sshaft_doctor.findings import Severity
from sshaft_doctor.host_login import provider, recheck_checks
from sshaft_doctor.host_login.pam_stack import Line, Stack

BOTH = {"grant_types_supported": ["refresh_token"], "scopes_supported": ["openid", "offline_access"]}


@pytest.mark.parametrize(
    ("recheck", "metadata", "findings"),
    [
        ({}, {}, 0),
        ({}, BOTH, 0),
        ({}, BOTH | {"grant_types_supported": ["authorization_code"]}, 1),
        ({}, BOTH | {"scopes_supported": ["openid"]}, 1),
        ({"offline_access": False}, BOTH | {"scopes_supported": ["openid"]}, 0),
        ({}, {"grant_types_supported": [], "scopes_supported": []}, 2),
        ({}, {"grant_types_supported": 7, "scopes_supported": None}, 0),
        ([], BOTH, 0),
    ],
)
def test_provider_that_lists_no_refresh_tokens_has_a_finding(recheck: Any, metadata: Any, findings: int) -> None:
    found = recheck_checks.examine_metadata(recheck, metadata, "https://op.example")
    assert [each.severity for each in found] == [Severity.WARNING] * findings
    assert all(each.remedy for each in found)


@pytest.mark.parametrize(("kinds", "findings"), [(["auth"], 1), (["auth", "account"], 0)])
def test_stack_without_the_account_line_leaves_keys_to_people_who_left(kinds: list[str], findings: int) -> None:
    file = Path("/etc/pam.d/sshd")
    lines = tuple(Line(file, number, kind, {}, "pam_sshaft.so") for number, kind in enumerate(kinds))
    assert len(recheck_checks.examine_stack(Stack(lines, (file,)))) == findings


@pytest.mark.parametrize(("members", "is_rechecked"), [({}, False), ({"recheck": {"every": "12h"}}, True)])
def test_configuration_says_whether_people_are_checked(tmp_path: Path, members: Any, *, is_rechecked: bool) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"host_login": {"issuer": "file:///nowhere"} | members}))
    assert provider.read_and_ask(path)["is_rechecked"] is is_rechecked
