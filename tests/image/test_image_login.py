"""Tests logins through the published port of a factor that runs with the documented command."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from image.containers import Mounts, Site, cmdline, factor_options, start_factor, start_identity, stopped, wait_until


@pytest.fixture
def challenge(site: Site) -> dict[str, Any]:
    return site.open_challenge()


def test_login_through_the_published_port_passes(site: Site, challenge: dict[str, Any]) -> None:
    done = site.factor.log_in(site.key, challenge["code"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "Passed" in done.stdout
    assert site.state(challenge) == "accepted"


@pytest.mark.usefixtures("challenge")
def test_another_key_is_refused(site: Site) -> None:
    done = site.factor.log_in(site.wrong_key, "123456")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_failed_logins_behind_one_address_do_not_lock_everybody_out(site: Site, challenge: dict[str, Any]) -> None:
    for _ in range(8):  # OpenSSH 9.8 and later would by default block the address after the third
        assert site.factor.log_in(site.wrong_key, "123456").returncode == 255
    assert site.factor.log_in(site.key, challenge["code"]).returncode == 0


def test_keys_command_runs_as_its_own_account_and_has_no_rights(site: Site, challenge: dict[str, Any]) -> None:
    with stopped(site.factor):
        login = subprocess.Popen(site.factor.ssh(site.key, challenge["code"]), stdin=subprocess.DEVNULL)
        wait_until(lambda: site.factor.pids(b"/sshaft/keys\0"), "sshd has started the keys command", 2)
        process = Path(f"/proc/{site.factor.pids(b'/sshaft/keys')[0]}")
        status = dict(line.split(":\t") for line in (process / "status").read_text().splitlines() if ":\t" in line)
        environment = {line.split("=")[0] for line in (process / "environ").read_text().split("\0") if line}
    assert status["Uid"].split() == status["Gid"].split() == ["481"] * 4
    assert status["Groups"].split() in ([], ["481"])
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert environment <= {"HOME", "LOGNAME", "PATH", "USER"}
    assert login.wait(20) == 0  # the agent was only slow
    assert site.state(challenge) == "accepted"


def test_agent_has_no_rights_and_cannot_gain_any(site: Site) -> None:
    (agent,) = site.factor.pids(b"\0agent\0")
    status = dict(line.split(":\t") for line in Path(f"/proc/{agent}/status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["480"] * 4
    assert sorted(status["Groups"].split()) == ["480", "481", "482"]
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_secret_and_code_stay_out_of_command_lines_environments_and_logs(site: Site, challenge: dict[str, Any]) -> None:
    pipe = subprocess.PIPE
    login = subprocess.Popen(site.factor.ssh(site.key), stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    assert login.stdin
    assert login.stdout
    with login:
        said = login.stdout.read(1)  # it asks for the code, so every program of a login runs now
        seen = b""
        for pid in site.engine.processes(site.factor.container):
            seen += cmdline(pid) + Path(f"/proc/{pid}/environ").read_bytes()
        login.stdin.write(challenge["code"] + "\n")
        login.stdin.close()
        said += login.stdout.read()
    assert login.returncode == 0, said
    log = site.engine.logs(site.factor.container)
    assert b"/sshaft/login" in seen
    assert b"\0agent\0" in seen
    assert "login.accepted" in log
    for secret in (site.factor.mounts.secret, challenge["code"]):
        assert secret.encode() not in seen
        assert secret not in log


@pytest.mark.parametrize(("account", "other"), [("mfa", "keys"), ("_sshaft-keys", "login")])
def test_account_of_the_login_cannot_read_files_of_the_agent(site: Site, account: str, other: str) -> None:
    agent = site.factor.execute("sshaft", "pgrep", "-u", "sshaft", "-f", " agent ").stdout.strip()
    denied = [
        "cat /sshaft/config.json",
        "ls /etc/ssh/keys",
        "cat /etc/ssh/keys/ssh_host_ed25519_key",
        "touch /run/sshaft/x",
        f"ls /run/sshaft/{other}",
        f"test -e /run/sshaft/{other}/agent.sock",
        *(f"head -c 1 /proc/{agent}/{name}" for name in ("environ", "mem", "maps", "auxv", "io")),
        *(f"ls /proc/{agent}/{name}/" for name in ("fd", "cwd", "root", "map_files")),
        f"kill -0 {agent}",
    ]
    passed = [each for each in denied if site.factor.execute(account, "sh", "-c", each, check=False).returncode == 0]
    assert passed == []


def test_account_that_logs_in_gets_no_answer_at_the_status_socket(site: Site) -> None:
    assert site.factor.execute("mfa", "sshaft", "agent", "status", check=False).returncode == 77
    assert site.factor.execute("root", "sshaft", "agent", "status").returncode == 0


def insisting(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs an ssh that insists on a terminal."""
    with_terminal = [*command[:-2], "-tt", *command[-2:]]
    return subprocess.run(
        with_terminal, check=False, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


def test_client_that_insists_on_a_terminal_logs_in(site: Site, challenge: dict[str, Any]) -> None:
    """Case terminal_wanted: ssh ended with "PTY allocation request failed"."""
    done = insisting(site.factor.ssh(site.key, challenge["code"]))
    assert (done.returncode, "Passed" in done.stdout) == (0, True), done


def test_factor_without_the_rights_of_a_terminal_logs_people_in_without_one(
    site: Site, image: str, tmp_path: Path, challenge: dict[str, Any]
) -> None:
    mounts = Mounts(tmp_path / "mounts", site.factor.mounts.secret)
    factor = start_factor(site.engine, image, mounts, factor_options(without="CHOWN"))
    try:
        start_identity(site.engine, image, factor, site.volume)
        done = insisting(factor.ssh(site.key, challenge["code"]))
        assert (done.returncode, "PTY allocation request failed" in done.stderr) == (255, True), done
        assert factor.log_in(site.key, challenge["code"]).returncode == 0
    finally:
        site.engine.remove(factor.container)


def test_factor_needs_only_its_mounts_and_writes_to_two_folders(
    site: Site, image: str, tmp_path: Path, challenge: dict[str, Any]
) -> None:
    mounts = Mounts(tmp_path / "mounts", site.factor.mounts.secret)
    options = [
        "-p=127.0.0.1::2222",
        "-v=/etc/sshaft/config.json:/sshaft/config.json:ro",
        "-v=/etc/sshaft/keys:/etc/ssh/keys:ro",
    ]
    factor = start_factor(site.engine, image, mounts, options)
    try:
        start_identity(site.engine, image, factor, site.volume)
        assert factor.log_in(site.key, challenge["code"]).returncode == 0
        changed = {line.split()[1] for line in site.engine("diff", factor.container).stdout.splitlines()}
    finally:
        site.engine.remove(factor.container)
    mount_points = {"/sshaft", "/sshaft/config.json", "/etc", "/etc/ssh", "/etc/ssh/keys", "/run", "/tmp"}
    assert {path for path in changed - mount_points if not path.startswith(("/run/sshaft", "/tmp/"))} == set()


def test_doctor_finds_no_fault_inside_the_container(site: Site) -> None:
    def told(account: str) -> dict[str, str]:
        done = site.factor.execute(account, "sshaft", "doctor", "--json", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return {finding["check"]: finding["severity"] for finding in json.loads(done.stdout)["findings"]}

    of_root, of_agent = told("root"), told("sshaft")
    assert {check for check, severity in of_root.items() if severity != "ok"} <= {
        "service.config", "service.host_key", "agent.keys_socket", "agent.login_socket"
    }  # fmt: skip
    assert (of_root["keys.dry_run"], of_root["agent.status"], of_root["path.program"]) == ("ok", "ok", "ok")
    assert (of_agent["service.list"], of_agent["sshd.settings"]) == ("ok", "ok")
    assert set(of_agent.values()) == {"ok", "note"}
