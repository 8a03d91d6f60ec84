"""Tests logins with our own identity service: passed logins, refused logins, and the text that people read."""

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.conftest import Keys, Site

from sshaft_demo.parts import Sshd, agent_question, free_port
from sshaft_demo.place import AGENT, KEYS, LOGIN, Place


@pytest.fixture(scope="module", params=["sshaft-keys-native", "sshaft-keys"])
def client(request: pytest.FixtureRequest, place: Place) -> str:
    if request.param not in place.agent_clients():
        pytest.skip("no C compiler: ./dev has not built the native client")
    return str(request.param)


@pytest.fixture(scope="module")
def site(site: Site, place: Place, client: str) -> Iterator[Site]:
    """Behind each of the keys clients."""
    command = agent_question(place, site.agent.runtime, client)
    sshd = Sshd(place, site.agent.runtime, free_port(), {"AuthorizedKeysCommand": command})
    yield replace(site, sshd=sshd)
    place.stop(sshd.process)
    site.identity.run("user", "unlock", "alice")


def other_code(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06d}"


def test_right_key_and_code_pass(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    done = site.sshd.ssh(keys("alice"), challenge["code"])
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "Passed for alice. Your login goes on in the browser.\n",
        "",
    )
    now = site.identity.challenge(challenge["id"])
    assert now["state"] == "accepted"
    assert now["client_ip"] == "127.0.0.1"
    assert now["amr"] == ["swk", "pop"]


@pytest.mark.parametrize("form", ["{0} {1}", "{0}-{1}", "  {0}{1} "])
def test_code_may_be_written_in_groups(site: Site, keys: Keys, form: str) -> None:
    code = site.identity.open_challenge("alice")["code"]
    assert site.sshd.ssh(keys("alice"), form.format(code[:3], code[3:])).returncode == 0


