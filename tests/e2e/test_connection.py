"""Tests that requests of an ssh client beyond the login are refused or harmless."""

import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

import pytest
from e2e.conftest import Keys, Site


def test_connection_without_a_session_reports_nothing(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    with subprocess.Popen(site.sshd.command(keys("alice"), options=("-N",))) as ssh:
        wait_for_log(site, "Accepted publickey", site.sshd.log())
        ssh.terminate()
    assert site.identity.challenge(challenge["id"])["state"] == "pending"
    site.identity.cancel(challenge["id"])


@pytest.mark.parametrize("which", ["keys", "login"])
def test_agents_sockets_cant_be_reached_through_sshd(site: Site, keys: Keys, which: str, tmp_path: Path) -> None:
    challenge = site.identity.open_challenge("alice")
    local = tmp_path / "forwarded"
    forward = f"{local}:{site.agent.runtime}/{which}/agent.sock"
    with subprocess.Popen(site.sshd.command(keys("alice"), options=("-N", "-L", forward))) as ssh:
        while not local.exists():
            assert ssh.poll() is None
            time.sleep(0.01)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(local))
            assert connection.recv(1) == b""  # closed by sshd, not by the agent
        ssh.terminate()
    assert "peer.refused" not in site.sshd.place.log(site.agent.name)
    assert "message.refused" not in site.sshd.place.log(site.agent.name)
    site.identity.cancel(challenge["id"])


@pytest.mark.parametrize("options", [("-A",), ("-X",), ("-Y",), ("-t",), ("-R", "0:127.0.0.1:22")])
def test_forwarding_and_a_terminal_are_not_given_and_the_login_passes(
    site: Site, keys: Keys, options: tuple[str, ...]
) -> None:
    code = site.identity.open_challenge("alice")["code"]
    before = len(site.sshd.log())
    done = site.sshd.ssh(keys("alice"), code, options=options, environment={"DISPLAY": ":0"})
    assert done.returncode == 0, done.stderr
    assert "Passed." in done.stdout
    said = site.sshd.log()[before:]
    assert "forwarding to" not in said
    assert "listening" not in said.lower()


def test_terminal_that_is_insisted_on_is_refused(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    assert site.sshd.ssh(keys("alice"), challenge["code"], options=("-tt",)).returncode == 255
    assert site.identity.challenge(challenge["id"])["state"] == "pending"
    site.identity.cancel(challenge["id"])


def test_sftp_and_scp_are_refused(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    assert site.sshd.ssh(keys("alice"), "sftp", options=("-s",)).returncode != 0
    settings = site.sshd.command(keys("alice"))[3:-1]
    settings[settings.index("-p")] = "-P"
    for old in ((), ("-O",)):
        done = subprocess.run(
            ["scp", "-F", "none", *old, *settings, "/etc/hostname", "mfa@127.0.0.1:/tmp/sshaft-scp"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode != 0
    assert not Path("/tmp/sshaft-scp").exists()
    assert site.identity.challenge(challenge["id"])["state"] == "pending"
    site.identity.cancel(challenge["id"])


@pytest.mark.parametrize(
    "command", ["touch {0}", "482913; touch {0}", "$(touch {0})", "'; touch {0}; '", "x\ntouch {0}"]
)
def test_no_shell_reads_what_the_person_typed(site: Site, keys: Keys, command: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    target = tmp_path / "made"
    done = site.sshd.ssh(keys("alice"), command.format(target))
    assert done.returncode == 64
    assert not target.exists()


def test_public_key_alone_does_not_tell_whether_its_owner_is_logging_in(site: Site, keys: Keys, tmp_path: Path) -> None:
    public = tmp_path / "bob.pub"
    public.write_text(keys.text("bob") + "\n")
    offered = {}
    for pending in (False, True):
        challenge = site.identity.open_challenge("bob") if pending else None
        said = site.sshd.ssh(public, options=("-v",)).stderr
        offered[pending] = ["Server accepts key" in said, "Permission denied (publickey)" in said]
        if challenge:
            site.identity.cancel(challenge["id"])
    assert offered[False] == offered[True] == [True, True]


def test_environment_of_the_client_is_not_taken(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    options = ("-o", "SetEnv=PYTHONPATH=/tmp PYTHONSTARTUP=/tmp/x SSH_ORIGINAL_COMMAND=deny LD_PRELOAD=/tmp/x.so")
    assert site.sshd.ssh(keys("alice"), code, options=options).returncode == 0


def test_five_sessions_of_one_connection_make_one_accept(site: Site, keys: Keys, tmp_path: Path) -> None:
    challenge = site.identity.open_challenge("alice")
    before = site.accepts()
    control = tmp_path / "control"
    master = subprocess.Popen(site.sshd.command(keys("alice"), options=("-M", "-N", "-S", str(control))))
    try:
        while not control.exists():
            assert master.poll() is None
            time.sleep(0.01)
        shared = ("-S", str(control))
        codes = [site.sshd.ssh(keys("alice"), challenge["code"], options=shared).returncode for _ in range(5)]
    finally:
        master.terminate()
        master.wait()
    # 77: the ticket is spent; 2: the session before was not quite closed, and ssh made a connection of its own
    assert codes[0] == 0
    assert set(codes[1:]) <= {77, 2}
    assert site.accepts() == before + 1


def test_other_accounts_are_refused_before_any_key_is_looked_up(site: Site, keys: Keys) -> None:
    before = site.agent.status()["lookups"]
    user = pwd.getpwuid(os.getuid()).pw_name
    for name in ("root", "sshaft", "admin", user):
        assert site.sshd.ssh(keys("alice"), options=("-l", name)).returncode == 255
    assert site.agent.status()["lookups"] == before


def test_certificate_is_no_way_in(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    authority, key = keys("authority"), keys("certified")
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "x", "-n", "mfa", key.with_suffix(".pub")], check=True)
    options = ("-o", f"CertificateFile={key}-cert.pub")
    assert site.sshd.ssh(key, code, options=options).returncode == 255
    assert site.sshd.ssh(keys("alice"), code).returncode == 0


def wait_for_log(site: Site, text: str, before: str, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while text not in site.sshd.log()[len(before) :]:
        assert time.monotonic() < end, f"no {text!r} in sshd's log"
        time.sleep(0.02)
