"""Tests that a person registers a key over ssh, with a real sshd and a real ssh. The attacks come first."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from e2e.conftest import Keys

from sshaft_demo.parts import Agent, Identity, Sshd, free_port
from sshaft_demo.place import Place


@dataclass
class Enrolling:
    """A separate identity service, so that its wrong codes count here only. Alice has a key, carol has none."""

    identity: Identity
    agent: Agent
    sshd: Sshd

    def invite(self, user: str = "carol") -> dict[str, Any]:
        invited: dict[str, Any] = json.loads(self.identity.run("invite", user, "--json"))
        return invited

    def page(self, invited: dict[str, Any]) -> str:
        return requests.get(invited["page_url"], timeout=10).text

    def post(self, invited: dict[str, Any], action: str, fingerprint: str) -> requests.Response:
        form = {"action": action, "fingerprint": fingerprint}
        return requests.post(invited["page_url"], data=form, timeout=10, allow_redirects=False)

    def set(self, **settings: Any) -> None:
        """Changes the settings and restarts the service."""
        path = self.identity.directory / "identity.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        self.identity.place.stop(self.identity.process)
        self.identity.process = self.identity.start()

    def keys_of(self, user: str) -> str:
        return self.identity.run("key", "list", user)


@pytest.fixture(scope="module")
def parts() -> Iterator[tuple[Place, Keys]]:
    with Place() as place:
        yield place, Keys(place)


@pytest.fixture(scope="module")
def enrolling(parts: tuple[Place, Keys]) -> Enrolling:
    place, keys = parts
    port = free_port()
    identity = Identity(place, free_port(), port)
    identity.add_user("alice", keys("alice").with_suffix(".pub"))
    identity.add_user("carol")
    agent = Agent(place, identity.write_config(place.directory / "enrolling.json"), "agent-enrolling")
    return Enrolling(identity, agent, Sshd(place, agent.runtime, port))


@pytest.fixture
def keys(parts: tuple[Place, Keys]) -> Keys:
    return parts[1]


@pytest.fixture(autouse=True)
def afterwards(enrolling: Enrolling) -> Iterator[None]:
    """Removes all invitations and counts of wrong codes after each test."""
    yield
    database = enrolling.identity.directory / "identity.db"
    program = f"""
import sqlite3
with sqlite3.connect({str(database)!r}, timeout=20) as connection:
    connection.execute("DELETE FROM failures")
    connection.execute("DELETE FROM enrolments")
