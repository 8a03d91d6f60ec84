"""Tests that the token reaches nobody but the host that the person named, and that no hostile server goes further."""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from e2e.test_client_ssh import TOKEN, Site, host, run, site  # noqa: F401 - fixtures
from fakes.motley_cue import PROMPT, TokenPrompts
from fakes.unix_server import UnixServer

from sshaft_demo.host import HostSshd, Terminal
from sshaft_demo.parts import free_port
from sshaft_demo.place import CHECKOUT


def typing(site: Site, *words: str) -> Terminal:  # noqa: F811
    """Starts `sshaft ssh` in a terminal."""
    command = site.command(*site.ssh_options(), "127.0.0.1", *words)
    return Terminal(["env", f"PYTHONPATH={CHECKOUT}", "HOME=/nonexistent", *command])


def test_jump_host_that_imitates_the_prompt_gets_no_token(site: Site) -> None:  # noqa: F811
    """The ssh to a jump host has the same SSH_ASKPASS, and a jump host chooses its prompts."""
    imitated = f"(alice@127.0.0.1) {PROMPT}"
    jump = TokenPrompts(site.service, prompt=imitated)
    path = site.place.directory / "jump.sock"
    with UnixServer(path, jump):
        path.chmod(0o666)
        sshd = HostSshd(site.place, path, free_port(), "MaxAuthTries 2\n")
        config = site.folder / "config"
        config.write_text(f"Host *\nUserKnownHostsFile {site.place.known_hosts}\nPubkeyAuthentication no\n")
        words = ["-F", config, "-J", f"{site.place.person}@127.0.0.1:{sshd.port}", "-p", str(site.sshd.port)]
        done = run(site.command(*words, "127.0.0.1", "echo in"))
    assert done.returncode == 255
    assert jump.answers
    assert TOKEN not in "".join(jump.answers)
    assert site.prompts.answers == []


@pytest.mark.parametrize(
    "prompt",
    ["Password: ", "Enter passphrase for key '/root/.ssh/id_ed25519': ", "Access Token: (yes/no)? ", "access token:"],
)
def test_other_prompts_reach_the_person_and_get_no_token(site: Site, prompt: str) -> None:  # noqa: F811
    site.prompts.prompt = prompt
    terminal = typing(site, "true")
    assert prompt.strip() in terminal.wait_for(prompt.strip())
    terminal.type("typed by hand\n")
    terminal.wait_for(prompt.strip())
    terminal.kill()
    assert site.prompts.answers[0] == "typed by hand"
    assert TOKEN not in site.prompts.answers


def test_typed_secret_is_not_shown(site: Site) -> None:  # noqa: F811
    site.prompts.prompt = "Password: "
    terminal = typing(site, "true")
    terminal.wait_for("Password: ")
    terminal.type("secret\n")
    assert "secret" not in terminal.wait_for("Password: ")
    terminal.kill()


def test_prompt_with_terminal_escapes_is_shown_escaped(site: Site) -> None:  # noqa: F811
    site.prompts.prompt = "\x1b[2JPassword: \x9b31m\u202e"
    terminal = typing(site, "true")
    said = terminal.wait_for("31m")
    terminal.kill()
    assert "\x1b[2J" not in said
    assert "\u202e" not in said
    assert "\x9b" not in said


ESCAPES = "\x1b[2J\x1b]0;x\x07\x9b31m\u202e\r\n"


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/user/deploy", 401, {"error": ESCAPES, "error_description": ESCAPES}),
        ("/user/deploy", 403, {"detail": ESCAPES}),
        ("/user/deploy", 200, {"state": ESCAPES, "message": ESCAPES, "credentials": {"ssh_user": ESCAPES}}),
        ("/info", 200, {"login_info": {ESCAPES: ESCAPES}, "supported_OPs": [f"https://op.example/{ESCAPES}"]}),
        ("/info/authorisation", 200, {"OP": ESCAPES, "authorisation_info": ESCAPES}),
        ("/user/get_status", 200, {"state": ESCAPES, "message": ESCAPES}),
    ],
)
def test_words_of_a_hostile_service_are_shown_escaped(site: Site, path: str, status: int, body: Any) -> None:  # noqa: F811
    site.service.bent[path] = status, body
    for command in (site.command(*site.ssh_options(), "127.0.0.1", "true"), site.command("127.0.0.1", program="info")):
        done = run(command)
        said = done.stdout + done.stderr
        assert [sign for sign in "\x1b\x07\x9b\u202e\r" if sign in said] == []


