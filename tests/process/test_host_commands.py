"""Tests `sshaft host` against a running agent: accounts of identities, and explanations of a decision."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.agent_process import PROGRAM, AgentProcess

ISSUER = "https://op.example"
NOTHING = "No account belongs to an identity, and nobody waits.\n"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """Returns an agent that lets members of the group g1 in."""
    config = tmp_path / "config.json"
    host_login = {
        "issuer": ISSUER, "client_id": "hosts", "allow": {"groups": ["g1"]}, "state_directory": str(tmp_path),
        "uid_claim": "uid",
    }  # fmt: skip
    config.write_text(json.dumps({"host_login": host_login}))
    with AgentProcess(config, tmp_path / "run") as agent:
        yield agent


def host(agent: AgentProcess, *words: str, stdin: str = "") -> tuple[int, str]:
    """Runs `sshaft host` and returns its exit status and what it wrote."""
    group, *rest = words
    own = ["accounts", rest.pop(0)] if group == "accounts" else [group]
    done = subprocess.run(
        [*PROGRAM, "host", *own, "--runtime-directory", str(agent.directory), *rest],
        input=stdin, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_operator_gives_takes_and_lists_accounts(agent: AgentProcess) -> None:
    assert host(agent, "accounts", "list") == (0, NOTHING)
    assert host(agent, "accounts", "bind", "alice", ISSUER, "1") == (0, f"alice belongs to 1 of {ISSUER}.\n")
    assert host(agent, "accounts", "bind", "alice", ISSUER, "1")[0] == 0
    status, said = host(agent, "accounts", "bind", "alice", ISSUER, "2")
    assert (status, "alice belongs to another identity: sshaft host accounts unbind alice" in said) == (65, True)
    (listed,) = json.loads(host(agent, "accounts", "list", "--json")[1])
    assert (listed["account"], listed["issuer"], listed["subject"]) == ("alice", ISSUER, "1")
    headings, line = host(agent, "accounts", "list")[1].splitlines()
    assert headings.startswith("ACCOUNT  STATE")
    assert line.split()[0::2][:2] == ["alice", "1"]
    assert host(agent, "accounts", "unbind", "alice")[0] == 0
    assert host(agent, "accounts", "unbind", "alice") == (65, "sshaft: alice belongs to no identity.\n")


def test_foreign_text_reaches_the_terminal_escaped(agent: AgentProcess) -> None:
    assert host(agent, "accounts", "bind", "alice", ISSUER, "\x1b[2J") == (
        0,
        f"alice belongs to \\x1b[2J of {ISSUER}.\n",
    )
    assert "\x1b" not in host(agent, "accounts", "list")[1]


@pytest.mark.parametrize(
    "words", [("bind", "", ISSUER, "1"), ("bind", "alice", "", "1"), ("bind", "alice", ISSUER, "")]
)
def test_binding_needs_all_its_parts(agent: AgentProcess, words: tuple[str, ...]) -> None:
    assert host(agent, "accounts", *words)[0] == 65
    assert host(agent, "accounts", "list") == (0, NOTHING)


def test_explanation_names_the_rule_that_refuses(agent: AgentProcess) -> None:
    status, said = host(agent, "explain", "root", "--claims", "-", stdin="{}")
    assert (status, said) == (1, "NO   account        no account of a person has this name on this host\n")


@pytest.mark.parametrize("claims", ["", "[]", "{", "7"])
def test_explanation_needs_claims(agent: AgentProcess, claims: str) -> None:
    assert host(agent, "explain", "root", "--claims", "-", stdin=claims) == (65, "sshaft: --claims is no JSON object\n")


@pytest.mark.parametrize("words", [(), ("--claims", "-", "--token", "-")])
def test_explanation_needs_claims_or_a_token(agent: AgentProcess, words: tuple[str, ...]) -> None:
    status, said = host(agent, "explain", "root", *words)
    assert (status, "Give --claims or --token." in said) == (64, True)


def test_token_that_cannot_be_checked_lets_nobody_in(tmp_path: Path) -> None:
    config, issuer = tmp_path / "config.json", "http://127.0.0.1:9"
    host_login = {"issuer": issuer, "client_id": "c", "allow": {"everyone": True}, "state_directory": str(tmp_path)}
    config.write_text(json.dumps({"host_login": host_login}))
    with AgentProcess(config, tmp_path / "run") as agent:
        status, said = host(agent, "explain", "root", "--token", "-", stdin="eyJ.x.y\n")
    assert (status, said) == (1, f"NO   token          {issuer}/.well-known/openid-configuration: Connection refused\n")


def test_command_without_an_agent_says_so(agent: AgentProcess) -> None:
    agent.process.kill()
    agent.process.wait()
    status, said = host(agent, "accounts", "list")
    assert status == 69
    assert "is `sshaft agent` running?" in said


def test_agent_without_host_login_says_so(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {"token_endpoint": "http://127.0.0.1:9/t", "client_id": "c", "client_secret": "s", "token_scope": "",
             "mfa_list_endpoint": "http://127.0.0.1:9/l", "mfa_accept_endpoint": "http://127.0.0.1:9/a",
             "login_path": "/sshaft/login"}
        )
    )  # fmt: skip
    config.chmod(0o600)
    with AgentProcess(config, tmp_path / "run") as agent:
        status, said = host(agent, "accounts", "list")
    assert status == 69
    assert "is host_login in its config.json?" in said
