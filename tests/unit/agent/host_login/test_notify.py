"""Tests how an operator hears of a first login that waits: real commands, and a mail server on loopback."""

import io
import json
import os
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest
import trustme
from fakes.smtp_server import SmtpServer

from sshaft.deadline import Deadline
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login import notify
from sshaft_agent.host_login.first_login.approvals import Approvals
from sshaft_agent.host_login.first_login.notify import Notifier, NotifyError
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_oidc.identity import Identity

OP = "https://op.example"
NOW = 2_000_000_000
APPEND = ("/bin/sh", "-c", 'cat >>"$0"')
"""Appends the facts to the file that is its argument."""


class Site:
    """The requests of a host, and what tells an operator of them."""

    def __init__(self, directory: Path) -> None:
        self.approvals = Approvals(directory, Bindings(directory))
        self.settings: CreateSettings | None = None
        self.now = NOW

    def ask(self, account: str = "newbie", **claims: Any) -> str:
        """Records a request. Returns its reference."""
        identity = Identity(OP, f"subject of {account}", claims, frozenset())
        request = self.approvals.request(account, identity, "", CreateSettings(approve=True), NOW)
        assert request is not None
        return request.reference

    def notifier(self, **way: Any) -> Notifier:
        self.settings = CreateSettings.model_validate_json(json.dumps({"approve": True, "notify": way}))
        return Notifier(self.approvals, lambda: self.settings, "web1", lambda: self.now)

    def untold(self) -> list[str]:
        return [each.account for each in self.approvals.untold(NOW)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def logged(events: io.StringIO, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in events.getvalue().splitlines()]
    return [each for each in found if each["event"] == name]


def test_command_gets_the_facts_of_each_request_once(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "told; touch here"
    reference = site.ask(name="New \x1b[2JBie", email="n@example.org", email_verified=True)
    notifier = site.notifier(command=[*APPEND, str(file)])
    notifier.work()
    site.ask("second")
    notifier.work()
    notifier.work()
    site.notifier(command=[*APPEND, str(file)]).work()  # the agent has restarted
    first, second = map(json.loads, file.read_text().splitlines())
    assert first == {
        "account": "newbie", "host": "web1", "state": "waiting", "reference": reference, "issuer": OP,
        "subject": "subject of newbie", "name": "New \\x1b[2JBie", "email": "n@example.org", "email_verified": True,
        "first_at": "2033-05-18T03:33:20+00:00", "last_at": "2033-05-18T03:33:20+00:00",
        "ends_at": "2033-06-17T03:33:20+00:00",
    }  # fmt: skip
    assert (second["account"], second["name"], second["email_verified"]) == ("second", "", False)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("settings", [None, CreateSettings(), CreateSettings(approve=True)])
def test_nobody_is_told_without_notify(site: Site, settings: CreateSettings | None) -> None:
    site.ask()
    notifier = site.notifier(command=["/bin/true"])
    site.settings = settings
    notifier.work()
    assert site.untold() == ["newbie"]


def test_request_that_a_command_refuses_keeps_no_other_one_back(
    site: Site, tmp_path: Path, events: io.StringIO
) -> None:
    """A person may have a name that a mail filter refuses."""
    tries = tmp_path / "tries"
    site.ask("bad")
    site.ask("good")
    script = 'echo >>"$0"; grep -q good || { printf "no\\033[2J"; exit 3; }'
    notifier = site.notifier(command=["/bin/sh", "-c", script, str(tries)])
    notifier.work()
    assert site.untold() == ["bad"]
    (failed,) = logged(events, "host_request.not_told")
    assert failed["message"] == r"/bin/sh ended with status 3: no\\x1b[2J"
    for site.now in range(NOW, NOW + 6 * 3600, 60):
        notifier.work()
    assert len(tries.read_text().splitlines()) == 2 + 6 + 4, "after 1, 3, 7, 15, 31, 63 minutes, and then each hour"


def test_full_disk_makes_no_flood(site: Site, tmp_path: Path) -> None:
    """The agent cannot write down that it has told the operator."""
    file = tmp_path / "file"
    site.ask()
    with closing(sqlite3.connect(tmp_path / "host-login.sqlite")) as database:
        database.execute("CREATE TRIGGER full BEFORE UPDATE ON requests BEGIN SELECT raise(ABORT, 'full'); END")
    notifier = site.notifier(command=[*APPEND, str(file)])
    for site.now in range(NOW, NOW + 60):
        with suppress(DatabaseError):
            notifier.work()
    assert len(file.read_text().splitlines()) == 1


def test_denied_request_is_not_told(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "file"
    site.ask("denied")
    site.approvals.deny("denied", "", NOW)
    site.ask("later")
    site.notifier(command=[*APPEND, str(file)]).work()
    assert [json.loads(line)["account"] for line in file.read_text().splitlines()] == ["later"]


def test_command_sees_nothing_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.example")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        said = run("env; pwd; ls /proc/self/fd | tr '\\n' ' '")
    finally:
        os.close(reading)
        os.close(writing)
    assert "secret" not in said
    assert "PATH=" in said
    assert said.endswith("0 1 2 3"), "ls itself has one"


def run(script: str, text: str = "{}", seconds: float = 30, *, is_stopping: bool = False) -> str:
    return notify.run(("/bin/sh", "-c", script), text, Deadline.after(seconds), lambda: is_stopping)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sleep 1000", "took too long"),
        ("exec >&- 2>&-; sleep 1000", "took too long"),
        ("yes", r"took too long: y\\x0ay.{400}"),
        ("exit 1", "status 1"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_command_that_fails_or_does_not_end_tells_nobody(script: str, why: str) -> None:
    with pytest.raises(NotifyError, match=why) as error:
        run(script, seconds=0.3 if "long" in why else 30)
    assert len(str(error.value)) < 700


def test_command_that_runs_ends_with_the_agent_and_with_its_children() -> None:
    started = time.monotonic()
    with pytest.raises(NotifyError, match="the agent stops"):
        run("sleep 1000 & echo $!; wait", is_stopping=True)
    assert time.monotonic() - started < 30


def test_children_of_a_command_end_with_it(tmp_path: Path) -> None:
    with pytest.raises(NotifyError):
        run(f"sleep 1000 & echo $! >{tmp_path}/pid; wait", seconds=1)
    pid = (tmp_path / "pid").read_text().strip()
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_command_that_leaves_a_service_behind_has_ended() -> None:
    assert run("sleep 3 & echo started") == "started"


def test_facts_that_no_command_reads_hold_nothing_up() -> None:
    assert run("exec <&-; echo done", text="x" * 1_000_000) == "done"


def test_command_that_is_missing_is_named() -> None:
    with pytest.raises(NotifyError, match=r"^/nowhere/mail cannot be started: "):
        notify.run(("/nowhere/mail",), "{}", Deadline.after(5), lambda: False)


HOSTILE = "Eve\r\nBcc: all@example.org\r\n.\r\nMAIL FROM:<x>\u202e\x1b[2J"


def test_email_tells_the_operator_what_to_do(site: Site) -> None:
    reference = site.ask(name=HOSTILE, email="\u00e9ve@example.org")
    with SmtpServer() as server:
        site.notifier(email="ops@example.org", smtp_port=server.port).work()
    ((sender, recipient, text),) = server.mails
    assert sender.startswith("FROM:<ops@example.org>")
    assert recipient == "TO:<ops@example.org>"
    mail = message_from_string(text, policy=policy.default)
    assert mail["Subject"] == "newbie waits for an account on web1"
    assert mail.keys() == [
        "From", "To", "Date", "Message-ID", "Auto-Submitted", "Subject", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version",
    ]  # fmt: skip
    lines = mail.get_content().splitlines()
    assert r"name     Eve\x0d\x0aBcc: all@example.org\x0d\x0a.\x0d\x0aMAIL FROM:<x>\u202e\x1b[2J" in lines
    assert "e-mail   \u00e9ve@example.org (not verified by the provider)" in lines
    assert f"    sshaft host accounts approve newbie --reference {reference}" in lines


@pytest.mark.parametrize(
    "answers", [{"": "554 go away"}, {"RCPT": "550 nobody"}, {"DATA": "451 spam"}, {"EHLO": "500", "HELO": "500"}]
)
def test_mail_server_that_refuses_is_asked_again(site: Site, answers: dict[str, str]) -> None:
    site.ask()
    with SmtpServer(answers=dict(answers)) as server:
        notifier = site.notifier(email="ops@example.org", smtp_port=server.port)
        notifier.work()
        assert site.untold() == ["newbie"]
        server.answers.clear()
        site.now += 60
        notifier.work()
    assert site.untold() == []
    assert len(server.mails) == 1


def test_mail_server_that_fails_after_it_has_the_email_gets_it_once(site: Site) -> None:
    site.ask()
    with SmtpServer(answers={"QUIT": "421 no"}) as server:
        site.notifier(email="ops@example.org", smtp_port=server.port).work()
    assert site.untold() == []
    assert len(server.mails) == 1


def test_mail_server_that_is_away_is_named(site: Site, events: io.StringIO) -> None:
    site.ask()
    with SmtpServer() as server:
        port = server.port
    site.notifier(email="ops@example.org", smtp_port=port).work()
    assert f"127.0.0.1:{port}: " in logged(events, "host_request.not_told")[0]["message"]


def test_mail_server_that_hangs_ends_with_the_agent(site: Site) -> None:
    site.ask()
    with SmtpServer(answers={"": None}) as server:
        notifier = site.notifier(email="ops@example.org", smtp_port=server.port)
        working = threading.Thread(target=notifier.work)
        working.start()
        wait_for(lambda: server.sessions)
        notifier.stop()
        working.join(30)
        assert not working.is_alive()
    assert site.untold() == ["newbie"]


def context_of(authority: trustme.CA, trouble: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("mail.example.org" if trouble == "another name" else "0.0.0.0").configure_cert(context)
    return context


@pytest.mark.parametrize("trouble", ["", "no STARTTLS", "another authority", "another name"])
def test_other_host_gets_no_email_without_a_certificate(site: Site, tmp_path: Path, trouble: str) -> None:
    """The address 0.0.0.0 leads to this host, and is none of loopback."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = context_of(trustme.CA() if trouble == "another authority" else authority, trouble)
    site.ask()
    with SmtpServer(None if trouble == "no STARTTLS" else context) as server:
        site.notifier(
            email="ops@example.org", sender="sshaft@example.org", smtp_host="0.0.0.0", smtp_port=server.port,
            ca_file=str(tmp_path / "ca.pem"),
        ).work()  # fmt: skip
    if trouble:
        assert (server.mails, site.untold()) == ([], ["newbie"])
        assert "MAIL" not in server.commands
    else:
        assert server.mails[0][0].startswith("FROM:<sshaft@example.org>")
