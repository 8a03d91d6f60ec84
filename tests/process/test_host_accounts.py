"""Tests `sshaft host accounts` against a running agent, and a small server in place of sshaft-accounts."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes.agent_process import AgentProcess
from fakes.unix_server import UnixServer, read_question
from process.test_host_commands import ISSUER, NOTHING, host

from sshaft import messages

CREATED = {"uid": "70000", "home": "/home/newbie", "shell": "/bin/bash"}


class Accounts:
    """Answers in place of sshaft-accounts. `refuses` has a reason for each kind of request that it refuses."""

    def __init__(self) -> None:
        self.refuses: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def answer(self, connection: socket.socket) -> None:
        kind, fields = read_question(connection)
        self.asked.append((kind, fields))
        reason = self.refuses.get(kind)
        connection.sendall(
            messages.encode("refused", {"reason": reason}) if reason else messages.encode("done", CREATED)
        )

    def taken(self) -> list[tuple[str, dict[str, str]]]:
        """Returns the requests since the last call."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def helper() -> Accounts:
    return Accounts()


@pytest.fixture
def agent(tmp_path: Path, helper: Accounts) -> Iterator[AgentProcess]:
    """Yields an agent to which newbie's account is known."""
    config = tmp_path / "config.json"
    create = {"socket": str(tmp_path / "accounts.sock"), "pam_file": str(tmp_path / "pam")}
    (tmp_path / "pam").write_text("account required pam_sshaft.so break_glass=rescue\n")
    host_login = {
        "issuer": ISSUER, "client_id": "hosts", "allow": {"everyone": True}, "state_directory": str(tmp_path),
        "create": create,
    }  # fmt: skip
    config.write_text(json.dumps({"host_login": host_login}))
    with UnixServer(tmp_path / "accounts.sock", helper.answer), AgentProcess(config, tmp_path / "run") as agent:
        assert host(agent, "accounts", "bind", "newbie", ISSUER, "1")[0] == 0
        yield agent


def listed(agent: AgentProcess) -> str:
    return host(agent, "accounts", "list")[1]


def test_operator_suspends_and_resumes_an_account(agent: AgentProcess, helper: Accounts) -> None:
    said = host(agent, "accounts", "suspend", "newbie", "--reason", "left \x1b[2J")
    assert said == (0, "newbie is suspended: new logins are refused, and its sessions end.\n")
    assert helper.taken() == [("lock", {"user": "newbie", "sessions": "end"})]
    assert "CLOSED: the account is suspended by operator: left \\x1b[2J" in listed(agent)
    (row,) = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert (row["account"], row["state"], row["is_managed"]) == ("newbie", "suspended", True)
    assert host(agent, "accounts", "resume", "newbie", "--expires", "2090-01-31") == (
        0,
        "newbie is open until 2090-01-31, 00:00 UTC.\n",
    )
    assert helper.taken() == [("unlock", {"user": "newbie", "expires": "2090-01-31"})]
    assert "  2090-01-31T00:00:00+00:00  " in listed(agent)
    assert "CLOSED" not in listed(agent)


def test_operator_reads_what_is_left_to_do(agent: AgentProcess, helper: Accounts) -> None:
    helper.refuses["lock"] = "user: not an account of this program"
    status, said = host(agent, "accounts", "suspend", "newbie")
    assert status == 65
    assert "newbie is suspended: new logins are refused.\n" in said
    assert "sshaft host accounts adopt newbie" in said


def test_operator_hears_that_break_glass_stays_open(agent: AgentProcess, helper: Accounts) -> None:
    helper.refuses["lock"] = "user: not an account of this program"
    host(agent, "accounts", "bind", "rescue", ISSUER, "2")
    assert (
        "The agent refuses no login to the account, because break_glass"
        in host(agent, "accounts", "suspend", "rescue")[1]
    )


@pytest.mark.parametrize(
    "words", [("suspend", "root"), ("resume", "unknown-to-all"), ("remove", "../x"), ("groups", "", "--add=adm")]
)
def test_nothing_changes_for_root_and_for_names_that_nobody_has(
    agent: AgentProcess, helper: Accounts, words: tuple[str, ...]
) -> None:
    assert host(agent, "accounts", *words)[0] == 65
    assert helper.asked == []
    assert len(listed(agent).splitlines()) == 2


@pytest.mark.parametrize("expires", ["tomorrow", "20900131"])
def test_expiry_is_a_day(agent: AgentProcess, helper: Accounts, expires: str) -> None:
    status, said = host(agent, "accounts", "resume", "newbie", "--expires", expires)
    assert (status, "such as 2030-01-31" in said, helper.asked) == (65, True, [])