def test_unknown_key_is_refused(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    done = site.sshd.ssh(keys("stranger"), code)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr
    assert site.sshd.ssh(keys("alice"), code).returncode == 0


def test_somebody_elses_code_does_not_pass(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    mine = site.identity.open_challenge("bob")
    done = site.sshd.ssh(keys("bob"), challenge["code"])
    assert done.returncode == 1 or challenge["code"] == mine["code"]
    assert site.identity.challenge(challenge["id"])["state"] == "pending"
    site.identity.cancel(challenge["id"])
    site.identity.cancel(mine["id"])


def test_person_without_a_pending_login_gets_one_calm_sentence(site: Site, keys: Keys) -> None:
    done = site.sshd.ssh(keys("carol"), "123456")
    assert (done.returncode, done.stderr) == (2, "No login is waiting for you. Start it in the browser first.\n")


def test_login_that_begins_after_ssh_has_looked_passes(site: Site, keys: Keys) -> None:
    assert site.sshd.ssh(keys("bob"), "123456").returncode == 2
    assert site.sshd.ssh(keys("bob"), site.identity.open_challenge("bob")["code"]).returncode == 0


def test_wrong_code_says_how_many_tries_are_left_and_the_fifth_ends_it(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    wrong = other_code(challenge["code"])
    for left in ("4 tries are left", "3 tries are left", "2 tries are left", "1 try is left", "No try is left"):
        done = site.sshd.ssh(keys("alice"), wrong)
        assert done.returncode == (4 if left == "No try is left" else 1)
        assert left in done.stderr
    assert site.identity.challenge(challenge["id"])["state"] == "rejected"
    assert site.sshd.ssh(keys("alice"), challenge["code"]).returncode in (2, 4)


def test_missing_code_is_refused_and_not_counted(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    done = site.sshd.ssh(keys("alice"))
    assert done.returncode == 64
    assert "Usage: ssh" in done.stderr
    assert site.sshd.ssh(keys("alice"), code).returncode == 0


def test_code_is_asked_for_on_plain_standard_input(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    done = site.sshd.ssh(keys("alice"), stdin=f"{code[:3]} {code[3:]}\n")
    assert (done.returncode, done.stderr) == (0, "Code: ")


@pytest.mark.parametrize("command", ["help", "482913; id", "$(id)", "`id`", "deny now", "--help", "482913x", "48291x"])
def test_unknown_command_gets_one_line_of_usage(site: Site, keys: Keys, command: str) -> None:
    challenge = site.identity.open_challenge("alice")
    done = site.sshd.ssh(keys("alice"), "--", command)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("Usage: ssh")
    assert done.stderr.count("\n") == 1
    assert site.identity.challenge(challenge["id"])["state"] == "pending"
    site.identity.cancel(challenge["id"])


def test_deny_rejects_the_login(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    done = site.sshd.ssh(keys("alice"), "deny")
    assert done.returncode == 3
    assert done.stderr.startswith("Denied.")
    assert site.identity.challenge(challenge["id"])["state"] == "rejected"
    assert site.sshd.ssh(keys("alice"), challenge["code"]).returncode != 0


def test_passed_login_does_not_pass_twice(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    assert site.sshd.ssh(keys("alice"), code).returncode == 0
    again = site.sshd.ssh(keys("alice"), code)
    assert again.returncode == 2
    assert re.match(r"Your login was passed already: .*, with the key \S+\. If that was not you", again.stderr)
    stranger = site.sshd.ssh(keys("bob"), code)
    assert (stranger.returncode, "passed" in stranger.stderr) == (2, False)


def test_person_reads_what_became_of_a_login_that_is_over(site: Site, keys: Keys) -> None:
    """Finding U12: ssh said only that no login was waiting."""
    denied = site.identity.open_challenge("alice")
    site.sshd.ssh(keys("alice"), "deny")
    said = site.sshd.ssh(keys("alice"), denied["code"])
    assert (said.returncode, said.stderr.partition(":")[0]) == (2, "Your login was denied")
    older = site.identity.open_challenge("alice")
    newer = site.identity.open_challenge("alice")
    said = site.sshd.ssh(keys("alice"), older["code"])
    assert said.returncode == 2 or older["code"] == newer["code"]
    assert "a newer one took its place. Use the code that the newest page shows." in said.stderr
    site.identity.cancel(newer["id"])
    assert "Your login was cancelled" in site.sshd.ssh(keys("alice"), newer["code"]).stderr


def test_right_key_may_be_the_last_of_six_in_an_ssh_agent(site: Site, keys: Keys, tmp_path: Path) -> None:
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        while not socket.exists():
            time.sleep(0.01)
        environment = {"SSH_AUTH_SOCK": str(socket), "PATH": "/usr/bin:/bin"}
        try:
            for name in ("a1", "a2", "a3", "a4", "a5", "alice"):
                subprocess.run(["ssh-add", "-q", keys(name)], env=environment, check=True)
            code = site.identity.open_challenge("alice")["code"]
            assert site.sshd.ssh(None, code, environment=environment).returncode == 0
        finally:
            agent.terminate()


def key_line(site: Site, keys: Keys, name: str) -> str:
    """Calls the keys command like sshd, and returns its output for this key."""
    kind, blob = keys.text(name).split()[:2]
    listing = subprocess.run(["ssh-keygen", "-lf", keys(name)], capture_output=True, text=True, check=True)
    place = site.sshd.place
    command = [place.libexec / "sshaft-keys", "--agent", site.agent.runtime / "keys" / "agent.sock",
               "--fingerprint", listing.stdout.split()[1], "--type", kind, "--key", blob]  # fmt: skip
    process = place.popen(command, account=KEYS, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, error = process.communicate()
    assert (process.returncode, error) == (0, b"")
    return out.decode()


def seconds_to_ask(site: Site, keys: Keys) -> float:
    """Returns the time that sshaft-keys needs to report a missing agent."""
    kind, blob = keys.text("alice").split()[:2]
    socket = site.agent.runtime / "keys" / "agent.sock"
    command = [site.sshd.place.libexec / "sshaft-keys", "--agent", socket, "--fingerprint", "x", "--type", kind]
    began = time.monotonic()
    process = site.sshd.place.popen([*command, "--key", blob], account=KEYS, stderr=subprocess.DEVNULL)
    assert process.wait() == 69
    return time.monotonic() - began


def login_with(site: Site, keys: Keys, ticket: str, code: str, key: str = "alice", auth: str = "") -> tuple[int, str]:
    """Starts sshaft-login like sshd, with the ticket and the key of the test."""
    place = site.sshd.place
    file = place.directory / f"auth-{time.monotonic_ns()}"
    file.write_text(auth or f"publickey {' '.join(keys.text(key).split()[:2])}\n")
    file.chmod(0o644)
    environment = [f"SSH_USER_AUTH={file}", f"SSH_ORIGINAL_COMMAND={code}", "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 2"]
    socket = site.agent.runtime / "login" / "agent.sock"
    command = ["env", *environment, place.libexec / "sshaft-login", "--agent", socket, "--ticket", ticket]
    process = place.popen(command, account=LOGIN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = process.communicate()
    return process.returncode, out.decode()


def ticket_of(line: str) -> str:
    return line.partition("--ticket ")[2].partition('"')[0]


def test_key_line_is_restricted_and_carries_nothing_from_outside(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    line = key_line(site, keys, "alice")
    ticket = ticket_of(line)
    login, socket = site.sshd.place.libexec / "sshaft-login", site.agent.runtime / "login" / "agent.sock"
    options, kind, blob = line.rstrip("\n").rsplit(" ", 2)
    assert options == f'restrict,pty,command="{login} --agent {socket} --ticket {ticket}"'
    assert [kind, blob] == keys.text("alice").split()[:2]
    assert ticket[0] == "t"
    site.identity.cancel(challenge["id"])


def test_ticket_of_a_passed_login_is_good_for_the_next_login_of_its_connection(site: Site, keys: Keys) -> None:
    ticket = ticket_of(key_line(site, keys, "alice"))
    first = site.identity.open_challenge("alice")
    assert login_with(site, keys, ticket, first["code"])[0] == 0
    status, said = login_with(site, keys, ticket, first["code"])
    assert (status, said.partition(":")[0]) == (2, "Your login was passed already")
    second = site.identity.open_challenge("alice")
    assert login_with(site, keys, ticket, second["code"])[0] == 0


def test_ticket_opens_nothing_for_another_key(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    ticket = ticket_of(key_line(site, keys, "alice"))
    assert login_with(site, keys, ticket, challenge["code"], key="bob")[0] == 77
    assert site.identity.challenge(challenge["id"])["state"] == "pending"
    assert login_with(site, keys, ticket, challenge["code"], key="alice")[0] == 0


def test_guessed_ticket_is_refused(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("alice")["code"]
    for guess in ("t", "tAAAAAAAAAAAAAAAAAAAAAAAA", "-t", "../t", "t\n"):
        assert login_with(site, keys, guess, code)[0] == 77
    assert site.sshd.ssh(keys("alice"), code).returncode == 0


def test_agent_that_was_killed_refuses_at_once_and_a_new_one_serves(site: Site, keys: Keys) -> None:
    site.agent.process.kill()
    site.agent.process.wait()
    assert site.sshd.ssh(keys("alice"), "123456").returncode == 255
    assert min(seconds_to_ask(site, keys) for _ in range(5)) < 0.1
    assert '"agent_unavailable"' in site.sshd.log()
    site.agent.process = site.agent.start()  # over the socket that the killed one left
    assert site.sshd.ssh(keys("alice"), site.identity.open_challenge("alice")["code"]).returncode == 0


def test_ticket_does_not_outlive_its_agent(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    ticket = ticket_of(key_line(site, keys, "alice"))
    assert site.sshd.place.stop(site.agent.process) == 0
    site.agent.process = site.agent.start()
    status, said = login_with(site, keys, ticket, challenge["code"])
    assert status == 77
    assert "Run the ssh command again." in said
    assert site.sshd.ssh(keys("alice"), challenge["code"]).returncode == 0


def test_one_request_id_finds_the_login_in_both_logs(site: Site, keys: Keys) -> None:
    code = site.identity.open_challenge("bob")["code"]
    assert site.sshd.ssh(keys("bob"), code).returncode == 0
    accepted = [line for line in site.sshd.place.log(site.agent.name).splitlines() if '"login.accepted"' in line][-1]
    request_id = accepted.partition('"request_id": "')[2][:32]
    assert request_id in site.sshd.place.log("identity")


def test_no_log_holds_a_code_a_ticket_or_a_secret(site: Site, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    ticket = ticket_of(key_line(site, keys, "alice"))
    assert site.sshd.ssh(keys("alice"), challenge["code"]).returncode == 0
    place: Place = site.sshd.place
    config = place.directory / "site.json"
    secret = config.read_text().partition('"client_secret": "')[2].partition('"')[0]
    assert len(secret) > 20
    logs = "".join(place.log(name) for name in ("identity", site.agent.name)) + site.sshd.log()
    # the code's digits alone might stand in a time stamp
    for text in (
        f'"{challenge["code"]}"',
        f" {challenge['code']}",
        ticket,
        secret,
        challenge["page_url"].rsplit("/")[-1],
    ):
        assert text not in logs


@pytest.mark.root
def test_agents_directories_are_closed_to_the_other_account(site: Site) -> None:
    place = site.sshd.place
    for account, forbidden in ((LOGIN, "keys"), (KEYS, "login")):
        process = place.popen(
            ["ls", site.agent.runtime / forbidden], account=account, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, _ = process.communicate()
        assert b"Permission denied" in out
    for account in (LOGIN, KEYS):
        process = place.popen(
            ["cat", place.directory / "site.json"], account=account, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert b"Permission denied" in process.communicate()[0]
    environ = f"/proc/{site.agent.process.pid}/environ"
    process = place.popen(["cat", environ], account=AGENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert b"Permission denied" in process.communicate()[0]
