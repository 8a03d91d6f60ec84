"""Tests the run of the keys command: its environment, and the finding about its result."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from sshaft import public_key
from sshaft_doctor import accounts, dry_run
from sshaft_doctor.dry_run import Run, judge
from sshaft_doctor.findings import Severity

KEY = dry_run.throwaway_key()
ME = accounts.of_uid(os.geteuid())
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), os.read(0, 9).decode()]))"


def test_command_gets_the_environment_of_sshd_and_no_more() -> None:
    done = dry_run.run([sys.executable, "-I", "-c", SHOW, "a b"], ME, {})
    words, environment, folder, stdin = json.loads(done.output)
    assert (done.status, words, folder, stdin) == (0, ["a b"], "/", "")
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "USER": ME.name, "LOGNAME": ME.name, "HOME": ME.home
    }  # fmt: skip


def test_hanging_command_is_ended_with_its_child_processes(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    program = f"(sleep 100 & echo $! >{mark}; wait) & echo early; sleep 100"
    began = time.monotonic()
    done = dry_run.run(["/bin/sh", "-c", program], ME, {}, deadline=1.0)
    assert (done.status, done.output) == (None, "early\n")
    assert time.monotonic() - began < 60
    child = Path("/proc") / mark.read_text().strip()
    end = time.monotonic() + 30
    while child.exists() and "Z" not in (child / "stat").read_text().split()[2]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_missing_command_has_status_127_as_under_sshd(tmp_path: Path) -> None:
    assert dry_run.run([str(tmp_path / "none")], ME, {}).status == 127


def test_throwaway_keys_are_well_formed_and_all_different() -> None:
    one, other = dry_run.throwaway_key(), dry_run.throwaway_key()
    assert one.fingerprint != other.fingerprint
    assert public_key.parse(str(one)) == one


def test_tokens_are_replaced_by_those_of_the_throwaway_key(tmp_path: Path) -> None:
    told = tmp_path / "told"
    words = ["/bin/sh", "-c", f'printf "%s\\n" "$@" >{told}', "x", "--f=%f", "%t", "%k", "%u%%"]
    # sshd and the doctor take sh's own %s for a token
    words[2] = words[2].replace("%s", "%%s")
    (found,) = dry_run.examine(words, None, ME)
    fingerprint, kind, key, user = told.read_text().splitlines()
    parsed = public_key.from_blob(kind, key)
    assert (fingerprint, user) == (f"--f={parsed.fingerprint}", "mfa%")
    assert found.severity == Severity.OK


@pytest.mark.parametrize(
    ("run", "severity", "word"),
    [
        (Run(0, 0.1), Severity.OK, "status 0"),
        (Run(0, 2.5), Severity.WARNING, "took 2.50 s"),
        (Run(0, 0.1, output="ssh-ed25519 AAAA"), Severity.ERROR, "a key that nobody has"),
        (Run(69, 0.1, said='{"event": "keys.failed"}\nsecond line'), Severity.ERROR, 'as no keys; it said: {"event'),
        (Run(3, 0.1), Severity.ERROR, "ended with status 3;"),
        (Run(127, 0.1), Severity.ERROR, "its interpreter"),
        (Run(-9, 0.1), Severity.ERROR, "ended with signal 9"),
        (Run(None, 10.0), Severity.ERROR, "did not end in 10 s"),
    ],
)  # fmt: skip
def test_every_result_of_a_run_is_one_finding(run: Run, severity: Severity, word: str) -> None:
    found = judge(run, "_sshaft-keys", KEY)
    assert (found.check, found.severity, found.where) == ("keys.dry_run", severity, "as _sshaft-keys")
    assert word in found.what
    assert "second line" not in found.what


def test_output_of_a_command_is_escaped_for_the_terminal() -> None:
    assert "\x1b" not in judge(Run(1, 0.1, said="\x1b[2Jgone"), "x", KEY).what
    assert "\x1b" not in judge(Run(0, 0.1, output="\x1b[2Jgone"), "x", KEY).what


ENROLMENT = f'restrict,pty,command="/sshaft/login --agent /run/s --ticket Ab-_1" {KEY}'


def test_line_of_an_open_invitation_is_no_error() -> None:
    """Finding U6: while an invitation is open, every unknown key gets a line that can present its code."""
    found = judge(Run(0, 0.1, output=ENROLMENT + "\n"), "x", KEY)
    assert found.severity == Severity.OK
    assert "an invitation is open" in found.what


@pytest.mark.parametrize(
    "output",
    [
        ENROLMENT.replace("restrict,", ""),
        ENROLMENT.replace(str(KEY), str(dry_run.throwaway_key())),
        ENROLMENT.replace(" --ticket Ab-_1", ""),
        f"{ENROLMENT}\n{ENROLMENT}",
        str(KEY),
    ],
    ids=["no restrict", "another key", "no ticket", "two lines", "no options"],
)
def test_any_other_line_for_a_key_that_nobody_has_is_an_error(output: str) -> None:
    """Finding U6."""
    assert judge(Run(0, 0.1, output=output + "\n"), "x", KEY).severity == Severity.ERROR


def test_command_that_is_closed_to_its_account_has_a_remedy_that_helps() -> None:
    """Finding N10: the advice was the agent's status and log, which say nothing about this."""
    found = judge(Run(127, 0.1, said="Permission denied"), "_sshaft-keys", KEY)
    assert "closed to the account" in found.what
    assert found.remedy.startswith("sshaft install-commands ")
