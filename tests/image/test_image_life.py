"""Tests the start, the end and the health check of the container."""

import os
import subprocess
import time
from collections.abc import Callable

import pytest
from image.containers import Mounts, StartFactor, factor_options, wait_until

from bench.load.container_engine import Engine


def without(pattern: str) -> Callable[[Mounts], list[str]]:
    return lambda _: factor_options(without=pattern)


def no_file(mounts: Mounts) -> list[str]:
    mounts.config.unlink()
    return factor_options()


def open_config(mounts: Mounts) -> list[str]:
    mounts.config.chmod(0o444)
    return factor_options()


def config_of_root(mounts: Mounts) -> list[str]:
    os.chown(mounts.config, 0, 0)
    return factor_options()


def no_host_key(mounts: Mounts) -> list[str]:
    for path in (mounts.directory / "keys").iterdir():
        path.unlink()
    return factor_options()


def open_host_key(mounts: Mounts) -> list[str]:
    (mounts.directory / "keys/ssh_host_ed25519_key").chmod(0o640)
    return factor_options()


def host_key_of_somebody(mounts: Mounts) -> list[str]:
    os.chown(mounts.directory / "keys/ssh_host_ed25519_key", 1000, 1000)
    return factor_options()


def closed_keys_folder(mounts: Mounts) -> list[str]:
    os.chown(mounts.directory / "keys", 1000, 1000)
    return factor_options()


def as_a_user(_: Mounts) -> list[str]:
    return factor_options("--user=1000")


FAULTS = [
    (without("config.json"), "/sshaft/config.json is missing: -v /etc/sshaft/config.json:/sshaft/config.json:ro"),
    (no_file, "/sshaft/config.json is a folder"),
    (config_of_root, "/sshaft/config.json cannot be read by the account sshaft (uid 480); on the host: chown 480"),
    (open_config, "/sshaft/config.json holds a secret and is open to everybody (mode 444)"),
    (without("/etc/ssh/keys"), "no host key: -v /etc/sshaft/keys:/etc/ssh/keys:ro"),
    (no_host_key, "no host key: -v /etc/sshaft/keys:/etc/ssh/keys:ro"),
    (open_host_key, "/etc/ssh/keys/ssh_host_ed25519_key belongs to uid 0 and has mode 640; on the host: chown 0"),
    (host_key_of_somebody, "/etc/ssh/keys/ssh_host_ed25519_key belongs to uid 1000 and has mode 600"),
    (closed_keys_folder, "/etc/ssh/keys cannot be read by root without more capabilities; on the host: chown 0"),
    (
        without("tmpfs=/run"),
        "/run/sshaft is not writable for the account sshaft: --tmpfs /run/sshaft:uid=480,mode=0755",
    ),
    (without("tmpfs=/tmp"), "/tmp is not writable for the account mfa: --tmpfs /tmp"),
    (without("SETUID"), "capability SETUID is missing: --cap-add=SETUID"),
    (without("SETGID"), "capability SETGID is missing: --cap-add=SETGID"),
    (without("SYS_CHROOT"), "capability SYS_CHROOT is missing: --cap-add=SYS_CHROOT"),
    (as_a_user, "started as uid 1000: sshd must start as root, leave --user out"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[message[:40] for _, message in FAULTS])
def test_missing_input_is_named_and_ends_the_container_with_78(
    engine: Engine, mounts: Mounts, start_factor: StartFactor, spoil: Callable[[Mounts], list[str]], message: str
) -> None:
    factor = start_factor(spoil(mounts), ready=False)
    assert engine.wait_for_end(factor.container) == 78
    log = engine.logs(factor.container)
    assert message in log
    assert "Traceback" not in log
    assert "Server listening" not in log


def test_every_problem_is_named_at_once(engine: Engine, start_factor: StartFactor) -> None:
    factor = start_factor(factor_options(without="-v|tmpfs"), ready=False)
    assert engine.wait_for_end(factor.container) == 78
    assert len(engine.logs(factor.container).splitlines()) == 4


def test_configuration_that_the_agent_refuses_ends_the_container_before_sshd_starts(
    engine: Engine, mounts: Mounts, start_factor: StartFactor
) -> None:
    mounts.config.write_text('{"token_endpoint": "https://x", "clinet_id": "x"}')
    factor = start_factor(ready=False)
    assert engine.wait_for_end(factor.container) == 78
    assert "the nearest known one is 'client_id'" in engine.logs(factor.container)
    assert "Server listening" not in engine.logs(factor.container)


def test_every_mounted_host_key_is_offered(mounts: Mounts, start_factor: StartFactor) -> None:
    key = mounts.directory / "keys/ssh_host_rsa_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", key], check=True)
    factor = start_factor()
    scan = ["ssh-keyscan", "-p", factor.port, "-t", "ed25519,rsa", "127.0.0.1"]
    offered = subprocess.run(scan, check=True, capture_output=True, text=True).stdout
    assert sorted(line.split()[1] for line in offered.splitlines()) == ["ssh-ed25519", "ssh-rsa"]


