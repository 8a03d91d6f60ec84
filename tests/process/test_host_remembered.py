"""Tests `sshaft host approvals` against a running agent, which reports to a small server on loopback."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.agent_process import PROGRAM, AgentProcess
from fakes.approval_server import ApprovalServer
from fakes.identity_server import CLIENT_ID, ERROR
from process.test_handover import successor

from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.remembered.entries import Circumstances, Entry, machine_id, origin_of
from sshaft_agent.host_login.remembered.store import Store

SUBJECT = "id-of-\x1b[2Jalice"


@dataclass
class Host:
    """A running agent whose database has an approval of alice and one of bob."""

    service: ApprovalServer
    agent: AgentProcess

    def approvals(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*PROGRAM, "host", "approvals", words[0], "--runtime-directory", str(self.agent.directory), *words[1:]],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def ids(self) -> list[str]:
        return [row["id"] for row in json.loads(self.approvals("list", "--json")[1])]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with ApprovalServer() as service, AgentProcess(write_config(tmp_path, service), tmp_path / "run") as agent:
        yield Host(service, agent)


def write_config(directory: Path, service: ApprovalServer) -> Path:
    """Writes config.json, and the database with what agents have remembered at logins."""
    remember(directory, service.url)
    config = directory / "config.json"
    host_login = {"approval": service.settings(remember="12h"), "state_directory": str(directory)}
    config.write_text(json.dumps({"host_login": host_login}))
    config.chmod(0o600)
    return config


def remember(directory: Path, url: str) -> None:
    bindings, store, now = Bindings(directory), Store(directory), int(time.time())
    origin = origin_of(socket.gethostname(), machine_id(), url, CLIENT_ID, "user")
    for name, account, key in (("a1", "alice", "SHA256:1"), ("b1", "bob", "SHA256:2")):
        bindings.bind(account, url, SUBJECT, datetime.fromtimestamp(now, UTC))
        login = Circumstances(account, "sshd", "192.0.2.7", key)
        store.add(Entry(name, f"approval-{name}", origin, login, url, SUBJECT, {}, now, now + 3600, now))


def test_operator_lists_what_is_remembered_and_why_it_does_not_count(host: Host) -> None:
    status, said = host.approvals("list")
    headings, first, second = said.splitlines()
    assert status == 0
    assert headings.split()[:5] == ["ID", "ACCOUNT", "SERVICE", "NETWORK", "KEY"]
    assert first.split()[:5] == ["a1", "alice", "sshd", "192.0.2.7", "SHA256:1"]
    assert first.rstrip().endswith(r"id-of-\x1b[2Jalice  counts")
    assert second.split()[1] == "bob"
    rows = json.loads(host.approvals("list", "--json")[1])
    assert (rows[0]["approval"], rows[0]["subject"], rows[0]["fault"]) == ("approval-a1", SUBJECT, None)
    assert documented_members() == set(rows[0])


def documented_members() -> set[str]:
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    return set(re.findall(r"`(\w+)`", page.partition("`sshaft host approvals list` |")[2].partition("\n")[0]))


def test_operator_removes_one_those_of_an_account_or_all(host: Host) -> None:
    host.service.wait_for_report(2)
    assert host.approvals("remove", "a1") == (0, "1 remembered approval removed.\n")
    host.service.wait_for_report(1)
    assert host.approvals("remove", "a1") == (65, "sshaft: no such approval is remembered: a1\n")
    assert host.approvals("remove", "--account", "bob")[0] == 0
    assert host.approvals("remove", "--account", "\x1b[2J") == (
        65,
        "sshaft: no such approval is remembered: \\x1b[2J\n",
    )
    host.service.wait_for_report(0)
    assert host.approvals("list") == (0, "No approval is remembered.\n")
    assert host.approvals("remove", "--all") == (0, "0 remembered approvals removed.\n")


@pytest.mark.parametrize("words", [(), ("a1", "--all"), ("a1", "--account", "alice"), ("--all", "--account", "alice")])
def test_command_that_leaves_open_what_to_remove_removes_nothing(host: Host, words: tuple[str, ...]) -> None:
    status, said = host.approvals("remove", *words)
    assert status == 64
    assert "Give ID, --account or --all." in said
    assert "a1" in host.ids()


def test_list_says_that_the_reports_fail(tmp_path: Path) -> None:
    with ApprovalServer() as service:
        service.replies["/api/v1/approvals/report"] = ERROR
        with AgentProcess(write_config(tmp_path, service), tmp_path / "run") as agent:
            assert (
                "does not count: the reports to the identity service fail" in Host(service, agent).approvals("list")[1]
            )
            assert agent.event("host_report.down")["level"] == "error"


def test_successor_of_the_agent_reports_and_counts_the_same(host: Host) -> None:
    host.service.wait_for_report(2)
    host.service.reports.clear()
    with successor(host.agent):
        assert len(host.service.wait_for_report(2)) == 2
        assert host.approvals("list")[1].count("  counts") == 2
        assert host.approvals("remove", "--all")[0] == 0
        host.service.wait_for_report(0)
