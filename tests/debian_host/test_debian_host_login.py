"""Tests host login with the sshd and the PAM of another Debian: a chroot of the suite that the image has.

The module was built here. It, the agent's socket and one account are all that the chroot gets from this machine.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest
from debian_host.chroot import LIMITS, PACKAGES, Debian, log_in, unpacked

from sshaft_demo.host import CODE, DemoProvider
from sshaft_demo.parts import Agent, free_port, run, wait_for
from sshaft_demo.place import AGENT


@pytest.fixture(scope="module")
def debian() -> Iterator[Debian]:
    with unpacked(*PACKAGES) as (place, root):
        provider = DemoProvider(place, free_port())
        agent = Agent(place, provider.write_config(enter="always", **LIMITS))
        made = Debian(place, agent, provider, root)
        yield made
        made.stop()


def set_enter(debian: Debian, enter: str) -> None:
    """Changes the member `enter` of the agent's configuration."""
    place, config = debian.place, debian.agent.config
    values = json.loads(config.read_text())
    values["host_login"]["enter"] = enter
    config.write_text(json.dumps(values))
    reloads = place.log("agent").count("config.reloaded")
    debian.agent.process.send_signal(signal.SIGHUP)
    wait_for(
        lambda: place.log("agent").count("config.reloaded") > reloads,
        debian.agent.process, lambda: place.log("agent"), "the agent",
    )  # fmt: skip


def test_person_who_approves_gets_a_shell_in_a_session_of_pam(debian: Debian) -> None:
    (debian.root / "etc" / "environment").write_text("OPENED_BY=pam_env\n")
    assert log_in(debian, "-t", "id -un; tty; echo $OPENED_BY").split()[:3] == ["alice", "/dev/pts/0", "pam_env"]


def test_ssh_of_the_same_debian_logs_in(debian: Debian) -> None:
    assert log_in(debian, "echo in", own=True).split() == ["in"]


def test_person_who_denies_gets_no_shell(debian: Debian) -> None:
    terminal = debian.ssh("echo in")
    debian.provider.answer(debian.code_at(terminal), "deny")
    terminal.type("\n")
    assert "denied in the browser" in terminal.wait_for("Enter to go on")
    terminal.type("\n\x03")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said


def test_key_opens_the_account_only_after_an_approval(debian: Debian) -> None:
    person = debian.place.person
    key = debian.place.generate_key("key-of-the-person")
    folder = debian.root / "home" / person / ".ssh"
    folder.mkdir()
    shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
    subprocess.run(["chown", "-R", "59901:59901", folder], check=True)
    with_key = ("-i", str(key), "-o", "BatchMode=yes")
    log_in(debian, "true")
    unbind = debian.place.sshaft("host", "accounts", "unbind", person, "--runtime-directory", debian.agent.runtime)
    run(debian.place, unbind, AGENT)
    said, status = debian.ssh("echo in", options=with_key).end()
    assert status == 255
    assert "Nobody has been approved for this account yet." in said
    log_in(debian, "true")
    said, status = debian.ssh("echo in", options=with_key).end()
    assert (said.split(), status) == (["in"], 0), debian.place.log("sshd")


@pytest.mark.parametrize("own", [False, True], ids=["ssh of this machine", "its own ssh"])
def test_approval_is_enough_where_sshd_shows_text_at_once(debian: Debian, *, own: bool) -> None:
    if debian.openssh_version < (10, 3):
        pytest.skip("needs OpenSSH 10.3 or later")
    set_enter(debian, "never")
    try:
        terminal = debian.ssh("id -un", own=own)
        said = terminal.wait_for("close that page")
        code = CODE.search(said)
        assert code, said
        debian.provider.answer(code[0])
        said, status = terminal.end()
    finally:
        set_enter(debian, "always")
    assert (said.split()[-1], status) == (debian.place.person, 0)
