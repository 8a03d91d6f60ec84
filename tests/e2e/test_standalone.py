"""Tests the stand-alone commands, which use no agent, with our own identity service."""

from collections.abc import Callable

import pytest
from e2e.conftest import Keys, Site

from sshaft_demo.parts import Sshd


@pytest.fixture
def sshd(site: Site, standalone: Callable[..., Sshd]) -> Sshd:
    return standalone(site.identity)


def test_code_is_needed_asked_for_and_checked(site: Site, sshd: Sshd, keys: Keys) -> None:
    challenge = site.identity.open_challenge("alice")
    wrong = f"{(int(challenge['code']) + 1) % 10**6:06d}"
    done = sshd.ssh(keys("alice"), wrong)
    assert (done.returncode, done.stderr) == (1, "That is not the code of your login. 4 tries are left.\n")
    done = sshd.ssh(keys("alice"), stdin=challenge["code"] + "\n")
    assert (done.returncode, done.stderr) == (0, "Code: ")
    now = site.identity.challenge(challenge["id"])
    assert (now["state"], now["client_ip"], now["key_type"]) == ("accepted", "127.0.0.1", "ssh-ed25519")


def test_deny_rejects_and_nothing_pending_is_said(site: Site, sshd: Sshd, keys: Keys) -> None:
    challenge = site.identity.open_challenge("bob")
    assert sshd.ssh(keys("bob"), "deny").returncode == 3
    assert site.identity.challenge(challenge["id"])["state"] == "rejected"
    done = sshd.ssh(keys("bob"), "123456")
    assert (done.returncode, done.stderr) == (2, "No login is waiting for you. Start it in the browser first.\n")
