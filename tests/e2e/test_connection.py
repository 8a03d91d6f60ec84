"""Tests that requests of an ssh client beyond the login are refused or harmless."""

import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
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
def test_forwarding_is_not_given_and_the_login_passes(site: Site, keys: Keys, options: tuple[str, ...]) -> None:
    code = site.identity.open_challenge("alice")["code"]
    before = len(site.sshd.log())
    done = site.sshd.ssh(keys("alice"), code, options=options, environment={"DISPLAY": ":0"})
    assert done.returncode == 0, done.stderr
    assert "Passed for alice." in done.stdout
    said = site.sshd.log()[before:]
    assert "forwarding to" not in said
    assert "listening" not in said.lower()


@pytest.mark.parametrize("wish", ["RequestTTY=force", "RequestTTY=yes"])
def test_client_that_insists_on_a_terminal_logs_in(site: Site, keys: Keys, wish: str) -> None:
    """Case terminal_wanted, finding N12: ssh ended with "PTY allocation request failed"."""
    code = site.identity.open_challenge("alice")["code"]
    done = site.sshd.ssh(keys("alice"), code, options=("-o", wish))
    assert done.returncode == 0, done
    assert "Passed for alice. Your login goes on in the browser." in done.stdout


def test_person_corrects_a_code_in_a_terminal(site: Site, keys: Keys) -> None:
    """Findings U11 and N4: a warning came first, and one wrong code ended the session."""
    code = site.identity.open_challenge("alice")["code"]
    wrong = f"{(int(code) + 1) % 10**6:06}"
    typed = f"{wrong}\r{code[:3]}\u00a0{code[3:]}\r".encode()
    command = site.sshd.command(keys("alice"), options=("-tt",))
    done = subprocess.run(command, input=typed, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert b"4 tries are left." in done.stdout
    assert done.stdout.endswith(b"Passed for alice. Your login goes on in the browser.\r\n")
    assert b"PTY" not in done.stderr
    assert b"\n" not in done.stdout.replace(b"\r\n", b"")  # no staircase


def test_wrong_code_of_the_command_is_asked_for_again_in_a_terminal(site: Site, keys: Keys) -> None:
    """Finding U11: a wrong code in the command ended the session, although a person sat there."""
    code = site.identity.open_challenge("alice")["code"]
    wrong = f"{(int(code) + 1) % 10**6:06}"
    command = site.sshd.command(keys("alice"), wrong, options=("-tt",))
    done = subprocess.run(command, input=f"{code}\r".encode(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert b"That is not the code of your login. 4 tries are left.\r\nCode: " in done.stdout
    assert done.stdout.endswith(b"Passed for alice. Your login goes on in the browser.\r\n")


def test_wrong_code_of_the_command_ends_the_session_without_a_terminal(site: Site, keys: Keys) -> None:
    """A script must not wait for a person."""
    challenge = site.identity.open_challenge("alice")
    wrong = f"{(int(challenge['code']) + 1) % 10**6:06}"
    done = site.sshd.ssh(keys("alice"), wrong, stdin=f"{challenge['code']}\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "That is not the code of your login. 4 tries are left.\n"
    site.identity.cancel(challenge["id"])


def test_window_with_a_code_waits_until_the_person_has_read_it(site: Site, keys: Keys) -> None:
    """Case putty_window: the window closed before anybody could read the code."""
    challenge = site.identity.open_challenge("alice", binding="code_back")
    command = site.sshd.command(keys("alice"), options=("-tt",))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ssh:
        assert ssh.stdin is not None
        assert ssh.stdout is not None
        shown = b""
        while not shown.endswith(b"Press Return to end this session. "):
            part = ssh.stdout.read1(4096)  # type: ignore[attr-defined]
            assert part, shown
            shown += part
        assert ssh.poll() is None
        ssh.stdin.write(b"\r")
        ssh.stdin.flush()
        assert ssh.wait(20) == 0
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


@pytest.fixture
def shared(site: Site, keys: Keys, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Opens a connection that several sessions share. Returns the options for ssh to use it."""
    control = tmp_path / "control"
    master = subprocess.Popen(site.sshd.command(keys("alice"), options=("-M", "-N", "-S", str(control))))
    try:
        while not control.exists():
            assert master.poll() is None
            time.sleep(0.01)
        yield ("-S", str(control))
    finally:
        master.terminate()
        master.wait()


def test_shared_connection_corrects_a_code_and_passes_the_next_login(
    site: Site, keys: Keys, shared: tuple[str, ...]
) -> None:
    """Case shared_connection, findings N5 and U1: after a wrong code nothing passed over the connection."""
    before = site.accepts()
    challenge = site.identity.open_challenge("alice")
    wrong = f"{(int(challenge['code']) + 1) % 10**6:06}"
    assert site.sshd.ssh(keys("alice"), wrong, options=shared).returncode == 1
    assert site.sshd.ssh(keys("alice"), challenge["code"], options=shared).returncode == 0
    again = site.sshd.ssh(keys("alice"), challenge["code"], options=shared)
    assert (again.returncode, again.stderr.partition(":")[0]) == (2, "Your login was passed already")
    for binding in ("code_in", "code_back"):
        following = site.identity.open_challenge("alice", binding=binding)
        words = [following["code"]] if binding == "code_in" else []
        assert site.sshd.ssh(keys("alice"), *words, options=shared).returncode == 0
        site.identity.cancel(following["id"]) if binding == "code_back" else None
    assert site.accepts() == before + 2


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
