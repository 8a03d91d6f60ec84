"""Tests the report for people and the report as JSON."""

import json
from pathlib import Path

import pytest

import sshaft
from sshaft.__main__ import main
from sshaft_doctor.findings import error, needs_root, note, ok, report, summary, warning

Capture = pytest.CaptureFixture[str]

FINDINGS = [
    ok("keys.dry_run", "run as sshd would"),
    error("sshd.usepam", "what", "/etc/ssh/sshd_config:7", "UsePAM no"),
    warning("sshd.x", "odd"),
    note("path.x", "fine"),
]


def test_report_is_grouped_with_the_remedy_below_its_finding() -> None:
    assert report(FINDINGS).split("\n") == [
        "sshd's settings",
        "  ERROR    what  (/etc/ssh/sshd_config:7)",
        "           -> UsePAM no",
        "  warning  odd",
        "the keys command",
        "  ok       run as sshd would",
        "files and folders",
        "  note     fine",
        "1 error, 1 warning, 1 note, 1 ok",
    ]


def test_summary_counts_the_findings() -> None:
    assert summary([]) == "0 errors, 0 warnings, 0 notes, 0 ok"
    assert summary([*FINDINGS, *FINDINGS]) == "2 errors, 2 warnings, 2 notes, 2 ok"


def test_outside_text_cannot_move_the_cursor() -> None:
    text = report([error("sshd.x", "a\x1b[2J\nb", "c\r", "d\x07")])
    assert text.replace("\n", "").isprintable()
    assert len(text.split("\n")) == 4


def test_finding_says_that_a_check_needs_root() -> None:
    found = needs_root("path.x", "this")
    assert found.what.startswith("not checked: this ")
    assert found.remedy.startswith("run sshaft doctor as ")


def test_configuration_that_cannot_be_read_is_an_error_as_text_and_as_json(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["doctor", "--sshd", str(tmp_path / "sshd"), "--sshd-config", str(tmp_path / "none")]
    assert main(arguments) == 78
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("2 errors, 0 warnings, 0 notes, 0 ok\n")
    assert main([*arguments, "--json"]) == 78
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["openssh"]) == (sshaft.__version__, None)
    assert [finding["check"] for finding in told["findings"]] == ["sshd.version", "sshd.config"]
    assert {finding["severity"] for finding in told["findings"]} == {"error"}
    assert set(told["findings"][0]) == {"check", "severity", "what", "where", "remedy"}


def test_files_are_read_without_sshd_and_a_finding_says_so(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "sshd_config"
    path.write_text(
        "AuthorizedKeysFile none\nLogLevel VERBOSE\nAuthorizedKeysCommand /no/sshaft-keys --agent /no/keys/agent.sock\n"
    )
    assert main(["doctor", "--sshd", str(tmp_path / "sshd"), "--sshd-config", str(path), "--json"]) == 78
    found = {f["check"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert found["sshd.effective"]["what"].startswith("read from the files instead")
    assert found["sshd.loglevel"]["where"] == f"{path}:2"
    assert "sshd.authorizedkeysfile" not in found
    assert found["path.command"]["severity"] == "error"
    assert "lacks --fingerprint and --type and --key" in found["sshd.keys_command"]["what"]
