"""Tests `sshaft ssh` with the real ssh and sshd, our PAM module, and a service of the contract on loopback."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.motley_cue import PROMPT, MotleyCue, TokenPrompts
from fakes.unix_server import UnixServer

from sshaft_demo.host import MODULE, HostSshd, Terminal
from sshaft_demo.parts import free_port
from sshaft_demo.place import CHECKOUT, Place

TOKEN = "token-of-alice"
LONG = "e30." + "x" * 3000
SETTINGS = "Subsystem sftp internal-sftp\n"


@dataclass
class Site:
    """A host that takes tokens, and what a person types to get there."""

    place: Place
    service: MotleyCue
    prompts: TokenPrompts
    sshd: HostSshd
    folder: Path

    def ssh_options(self) -> list[str]:
        return self.sshd.command(self.place.person)[1:-1]

    def command(self, *words: str | Path, token: str = TOKEN, program: str = "ssh") -> list[str]:
        """Returns `sshaft PROGRAM WORDS`, with a token in a file."""
        file = self.folder / "token"
        file.write_text(token + "\n")
        own = ["--token-file", str(file), "--endpoint", self.service.url]
        return [sys.executable, "-P", "-m", "sshaft", program, *own, *map(str, words)]

    def scp(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        options = [("-P" if word == "-p" else word) for word in self.ssh_options()]
        return run(self.command(*options, *words, program="scp"))

    def ssh(self, *words: str, token: str = TOKEN, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        command = self.command(*self.ssh_options(), "127.0.0.1", *words, token=token)
        return run(command, stdin=stdin)


def run(command: list[str], stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program without a terminal."""
    variables = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "HOME": "/nonexistent", **environment}
    return subprocess.run(
        ["setsid", "-w", *command], input=stdin, capture_output=True, text=True, env=variables, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def host() -> Iterator[Site]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with Place() as place, MotleyCue(prefix="/motley_cue") as service:
        prompts = TokenPrompts(service)
        path = place.directory / "agent.sock"
        with UnixServer(path, prompts):
            path.chmod(0o666)
            folder = place.directory / "person"
            folder.mkdir()
            yield Site(place, service, prompts, HostSshd(place, path, free_port(), SETTINGS), folder)


@pytest.fixture
def site(host: Site) -> Site:
    host.service.users = {TOKEN: host.place.person, LONG: host.place.person}
    host.service.bent.clear()
    host.service.calls.clear()
    host.service.makes_passwords = True
    host.prompts.answers.clear()
    host.prompts.prompt = PROMPT
    return host


def test_person_with_a_token_runs_a_command(site: Site) -> None:
    done = site.ssh("echo in; cat; exit 7", stdin="typed")
    assert (done.stdout, done.returncode) == ("in\ntyped", 7), done.stderr
    assert site.prompts.answers == [TOKEN]


def test_long_token_becomes_a_one_time_password(site: Site) -> None:
    assert site.ssh("echo in", token=LONG).stdout == "in\n"
    assert [len(each) for each in site.prompts.answers] == [128]


def test_long_token_goes_in_parts_where_the_service_makes_no_passwords(site: Site) -> None:
    site.service.makes_passwords = False
    assert site.ssh("echo in", token=LONG).stdout == "in\n"
    assert [len(each) for each in site.prompts.answers] == [1022, 1022, 962]


def test_refused_token_ends_as_with_plain_ssh(site: Site) -> None:
    site.prompts.service.users[TOKEN] = "nobody-here"
    done = site.ssh("echo in")
    assert (done.stdout, done.returncode) == ("", 255)
    assert "Permission denied" in done.stderr


def test_scp_copies_both_ways(site: Site) -> None:
    site.folder.chmod(0o777)
    here, there, back = site.folder / "here", site.folder / "there", site.folder / "back"
    here.write_text("content")
    assert site.scp(here, f"127.0.0.1:{there}").returncode == 0
    done = site.scp(f"127.0.0.1:{there}", back)
    assert (done.returncode, back.read_text()) == (0, "content"), done.stderr


def test_sftp_transfers_files(site: Site) -> None:
    there = site.folder / "there"
    there.write_text("content")
    options = [("-P" if word == "-p" else word) for word in site.ssh_options()]
    command = site.command("-b", "-", *options, "127.0.0.1", program="sftp")
    done = run(command, f"get {there} {site.folder / 'got'}\n")
    assert (done.returncode, (site.folder / "got").read_text()) == (0, "content"), done.stderr


def test_rsync_copies_files(site: Site) -> None:
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    source, target = site.folder / "source", site.folder / "target"
    source.mkdir()
    (source / "file").write_text("content")
    shell = shlex.join(site.command(*site.ssh_options()))
    done = run(["rsync", "-a", "-e", shell, f"{source}/", f"127.0.0.1:{target}/"])
    assert (done.returncode, (target / "file").read_text()) == (0, "content"), done.stderr


def test_git_clones_over_ssh(site: Site) -> None:
    there, here = site.folder / "there.git", site.folder / "clone"
    run(["git", "init", "-q", "--bare", str(there)])
    if site.place.accounts.separate:
        run(["chown", "-R", "59901:59901", str(there)])
    shell = shlex.join(site.command(*site.ssh_options()))
    done = run(["git", "clone", f"127.0.0.1:{there}", str(here)], GIT_SSH_COMMAND=shell)
    assert (done.returncode, (here / ".git").is_dir()) == (0, True), done.stderr


@pytest.mark.parametrize("words", [["-V"], ["-G", "127.0.0.1"], ["-O", "check", "127.0.0.1"], ["-Q", "key"], []])
def test_call_that_logs_in_nowhere_is_plain_ssh(site: Site, words: list[str]) -> None:
    plain = run(["ssh", *words])
    ours = run(site.command(*words))
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert site.service.calls == []


def test_terminal_and_exit_status_are_those_of_ssh(site: Site) -> None:
    command = site.command("-tt", *site.ssh_options(), "127.0.0.1", "read x; echo got $x; exit 3")
    terminal = Terminal(["env", f"PYTHONPATH={CHECKOUT}", "HOME=/nonexistent", *command])
    terminal.type("typed\n")
    said, status = terminal.end()
    assert "got typed" in said
    assert status == 3


def test_account_that_the_person_names_is_kept(site: Site) -> None:
    done = site.ssh("-v", "-l", "nobody", "true")
    assert (
        f"calls your account {site.place.person}; trying nobody"
        in run(site.command(*site.ssh_options(), "nobody@127.0.0.1", "true")).stderr
    )
    assert done.returncode == 255


def test_batch_mode_asks_the_person_nothing(site: Site) -> None:
    assert site.ssh("-o", "BatchMode=yes", "echo in").stdout == "in\n"
    site.prompts.prompt = "Password: "
    terminal = Terminal(
        ["env", f"PYTHONPATH={CHECKOUT}", "HOME=/nonexistent",
         *site.command("-o", "BatchMode=yes", *site.ssh_options(), "127.0.0.1", "echo in")]
    )  # fmt: skip
    said, status = terminal.end()
    assert status == 255
    assert "Password" not in said


def test_refusal_is_explained(site: Site) -> None:
    site.prompts.service.users[TOKEN] = "nobody-here"
    site.service.bent["/user/get_status"] = 200, {"state": "suspended", "message": "username nobody-here"}
    assert site.ssh("true").stderr.count("your account is suspended; ask an operator there") == 1


def test_host_without_a_service_is_named(site: Site) -> None:
    words = [sys.executable, "-P", "-m", "sshaft", "ssh", "--token-file", "/dev/null", *site.ssh_options(), "127.0.0.1"]
    done = run(words)
    assert done.returncode == 255
    assert done.stderr.startswith("sshaft: no service for access tokens answers at https://127.0.0.1/motley_cue, ")
    assert done.stderr.count("\n") == 1


def test_info_shows_service_providers_and_account(site: Site) -> None:
    site.service.issuers["https://op.example"] = {"scopes": ["openid"], "audience": ""}
    done = run(site.command("127.0.0.1", program="info"))
    assert done.returncode == 0, done.stderr
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith("  "))
    assert shown["provider"] == "https://op.example"
    assert f"username {site.place.person}" in done.stdout


def test_printed_configuration_shares_one_login(site: Site) -> None:
    options = ["--print-config", "127.0.0.1"]
    block = run([*site.command()[:5], *options]).stdout
    (site.folder / ".ssh").mkdir(mode=0o700)
    config = site.folder / "config"
    config.write_text(block.replace("~", str(site.folder)))
    words = ["-F", str(config), *site.ssh_options()[2:], "127.0.0.1"]
    assert run(site.command("-fN", *words)).returncode == 0
    assert run(["ssh", "-o", "BatchMode=yes", *words, "echo in"]).stdout == "in\n"
    site.service.calls.clear()
    assert run(site.command(*words, "echo in")).stdout == "in\n"
    assert site.service.calls == [], "the connection is there already"
    assert run(["ssh", "-O", "exit", *words]).returncode == 0