def test_new_host_key_is_confirmed_by_the_person(site: Site) -> None:  # noqa: F811
    known = site.folder / "known"
    known.write_text("")
    options = ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=ask"]
    terminal = Terminal(
        ["env", f"PYTHONPATH={CHECKOUT}", "HOME=/nonexistent",
         *site.command(*options, *site.ssh_options(), "127.0.0.1", "echo in")]
    )  # fmt: skip
    terminal.wait_for("(yes/no/[fingerprint])? ")
    assert site.prompts.answers == []
    terminal.type("yes\n")
    said, status = terminal.end()
    assert status == 0
    assert said.startswith("yes\r\n"), "the answer is seen"
    assert "\nin\r\n" in said


def test_changed_host_key_ends_the_login(site: Site) -> None:  # noqa: F811
    known = site.folder / "known"
    other = site.place.generate_key("other-host-key").with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"* {' '.join(other)}\n")
    done = run(site.command("-o", f"UserKnownHostsFile={known}", *site.ssh_options(), "127.0.0.1", "echo in"))
    assert done.returncode == 255
    assert site.prompts.answers == []


def test_no_process_shows_the_token(site: Site) -> None:  # noqa: F811
    """Reads arguments and environments of all processes while ssh waits for the answer, and later."""
    seen: list[str] = []
    names: set[bytes] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for part in ("cmdline", "environ"):
                    try:
                        data = (process / part).read_bytes()
                    except OSError:
                        continue
                    names.add(data.split(b"\0")[0])
                    if TOKEN.encode() in data and process.name != str(os.getpid()):
                        seen.append(f"{process.name} {part}")

    watcher = threading.Thread(target=look)
    watcher.start()
    assert site.ssh("sleep 1").returncode == 0
    is_over.set()
    watcher.join()
    assert b"ssh" in names
    assert seen == []


def test_variables_with_tokens_end_at_ssh(site: Site) -> None:  # noqa: F811
    """ssh starts a ProxyCommand, which has the environment of ssh. The shell gets an `exec` before it."""
    out = site.folder / "environment"
    relay = site.folder / "relay.py"
    relay.write_text(_RELAY)
    proxy = f'ProxyCommand=env sh -c "env > {out}; exec {sys.executable} {relay} %p"'
    words = ["--endpoint", site.service.url, "-o", proxy, *site.ssh_options(), "127.0.0.1", "echo in"]
    done = run([sys.executable, "-P", "-m", "sshaft", "ssh", *words], OIDC_ACCESS_TOKEN=TOKEN)
    assert done.stdout == "in\n", done.stderr
    assert "SSH_ASKPASS=" in out.read_text()
    assert TOKEN not in out.read_text()


_RELAY = """
import os, select, socket, sys
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    for ready in select.select([0, there], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else there.recv(65536)
        if not data:
            sys.exit()
        there.sendall(data) if ready == 0 else os.write(1, data)
"""


def test_nothing_is_left_after_the_end(site: Site) -> None:  # noqa: F811
    folder = site.folder / "runtime"
    folder.mkdir()
    command = site.command(*site.ssh_options(), "127.0.0.1", "true")
    assert run(command, XDG_RUNTIME_DIR=str(folder)).returncode == 0
    end = time.monotonic() + 10
    while list(folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.1)
    assert list(folder.iterdir()) == []
