"""Tests codes in both directions, logins without a user and confirmations, with a real sshd and a real ssh."""

import re
import subprocess

from e2e.conftest import Keys, Site


def test_code_that_ssh_prints_passes_in_the_browser(site: Site, keys: Keys) -> None:
    opened = site.identity.open_challenge("alice", binding="code_back", app="Wiki")
    assert "code" not in opened
    done = site.sshd.ssh(keys("alice"))
    assert done.returncode == 0
    assert "Login to Wiki" in done.stdout
    code = re.search(r"Type it where your login asks for it: ([0-9]{6})$", done.stdout.strip())
    assert code
    assert site.identity.challenge(opened["id"])["state"] == "pending"
    assert site.identity.verify(opened["id"], code[1])["state"] == "accepted"


def test_somebody_elses_key_is_given_no_code(site: Site, keys: Keys) -> None:
    opened = site.identity.open_challenge("alice", binding="code_back")
    done = site.sshd.ssh(keys("carol"), "123456")
    assert done.returncode == 2
    assert "No login is waiting" in done.stderr
    site.identity.cancel(opened["id"])


def test_user_of_the_ssh_key_is_the_subject_without_a_hint(site: Site, keys: Keys) -> None:
    opened = site.identity.open_challenge(None)
    assert len(opened["code"]) == 8
    assert site.sshd.ssh(keys("bob"), opened["code"]).returncode == 0
    now = site.identity.challenge(opened["id"])
    assert (now["state"], now["user"]) == ("accepted", "bob")


def test_login_from_another_address_is_shown_and_asked_about(site: Site, keys: Keys) -> None:
    """Finding S10: `echo y | ssh ...` answered before the question came."""
    context = {"ip": "203.0.113.9"}
    opened = site.identity.open_challenge("alice", app="Wiki", context=context)
    refused = site.sshd.ssh(keys("alice"), opened["code"], stdin="n\n")
    assert refused.returncode == 3
    assert "from a browser at 203.0.113.9" in refused.stderr
    assert "This ssh comes from 127.0.0.1." in refused.stderr
    assert site.identity.challenge(opened["id"])["state"] == "pending"
    assert site.sshd.ssh(keys("alice"), opened["code"], stdin="y\n").returncode == 3
    command = site.sshd.command(keys("alice"), opened["code"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as ssh:
        assert ssh.stdin is not None
        assert ssh.stderr is not None
        shown = b""
        while not (number := re.search(rb"type (\d\d): $", shown)):
            part = ssh.stderr.read(4096)
            assert part, shown
            shown += part
        ssh.stdin.write(number[1] + b"\n")
        assert ssh.wait(30) == 0
    assert site.identity.challenge(opened["id"])["state"] == "accepted"