"""
    account = "sshaft-identity"
    process = enrolling.identity.place.popen(["/usr/bin/python3", "-c", program], account=account)
    assert process.wait() == 0


def fingerprint(keys: Keys, name: str) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", keys(name)], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def picture(keys: Keys, name: str) -> str:
    done = subprocess.run(["ssh-keygen", "-lvf", keys(name)], capture_output=True, text=True, check=True)
    return done.stdout.split("\n", 1)[1].rstrip("\n")


# --- what a stranger gets


def test_unknown_key_is_refused_by_sshd_without_an_invitation(enrolling: Enrolling, keys: Keys) -> None:
    done = enrolling.sshd.ssh(keys("stranger"), "enrol 5821-7741")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


@pytest.mark.parametrize("words", [(), ("482913",), ("deny",)], ids=["nothing", "code", "deny"])
def test_a_strangers_key_can_do_nothing_but_enrol(enrolling: Enrolling, keys: Keys, words: tuple[str, ...]) -> None:
    enrolling.invite()
    challenge = enrolling.identity.open_challenge("alice")
    key = keys(f"stranger-{len(words)}-{'deny' in words}")
    done = enrolling.sshd.ssh(key, *(challenge["code"] if w == "482913" else w for w in words))
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr.startswith("This key is not registered.")
    assert enrolling.identity.challenge(challenge["id"])["state"] == "pending"
    enrolling.identity.cancel(challenge["id"])


@pytest.mark.parametrize("command", ["enrol; id", "enrol $(id)", "enrol 1 2 x", "enrol\n12345678", "enrolment", "sh"])
def test_a_strangers_other_words_are_told_the_usage(enrolling: Enrolling, keys: Keys, command: str) -> None:
    enrolling.invite()
    done = enrolling.sshd.ssh(keys("stranger"), "--", command)
    assert done.returncode == 64
    assert done.stderr.startswith("Usage: ssh")


def test_a_strangers_key_gets_no_sftp_and_no_forwarding(enrolling: Enrolling, keys: Keys) -> None:
    enrolling.invite()
    port = free_port()
    forward = ("-o", "ExitOnForwardFailure=yes", "-W", f"127.0.0.1:{enrolling.identity.port}")
    done = enrolling.sshd.ssh(keys("stranger"), options=forward)
    assert done.returncode == 255
    assert "prohibited" in done.stderr or "forwarding failed" in done.stderr
    done = enrolling.sshd.ssh(keys("stranger"), options=("-o", "ExitOnForwardFailure=yes", "-R", f"{port}:127.0.0.1:1"))
    assert done.returncode == 255
    done = enrolling.sshd.ssh(keys("stranger"), "sftp", options=("-s",))
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_local_forward_of_a_stranger_reaches_nothing(enrolling: Enrolling, keys: Keys) -> None:
    enrolling.invite()
    port = free_port()
    command = enrolling.sshd.command(
        keys("stranger"), options=("-N", "-L", f"{port}:127.0.0.1:{enrolling.identity.port}")
    )
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ssh:
        try:
            refused = 0
            for _ in range(50):
                try:
                    requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
                except requests.ConnectionError as error:
                    refused += "refused" not in str(error)  # ssh listens; what comes through is nothing
                    if refused:
                        break
                    time.sleep(0.1)
                else:
                    pytest.fail("the forward reached the identity service")
            assert refused
        finally:
            ssh.terminate()


def test_three_wrong_codes_end_the_guessing_even_with_a_new_key(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    right = invited["code"].replace("-", "")
    for number in range(3):
        wrong = f"{(int(right) + number + 1) % 10**8:08}"
        done = enrolling.sshd.ssh(keys(f"guesser-{number}"), f"enrol {wrong}")
        assert (done.returncode, done.stderr) == (1, "That is not the code of an open invitation.\n")
    for name in ("guesser-0", "guesser-3"):
        done = enrolling.sshd.ssh(keys(name), f"enrol {right}")
        assert done.returncode == 4
        assert done.stderr.startswith("Too many wrong codes.")
    assert 'data-state="open"' in enrolling.page(invited)


def test_right_code_is_presented_over_a_connection_that_brought_a_wrong_one(enrolling: Enrolling, keys: Keys) -> None:
    """Case shared_connection: the right code was refused with wrong advice."""
    invited = enrolling.invite()
    socket = enrolling.sshd.place.directory / "control"
    master = enrolling.sshd.command(
        keys("twice"), "enrol", options=("-M", "-S", str(socket), "-o", "ControlPersist=20")
    )
    subprocess.run(master, input=b"00000000\n", capture_output=True, timeout=60, check=False)
    done = enrolling.sshd.ssh(keys("twice"), f"enrol {invited['code']}", options=("-S", str(socket)))
    subprocess.run(
        enrolling.sshd.command(None, options=("-S", str(socket), "-O", "exit")), capture_output=True, check=False
    )
    assert done.returncode == 0, done


def test_a_key_that_was_not_confirmed_passes_nothing(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    assert enrolling.sshd.ssh(keys("waiting"), f"enrol {invited['code']}").returncode == 0
    enrolling.invite("alice")  # something is open: the key still gets in to sshd
    challenge = enrolling.identity.open_challenge("carol")
    assert enrolling.sshd.ssh(keys("waiting"), challenge["code"]).returncode == 77
    enrolling.identity.cancel(challenge["id"])
    assert enrolling.keys_of("carol") == ""


def test_a_second_key_with_the_same_code_is_refused_and_the_first_stays(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    enrolling.invite("alice")
    assert enrolling.sshd.ssh(keys("first"), f"enrol {invited['code']}").returncode == 0
    done = enrolling.sshd.ssh(keys("second"), f"enrol {invited['code']}")
    assert done.returncode == 77
    assert done.stderr.startswith("Another key was presented")
    page = enrolling.page(invited)
    assert fingerprint(keys, "first") in page.replace("&#43;", "+")
    assert fingerprint(keys, "second") not in page.replace("&#43;", "+")


def test_the_page_confirms_only_the_key_it_showed(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    assert enrolling.sshd.ssh(keys("shown"), f"enrol {invited['code']}").returncode == 0
    assert enrolling.post(invited, "confirm", fingerprint(keys, "stranger")).status_code == 400
    assert enrolling.keys_of("carol") == ""


def test_key_marked_as_not_mine_stays_refused(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    mine = fingerprint(keys, "foreign")
    assert enrolling.sshd.ssh(keys("foreign"), f"enrol {invited['code']}").returncode == 0
    assert enrolling.post(invited, "refuse", mine).status_code == 303
    assert 'data-state="refused"' in enrolling.page(invited)
    assert enrolling.post(invited, "confirm", mine).status_code == 400
    assert enrolling.keys_of("carol") == ""


# --- what a person gets


def test_a_fresh_key_is_presented_confirmed_and_passes_a_login(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    assert re.fullmatch(r"ssh -p \d+ mfa@127\.0\.0\.1 enrol \d{4}-\d{4}", invited["ssh_command"])
    done = enrolling.sshd.ssh(keys("fresh"), *invited["ssh_command"].split()[-2:])
    mine = fingerprint(keys, "fresh")
    expected = f"Presented. Compare the fingerprint on the page and confirm there:\n{mine}\n{picture(keys, 'fresh')}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    page = enrolling.page(invited)
    assert 'data-state="presented"' in page
    assert mine in page.replace("&#43;", "+")
    assert enrolling.post(invited, "confirm", mine).status_code == 303
    assert 'data-state="confirmed"' in enrolling.page(invited)
    assert mine in enrolling.keys_of("carol")
    challenge = enrolling.identity.open_challenge("carol")
    assert enrolling.sshd.ssh(keys("fresh"), challenge["code"]).returncode == 0
    assert enrolling.identity.challenge(challenge["id"])["fingerprint"] == mine
    enrolling.identity.run("key", "remove", mine)


@pytest.mark.parametrize("form", ["enrol {0}{1}", "enrol {0} {1}", "  enrol   {0}-{1} "])
def test_the_code_may_be_written_in_groups(enrolling: Enrolling, keys: Keys, form: str) -> None:
    code = enrolling.invite()["code"]
    assert enrolling.sshd.ssh(keys("grouped"), form.format(code[:4], code[5:])).returncode == 0


def test_command_enrol_alone_asks_for_the_code(enrolling: Enrolling, keys: Keys) -> None:
    code = enrolling.invite()["code"]
    done = enrolling.sshd.ssh(keys("asked"), "enrol", stdin=f"{code}\n")
    assert (done.returncode, done.stderr) == (0, "Code: ")
    assert done.stdout.startswith("Presented.")


def test_same_key_may_be_presented_again(enrolling: Enrolling, keys: Keys) -> None:
    code = enrolling.invite()["code"]
    enrolling.invite("alice")
    for _ in range(2):
        assert enrolling.sshd.ssh(keys("again"), f"enrol {code}").returncode == 0


def test_a_key_of_somebody_else_is_refused_without_saying_whose(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    done = enrolling.sshd.ssh(keys("alice"), f"enrol {invited['code']}")
    assert done.returncode == 77
    assert done.stderr.startswith("This key belongs to somebody else.")
    assert "alice" not in done.stderr
    assert 'data-state="open"' in enrolling.page(invited)


def test_own_key_is_reported_as_registered_already(enrolling: Enrolling, keys: Keys) -> None:
    done = enrolling.sshd.ssh(keys("alice"), f"enrol {enrolling.invite('alice')['code']}")
    assert (done.returncode, done.stderr) == (77, "This key is registered for you already. Nothing was changed.\n")


def test_a_registered_key_logs_in_as_ever_while_an_invitation_is_open(enrolling: Enrolling, keys: Keys) -> None:
    enrolling.invite()
    code = enrolling.identity.open_challenge("alice")["code"]
    assert enrolling.sshd.ssh(keys("alice"), code).returncode == 0


def test_registered_key_behind_an_unknown_one_passes_at_the_second_run(enrolling: Enrolling, keys: Keys) -> None:
    """Finding S21: while an invitation is open, sshd stops at the unknown key that ssh offers first."""
    enrolling.invite()
    code = enrolling.identity.open_challenge("alice")["code"]
    second = ("-i", str(keys("alice")))
    first = enrolling.sshd.ssh(keys("unknown"), code, options=second)
    assert (first.returncode, "run the same command again" in first.stderr) == (77, True)
    assert enrolling.sshd.ssh(keys("unknown"), code, options=second).returncode == 0


def test_strangers_do_not_keep_the_invited_person_out(enrolling: Enrolling, keys: Keys) -> None:
    """Finding S9: prompts of strangers, and keys that they only offered, used up what the invited person needs."""
    invited = enrolling.invite()
    command = enrolling.sshd.command(keys("throwaway"), "enrol")
    waiting = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    try:
        ended = [process for process in waiting if not process.stderr or b"Code: " not in process.stderr.read(6)]
        assert len(ended) == 2
        assert {process.wait(30) for process in ended} == {75}
        assert enrolling.sshd.ssh(keys("invited"), f"enrol {invited['code']}").returncode == 0
    finally:
        for process in waiting:
            process.kill()
            process.communicate()


# --- what the operator decides


def test_the_key_policy_refuses_in_ssh_with_its_reason(enrolling: Enrolling, keys: Keys) -> None:
    enrolling.set(key_policy={"security_keys_only": True})
    try:
        done = enrolling.sshd.ssh(keys("soft"), f"enrol {enrolling.invite()['code']}")
    finally:
        enrolling.set(key_policy={})
    assert (done.returncode, done.stderr) == (
        77,
        "Only security keys (ssh-keygen -t ed25519-sk) are taken here.\n",
    )


def test_unknown_key_is_refused_by_sshd_while_enrolment_is_off(enrolling: Enrolling, keys: Keys) -> None:
    enrolling.set(enrolment_over_ssh=False)
    try:
        invited = enrolling.invite()
        assert "code" not in invited
        done = enrolling.sshd.ssh(keys("stranger"), "enrol 5821-7741")
    finally:
        enrolling.set(enrolment_over_ssh=True)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def test_signature_replaces_the_ssh_login(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    form = requests.get(f"{invited['page_url']}?by=signature", timeout=10).text
    command = re.search(r'id="sign-command">([^<]*)<', form)
    assert command
    shell = command[1].replace("&#39;", "'").replace("~/.ssh/id_ed25519", str(keys("signing")))
    signature = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    fields = {"action": "sign", "public_key": keys.text("signing"), "signature": signature}
    answer = requests.post(invited["page_url"], data=fields, timeout=10)
    assert answer.status_code == 200
    assert 'data-state="presented"' in answer.text
    assert enrolling.post(invited, "confirm", fingerprint(keys, "signing")).status_code == 303
    challenge = enrolling.identity.open_challenge("carol")
    assert enrolling.sshd.ssh(keys("signing"), challenge["code"]).returncode == 0
    enrolling.identity.run("key", "remove", fingerprint(keys, "signing"))


def test_no_log_holds_an_enrolments_code_or_page(enrolling: Enrolling, keys: Keys) -> None:
    invited = enrolling.invite()
    enrolling.sshd.ssh(keys("quiet"), f"enrol {invited['code']}")
    enrolling.page(invited)
    place = enrolling.sshd.place
    logs = "".join(place.log(name) for name in ("identity", enrolling.agent.name)) + enrolling.sshd.log()
    for secret in (invited["code"], invited["code"].replace("-", ""), invited["page_url"].rsplit("/")[-1]):
        assert secret not in logs
    assert fingerprint(keys, "quiet") in logs
