"""Tests `sshaft host accounts approve` and `list` against a running agent with first logins that wait."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.agent_process import AgentProcess
from process.test_host_commands import ISSUER, host

from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.first_login.approvals import Approvals
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_oidc.identity import Identity


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    config = tmp_path / "config.json"
    create = {"approve": True, "notify": {"command": ["/bin/sh", "-c", f"cat >>{tmp_path}/told; printf '\\033[2J'"]}}
    host_login = {
        "issuer": ISSUER, "client_id": "hosts", "allow": {"everyone": True}, "state_directory": str(tmp_path),
        "create": create,
    }  # fmt: skip
    config.write_text(json.dumps({"host_login": host_login}))
    wait(tmp_path, "newbie", "1")
    with AgentProcess(config, tmp_path / "run") as agent:
        yield agent


def wait(directory: Path, account: str, subject: str) -> str:
    """Records that a person waits, as the agent does. Returns the reference."""
    claims = {"name": f"Person \x1b[2J{subject}", "email": "n@example.org"}
    identity = Identity(ISSUER, subject, claims, frozenset())
    approvals, settings = Approvals(directory, Bindings(directory)), CreateSettings(approve=True, requests=5000)
    request = approvals.request(account, identity, "", settings, int(time.time()))
    assert request is not None
    return request.reference


def documented_members() -> list[set[str]]:
    """Returns the members of an account and of a person that waits, as docs/commands.md has them."""
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    parts = page.partition("`sshaft host accounts list` |")[2].partition("\n")[0].split(";")
    return [set(re.findall(r"`(\w+)`", part)) for part in parts]


def test_operator_sees_who_waits_and_approves(agent: AgentProcess) -> None:
    status, said = host(agent, "accounts", "list")
    line = said.splitlines()[1]
    assert line.startswith("newbie   waiting  1 ")
    assert line.endswith(r", Person \x1b[2J1, n@example.org (not verified)")
    (row,) = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert (row["account"], row["state"], row["name"]) == ("newbie", "waiting", "Person \x1b[2J1")
    (of_accounts, of_requests) = documented_members()
    assert of_requests <= set(row)
    status, said = host(agent, "accounts", "approve", "newbie")
    assert status == 0
    assert "The account newbie belongs to this person." in said
    (row,) = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert (row["account"], row["subject"], row["state"]) == ("newbie", "1", "active")
    assert of_accounts <= set(row)
    assert host(agent, "accounts", "approve", "newbie") == (65, "sshaft: nobody waits for newbie\n")


def test_operator_denies_and_changes_the_mind(agent: AgentProcess) -> None:
    status, said = host(agent, "accounts", "approve", "newbie", "--deny")
    assert (status, "This person is denied." in said) == (0, True)
    (row,) = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert row["state"] == "denied"
    assert host(agent, "accounts", "approve", "newbie")[0] == 65
    assert host(agent, "accounts", "approve", "newbie", "--reference", row["reference"])[0] == 0


def test_operator_chooses_one_of_several_people(agent: AgentProcess, tmp_path: Path) -> None:
    reference = wait(tmp_path, "newbie", "2")
    status, said = host(agent, "accounts", "approve", "newbie")
    assert (status, len(said.splitlines())) == (65, 3)
    assert "choose one by --reference" in said
    assert "\x1b" not in said
    assert host(agent, "accounts", "approve", "newbie", "--reference", "\x1b[2J")[0] == 65
    assert host(agent, "accounts", "approve", "newbie", "--reference", reference)[0] == 0
    status, said = host(agent, "accounts", "approve", "newbie")
    assert (status, "newbie belongs to another identity" in said) == (65, True)


def test_list_is_longer_than_one_message(agent: AgentProcess, tmp_path: Path) -> None:
    for i in range(60):
        wait(tmp_path, f"name{i:02}", f"subject {i} {'x' * 240}")
        Bindings(tmp_path).bind(f"bound{i:02}", ISSUER, f"{i} {'%' * 200}", datetime.now(UTC))
    rows = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert len(json.dumps(rows)) > 64 * 1024
    names = [f"{kind}{i:02}" for kind in ("bound", "name") for i in range(60)]
    assert [row["account"] for row in rows] == [*names, "newbie"]


def test_command_that_runs_ends_with_the_agent(agent: AgentProcess, tmp_path: Path) -> None:
    agent.event("host_request.told", 30)
    wait(tmp_path, "second", "2")
    config = json.loads(agent.config.read_text())
    config["host_login"]["create"]["notify"] = {
        "command": ["/bin/sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 1000"]
    }
    agent.config.write_text(json.dumps(config))
    with AgentProcess(agent.config, tmp_path / "second") as second:
        wait_for((tmp_path / "pid").exists)
        assert second.stop() == 0
    wait_for(lambda: not Path("/proc", (tmp_path / "pid").read_text().strip()).exists())


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_operator_is_told_after_a_restart_of_the_agent(agent: AgentProcess, tmp_path: Path) -> None:
    assert agent.event("host_request.told", 30)["output"] == r"\\x1b[2J"
    (told,) = map(json.loads, (tmp_path / "told").read_text().splitlines())
    assert (told["account"], told["name"], told["host"]) == ("newbie", "Person \\x1b[2J1", os.uname().nodename)
    assert "\x1b" not in agent.output
