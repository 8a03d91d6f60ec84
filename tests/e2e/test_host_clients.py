"""Tests host login with other clients than ssh in a UTF-8 terminal, at an sshd that also takes passwords."""

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from e2e.hosts import PRESS_ENTER, Host, code_of, host_in

from sshaft_demo.host import CODE, Terminal
from sshaft_demo.parts import wait_for
from sshaft_demo.place import Place

TYPED = "a password of another place"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Place() as place, host_in(place, "PasswordAuthentication yes\nSubsystem sftp internal-sftp\n") as host:
        yield host


@pytest.fixture(scope="module")
def plain_host() -> Iterator[Host]:
    """Yields a host for clients without UTF-8."""
    with Place() as place, host_in(place, qr="ascii") as host:
        yield host


def plink(host: Host, *words: str) -> Terminal:
    """Runs PuTTY's plink, which trusts the key of this sshd and has no home of its own."""
    if not shutil.which("plink"):
        pytest.skip("needs putty-tools: ./dev setup test")
    key = host.place.directory / "ssh_host_ed25519_key.pub"
    told = subprocess.run(["ssh-keygen", "-l", "-f", key], capture_output=True, text=True, check=True).stdout
    options = ["-ssh", "-P", str(host.sshd.port), "-hostkey", told.split()[1]]
    person = f"{host.place.person}@127.0.0.1"
    return Terminal(["env", f"HOME={host.place.directory}", "plink", *options, person, *words])


def page_and_code(host: Host, lines: list[str]) -> str:
    """Returns the code. The address and the code have lines of their own, with ASCII alone up to the code.

    WinSCP shows the prompt in a window whose letters differ in width, and a person must copy the address from there.
    """
    (page,) = (line for line in lines if line.strip().startswith(host.provider.issuer))
    (code,) = (line for line in lines if CODE.fullmatch(line.strip()))
    assert re.fullmatch(rf"    {host.provider.issuer}/device\?user_code=[A-Z]+", page)
    assert all(line.isascii() for line in lines[: lines.index(code)])
    return code.strip()


def test_plink_shows_the_whole_prompt_and_logs_in(host: Host) -> None:
    def shown() -> list[str]:
        return [line.removeprefix("| ") for line in terminal.wait_for(PRESS_ENTER).splitlines()]

    terminal = plink(host, "echo in")
    lines = shown()
    assert sum(line.startswith("\u2588\u2588") for line in lines) > 10  # the QR code
    code = page_and_code(host, lines)
    terminal.type("\n")  # too early
    assert page_and_code(host, shown()) == code
    host.provider.answer(code)
    terminal.type("\n")
    assert "Press Return to begin session" in terminal.wait_for("begin session")
    terminal.type("\n")
    said, status = terminal.end()
    assert (said.split(), status) == (["in"], 0)


def test_plink_that_was_given_a_password_still_asks_the_person(host: Host) -> None:
    terminal = plink(host, "-pw", TYPED, "echo in")
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    assert "Press Return to begin session" in terminal.wait_for("begin session")
    terminal.type("\n")
    assert terminal.end()[1] == 0


def test_ssh_without_utf8_shows_no_escapes_with_an_ascii_qr_code(plain_host: Host) -> None:
    terminal = Terminal(plain_host.sshd.command(plain_host.place.person, "echo in"), "C")
    said = terminal.wait_for(PRESS_ENTER)
    assert said.isascii()
    assert "\\" not in said
    assert sum(line.startswith("####") for line in said.splitlines()) > 10
    plain_host.provider.answer(page_and_code(plain_host, said.splitlines()))
    terminal.type("\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_ssh_without_utf8_shows_page_and_code_before_the_escapes(host: Host) -> None:
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"), "C")
    said = terminal.wait_for(PRESS_ENTER)
    assert "\\342\\226\\210" in said  # a block of the QR code
    host.provider.answer(page_and_code(host, said.splitlines()))
    terminal.type("\n")
    assert terminal.end() == ("\r\nin\r\n", 0)


def test_client_that_only_sends_a_password_is_refused_at_once(host: Host) -> None:
    options = ("-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1")
    terminal = Terminal(host.sshd.command(host.place.person, *options, "echo in"))
    terminal.wait_for("password: ")
    terminal.type(f"{TYPED}\n")
    said, status = terminal.end(10)  # where nobody asks, the login would wait for 280 seconds
    assert status == 255
    assert "Permission denied" in said
    waiting = "host_logins_waiting"
    wait_for(lambda: host.agent.status()[waiting] == 0, host.agent.process, lambda: waiting, "the end of the login")
    assert TYPED not in host.place.log("agent") + host.place.log("sshd")


@pytest.mark.parametrize("program", ["scp", "sftp"])
def test_file_is_copied_after_an_approval(host: Host, program: str) -> None:
    there, here = host.place.directory / "there", host.place.directory / f"by-{program}"
    there.write_text("from the host")
    *options, person = host.sshd.command(host.place.person)[1:]
    options[options.index("-p")] = "-P"
    terminal = Terminal([program, *options, f"{person}:{there}", str(here)])
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 0, said
    assert here.read_text() == "from the host"
