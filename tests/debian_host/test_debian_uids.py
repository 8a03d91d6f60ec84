"""Tests accounts with the same uid on every host, by a claim and by a shared file, and with the shell of a role.

sshd has heard of another uid or shell at the first connection with a claim or such a role. So this connection opens
nothing, and the next one does.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from debian_host.chroot import SUITES, log_in
from debian_host.first_login import FirstLogins, first_logins

READY = "Your account on this host is ready. Log in again"
ROLES = [{"claims": {"team": ["web"]}, "shell": "/bin/sh"}]
ACCOUNTS = {"uid_first": 20000, "uid_last": 29999, "shells": ["/bin/sh"]}
OPTIONS = ("-o", "PubkeyAuthentication=no")


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[FirstLogins]:
    with first_logins(request.param, {"uid": {"claim": "uidNumber"}}, policy=ACCOUNTS, roles=ROLES) as made:
        yield made


def first_connection(debian: FirstLogins, user: str, *more: str, **claims: Any) -> str:
    """Logs in for the first time, and then tries again in the same connection. Returns what ssh shows."""
    terminal = debian.ssh("echo in", user=user, options=(*OPTIONS, *more))
    said = ""
    for _ in range(2):
        debian.provider.answer(debian.code_at(terminal), user=user, **claims)
        terminal.type("\n")
        said = terminal.wait_for("Press Enter to go on")
        terminal.type("\n")
    terminal.type("\x03")
    ended, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said + ended
    return said


def test_claim_gives_the_uid_from_the_second_connection_on(debian: FirstLogins) -> None:
    said = first_connection(debian, "newbie", uidNumber=20042)
    assert READY in said, debian.place.log("agent")
    assert debian.uid_of("newbie") == "20042"
    assert log_in(debian, "id -u; id -g; touch file; stat -c %u file", user="newbie", uidNumber=20042).split() == [
        "20042",
        "20042",
        "20042",
    ]
    assert debian.ssh("id -u", options=debian.certificate("newbie"), user="newbie").end() == ("20042\r\n", 0)


def test_role_gives_the_shell_from_the_second_connection_on(debian: FirstLogins) -> None:
    said = first_connection(debian, "webster", uidNumber=20043, team="web")
    assert READY in said, debian.place.log("agent")
    assert log_in(debian, "echo $0", user="webster", uidNumber=20043).strip() in ("sh", "/bin/sh")


def test_uid_of_somebody_else_makes_no_account(debian: FirstLogins) -> None:
    first_connection(debian, "first", uidNumber=20100)
    for uid in (20100, 0, 1000, 70000, 30000):
        terminal = debian.ssh("echo in", user="second", options=OPTIONS)
        debian.provider.answer(debian.code_at(terminal), user="second", uidNumber=uid)
        terminal.type("\n")
        assert "could not be made" in terminal.wait_for("Press Enter to go on")
        terminal.type("\n\x03")
        assert terminal.end()[1] != 0
    assert debian.uid_of("second") is None


def test_file_gives_the_same_uid_on_two_hosts_at_the_first_login() -> None:
    with ExitStack() as opened:
        share = Path(opened.enter_context(TemporaryDirectory()))
        share.chmod(0o755)
        (share / "uids.json").write_text('{"newbie": 20042, "colleague": 20043}')
        create = {"uid": {"file": str(share / "uids.json")}, "uid_first": 20000, "uid_last": 29999}
        for suite in SUITES:
            debian = opened.enter_context(first_logins(suite, create, policy=ACCOUNTS))
            home = debian.root / "home" / "newbie"
            home.mkdir()
            (home / "file").write_text("old")
            os.chown(home, 20042, 20042)
            said = log_in(debian, "id -u; id -g; cat file", user="newbie").split()
            assert said == ["20042", "20042", "old"]
            assert debian.ssh("true", options=(*OPTIONS, "-o", "BatchMode=yes"), user="stranger").end()[1] != 0
            assert debian.uid_of("stranger") is None
