"""A login through the published port of a factor that was started with the documented command."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from image.conftest import Site, cmdline, stopped, wait_until

ALL_DENIED = (
    "test ! -r /sshaft/config.json",
    "! cat /sshaft/config.json",
    "! ls /etc/ssh/keys",
    "! cat /etc/ssh/keys/ssh_host_ed25519_key",
    "! touch /run/sshaft/x",
)


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


def test_keys_command_runs_as_its_own_account_and_can_do_nothing(site: Site, challenge: dict[str, Any]) -> None:
    def keys_commands() -> list[int]:
        return [pid for pid in site.engine.processes(site.factor.container) if b"/sshaft/keys\0" in cmdline(pid)]

    with stopped(site.factor):
        login = subprocess.Popen(site.factor.ssh(site.key, challenge["code"]), stdin=subprocess.DEVNULL)
        wait_until(keys_commands, "sshd has started the keys command", 2)
        process = Path(f"/proc/{keys_commands()[0]}")
        status = dict(line.split(":\t") for line in (process / "status").read_text().splitlines() if ":\t" in line)
        environment = {line.split("=")[0] for line in (process / "environ").read_text().split("\0") if line}
    assert status["Uid"].split() == status["Gid"].split() == ["481"] * 4
    assert status["Groups"].split() in ([], ["481"])
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert environment <= {"HOME", "LOGNAME", "PATH", "USER"}
    assert login.wait(20) == 0  # the agent was only late
    assert site.state(challenge) == "accepted"


def test_secrets_stay_out_of_command_lines_and_environments(site: Site, challenge: dict[str, Any]) -> None:
    login = subprocess.Popen(site.factor.ssh(site.key), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert login.stdin
    assert login.stdout
    said = login.stdout.read(1)  # it asks for the code, so every program of a login runs now
    found = b""
    for pid in site.engine.processes(site.factor.container):
        found += cmdline(pid) + Path(f"/proc/{pid}/environ").read_bytes() + b"\n"
    login.stdin.write(challenge["code"] + "\n")
    login.stdin.close()
    said += login.stdout.read()
    assert (login.wait(20), site.state(challenge)) == (0, "accepted"), said
    assert b"sshaft/login" in found
    assert b"agent" in found
    assert site.factor.mounts.secret.encode() not in found
    assert challenge["code"].encode() not in found


@pytest.mark.parametrize(("account", "other"), [("mfa", "keys"), ("_sshaft-keys", "login")])
def test_account_can_read_nothing_of_the_agent(site: Site, account: str, other: str) -> None:
    agent = site.factor.execute("sshaft", "pgrep", "-u", "sshaft", "-f", " agent ").stdout.strip()
    tries = [
        *ALL_DENIED,
        f"! ls /run/sshaft/{other}",
        f"test ! -S /run/sshaft/{other}/agent.sock",
        *(f"! head -c 1 /proc/{agent}/{name}" for name in ("environ", "mem", "maps", "auxv", "syscall")),
        *(f"! ls /proc/{agent}/{name}" for name in ("fd", "cwd/", "root/", "map_files")),
        f"! kill -0 {agent}",
    ]
    for each in tries:
        done = site.factor.execute(account, "sh", "-c", each, check=False)
        assert done.returncode == 0, (each, done.stdout)


def test_agent_can_become_nobody_else(site: Site) -> None:
    status = Path(f"/proc/{site.factor.agent_pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status
    assert sorted(status.split("Groups:\t")[1].splitlines()[0].split()) == ["480", "481", "482"]


def test_logs_hold_no_secret(site: Site, challenge: dict[str, Any]) -> None:
    site.factor.log_in(site.key, challenge["code"])
    log = site.engine.logs(site.factor.container)
    assert "login.accepted" in log
    assert site.factor.mounts.secret not in log
    assert challenge["code"] not in log


def test_plain_run_with_the_mounts_alone_passes_too_and_writes_to_two_folders_only(
    site: Site, start_factor: Any, challenge: dict[str, Any]
) -> None:
    from image.conftest import start_identity

    mounts = site.factor.mounts.directory
    options = [
        "-p=127.0.0.1::2222",
        f"-v={mounts}/config.json:/sshaft/config.json:ro",
        f"-v={mounts}/keys:/etc/ssh/keys:ro",
    ]
    site.engine("pause", site.identity)
    factor = start_factor(options)