def test_stop_ends_both_programs_within_seconds_with_0(engine: Engine, start_factor: StartFactor) -> None:
    factor = start_factor()
    begin = time.monotonic()
    engine("stop", factor.container)
    assert time.monotonic() - begin < 11
    assert engine.inspect(factor.container, "{{.State.ExitCode}}") == "0"
    assert '"agent.stopped"' in engine.logs(factor.container)


def test_stop_during_the_start_ends_the_container_with_0(engine: Engine, start_factor: StartFactor) -> None:
    factor = start_factor(ready=False)
    wait_until(lambda: factor.pids(b"\0agent\0"), "the agent is being started")
    begin = time.monotonic()
    engine("stop", factor.container)
    assert time.monotonic() - begin < 11
    assert engine.inspect(factor.container, "{{.State.ExitCode}}") == "0"


@pytest.mark.parametrize("name", ["KILL", "TERM"])
@pytest.mark.parametrize(("account", "process"), [("sshaft", " agent "), ("root", "[s]shd.* -D")])
def test_container_ends_when_one_of_its_programs_ends(
    engine: Engine, start_factor: StartFactor, account: str, process: str, name: str
) -> None:
    factor = start_factor()
    factor.execute(account, "pkill", f"-{name}", "-u", account, "-f", process)
    assert engine.wait_for_end(factor.container) not in (0, 78)
    assert f"sshaft: {'sshd' if account == 'root' else 'the agent'} has ended" in engine.logs(factor.container)


def test_agent_reads_its_configuration_again_on_hup(engine: Engine, start_factor: StartFactor) -> None:
    factor = start_factor()
    engine("kill", "-s", "HUP", factor.container)
    wait_until(lambda: '"config.reloaded"' in engine.logs(factor.container), "the agent has read config.json again")
    assert engine.inspect(factor.container, "{{.State.Running}}") == "true"


def test_health_check_needs_agent_and_sshd_but_no_identity_service(engine: Engine, start_factor: StartFactor) -> None:
    factor = start_factor(factor_options("--health-interval=1s", "--health-timeout=2s", "--health-retries=1"))

    def health() -> str:
        return engine.inspect(factor.container, "{{.State.Health.Status}}")

    wait_until(lambda: health() == "healthy", "healthy")
    factor.signal_agent("STOP")
    wait_until(lambda: health() == "unhealthy", "unhealthy without the agent")
    factor.signal_agent("CONT")
    wait_until(lambda: health() == "healthy", "healthy again")
    factor.execute("root", "pkill", "-STOP", "-f", "[s]shd.* -D")
    wait_until(lambda: health() == "unhealthy", "unhealthy without sshd")


def test_root_file_system_is_read_only(start_factor: StartFactor) -> None:
    factor = start_factor()
    for place in ("/", "/etc", "/sshaft", "/usr/libexec/sshaft", "/var/empty", "/root", "/var/lib/sshaft"):
        done = factor.execute("root", "touch", f"{place}/x", check=False)
        assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    assert factor.execute("root", "sh", "-c", "grep ' / ' /proc/mounts").stdout.split()[3].startswith("ro,")


def test_other_commands_run_instead_of_the_two_programs(engine: Engine, image: str) -> None:
    assert engine("run", "--rm", image, "sshaft", "--version").stdout.startswith("sshaft, version ")
    assert engine("run", "--rm", image, "no-such-program", check=False).returncode == 127