def test_account_that_has_expired_is_not_resumed_without_a_new_expiry(agent: AgentProcess) -> None:
    host(agent, "accounts", "resume", "newbie", "--expires", "2020-01-01")
    status, said = host(agent, "accounts", "resume", "newbie")
    assert (status, "give --expires too" in said) == (65, True)
    assert host(agent, "accounts", "resume", "newbie", "--expires", "never")[0] == 0


def test_groups_are_changed_by_sshaft_accounts(agent: AgentProcess, helper: Accounts) -> None:
    assert host(agent, "accounts", "groups", "newbie", "--add", "adm", "--add", "ops", "--remove", "old")[0] == 0
    assert helper.taken() == [("groups", {"user": "newbie", "add": "adm,ops", "remove": "old"})]
    helper.refuses["groups"] = "groups: not allowed: adm"
    status, said = host(agent, "accounts", "groups", "newbie", "--add", "adm")
    assert (status, "groups: not allowed: adm" in said) == (65, True)
    assert host(agent, "accounts", "groups", "newbie")[0] == 64


def test_removed_account_is_forgotten(agent: AgentProcess, helper: Accounts) -> None:
    assert host(agent, "accounts", "remove", "newbie")[0] == 0
    assert [kind for kind, _ in helper.taken()] == ["lock", "lock", "remove"]
    assert listed(agent) == NOTHING


def test_account_that_is_not_on_the_host_any_more_is_forgotten(agent: AgentProcess, helper: Accounts) -> None:
    """An operator's userdel was faster."""
    helper.refuses |= {"lock": "user: somebody else has removed or replaced this account", "remove": "user: not ours"}
    assert host(agent, "accounts", "remove", "newbie")[0] == 0
    assert listed(agent) == NOTHING


def test_account_of_others_is_not_removed(agent: AgentProcess, helper: Accounts) -> None:
    """The host has this account, and sshaft-accounts may not change it."""
    helper.refuses["lock"] = "user: not an account of this program"
    host(agent, "accounts", "bind", "nobody", ISSUER, "2")
    assert host(agent, "accounts", "remove", "nobody")[0] == 65
    assert [kind for kind, _ in helper.taken()] == ["lock"]
    assert listed(agent).splitlines()[2].startswith("nobody ")
    assert "CLOSED" not in listed(agent)


def test_account_whose_processes_go_on_stays_closed(agent: AgentProcess, helper: Accounts) -> None:
    helper.refuses["remove"] = "user: processes of this account are running"
    host(agent, "accounts", "bind", "nobody", ISSUER, "2")
    status, said = host(agent, "accounts", "remove", "nobody")
    assert (status, "The account is suspended. Run the command again" in said) == (65, True)
    assert "CLOSED: the account is suspended by operator: its removal has begun" in listed(agent)


def test_adopted_account_is_asked_for_over_the_socket_of_sshaft_accounts(
    agent: AgentProcess, helper: Accounts, tmp_path: Path
) -> None:
    words = ("accounts", "adopt", "newbie", "--socket", str(tmp_path / "accounts.sock"))
    assert host(agent, *words) == (0, "sshaft-accounts may change newbie from now on.\n")
    assert helper.taken() == [("adopt", {"user": "newbie"})]
    helper.refuses["adopt"] = "uid: reserved \x1b[2J"
    status, said = host(agent, *words)
    assert (status, "uid: reserved" in said, "\x1b" in said) == (65, True, False)
    assert json.loads(host(agent, "accounts", "list", "--json")[1])[0]["is_managed"] is True


def test_list_has_all_accounts_of_a_large_host(agent: AgentProcess, tmp_path: Path) -> None:
    """One message holds the 64 KiB of about a hundred accounts."""
    people = [(f"user{i:03}", "", ISSUER, "s" * 500, "2030-01-02T03:04:05+00:00") for i in range(250)]
    people += [("shared", f"person{i}", ISSUER, str(i), "2030-01-02T03:04:05+00:00") for i in range(50)]
    with closing(sqlite3.connect(tmp_path / "host-login.sqlite")) as database, database:
        database.executemany("INSERT INTO bindings VALUES (?, ?, ?, ?, ?)", people)
    listed = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert sorted((row["account"], row["person"]) for row in listed) == sorted(
        [("newbie", ""), *((account, person) for account, person, *_ in people)]
    )
