"""Tests that the help desk lets a locked person log in again, with a real sshd and a real ssh."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from e2e.conftest import Keys, Site
from e2e.test_revocation import sign_in

from sshaft_demo.parts import wait_for
from sshaft_demo.place import IDENTITY


@pytest.fixture
def desk(site: Site) -> Iterator[Site]:
    """Makes dan a member of the help desk, while the service runs. Two wrong codes lock a person out."""
    path = site.identity.directory / "identity.json"
    before = path.read_text()
    changes = {"desk": {"desk": {"users": ["dan"]}}, "limits": {"user": 2}}
    use_settings(site, path, json.dumps(json.loads(before) | changes))
    yield site
    use_settings(site, path, before)


def use_settings(site: Site, path: Path, content: str) -> None:
    place, process = site.identity.place, site.identity.process
    reloads = place.log("identity").count("config.reloaded")
    path.write_text(content)
    place.give(path, IDENTITY, 0o600)
    process.send_signal(signal.SIGHUP)

    def are_in_force() -> bool:
        return place.log("identity").count("config.reloaded") > reloads

    wait_for(are_in_force, process, lambda: place.log("identity"), "the new settings")


def order(site: Site, browser: requests.Session, person: str, action: str) -> requests.Response:
    page = browser.get(f"{site.identity.url}/desk/people/{person}").text
    token = re.search(r'name="form_token" value="([^"]+)"', page)
    assert token
    return browser.post(f"{site.identity.url}/desk/people/{person}/{action}", data={"form_token": token[1]})


def test_locked_person_is_found_unlocked_and_logs_in(desk: Site, keys: Keys) -> None:
    site, person = desk, "erin"
    for name in ("dan", person):
        site.identity.add_user(name, keys(name).with_suffix(".pub"))
    challenge = site.identity.open_challenge(person)
    for _ in range(2):
        assert site.sshd.ssh(keys(person), f"{(int(challenge['code']) + 1) % 10**6:06}").returncode != 0
    locked = site.identity.open_challenge(person)
    assert site.sshd.ssh(keys(person), locked["code"]).returncode != 0, "no code counts now"

    browser = sign_in(site, keys("dan"))
    assert f">{person}</a>" in browser.get(f"{site.identity.url}/desk").text
    assert f">{person}</a>" in browser.get(f"{site.identity.url}/desk?q=ER").text
    page = browser.get(f"{site.identity.url}/desk/people/{person}").text
    assert "The code was wrong." in page
    assert "Too many wrong codes" in page
    assert "no longer count" in order(site, browser, person, "unlock").text

    challenge = site.identity.open_challenge(person)
    done = site.sshd.ssh(keys(person), challenge["code"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.identity.challenge(challenge["id"])["state"] == "accepted"
    assert "Passed with ssh" in browser.get(f"{site.identity.url}/desk/people/{person}").text
    site.identity.run("user", "sign-out", "dan")
    assert browser.get(f"{site.identity.url}/desk").url.endswith("/?note=nobody")
