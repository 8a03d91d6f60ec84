"""Tests that a removed key ends what it began, with a real sshd, a real ssh and the real commands."""

import html
import re
import subprocess
from pathlib import Path

import requests
from e2e.conftest import Keys, Site


def sign_in(site: Site, key: Path) -> requests.Session:
    """Signs a browser in to "My keys", as any stranger's browser can begin it."""
    browser = requests.Session()
    browser.headers["Origin"] = site.identity.url
    page = browser.post(f"{site.identity.url}/sign-in/ssh", data={"a": "b"})
    pass_page(site, key, page)
    assert browser.get(f"{site.identity.url}/sign-in/ssh").url.endswith("/account/keys")
    return browser


def pass_page(site: Site, key: Path, page: requests.Response) -> None:
    found = re.search(r"mfa@127\.0\.0\.1 (\d+)</code>", page.text)
    assert found, page.text
    done = site.sshd.ssh(key, found[1])
    assert done.returncode == 0, done.stdout + done.stderr


def enrol(site: Site, browser: requests.Session, new: Path) -> requests.Response:
    """Opens an enrolment, presents the new key by a signature, and presses "Confirm"."""
    keys_page = browser.get(f"{site.identity.url}/account/keys").text
    token = re.search(r'name="form_token" value="([^"]+)"', keys_page)
    assert token
    page = browser.post(f"{site.identity.url}/account/keys/enrol", data={"form_token": token[1]}).url
    line = re.search(r"(sshaft-enrol \w+ [0-9a-f]+)", html.unescape(browser.get(f"{page}?by=signature").text))
    assert line
    command = ["ssh-keygen", "-Y", "sign", "-n", "sshaft-enrol", "-f", str(new)]
    signature = subprocess.run(command, input=line[1] + "\n", capture_output=True, text=True, check=True).stdout
    public = new.with_suffix(".pub").read_text()
    browser.post(page, data={"action": "sign", "public_key": public, "signature": signature})
    return browser.post(page, data={"action": "confirm", "fingerprint": fingerprint(new)})


def fingerprint(key: Path) -> str:
    return subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout.split()[1]


def test_removed_key_ends_its_session_and_the_key_that_it_was_adding(site: Site, keys: Keys) -> None:
    """Finding S1: a thief signed in with a stolen key, which was removed, and registered another key."""
    site.identity.add_user("dora", keys("dora").with_suffix(".pub"))
    thief = sign_in(site, keys("dora"))
    approval = enrol(site, thief, keys("evil"))
    assert "with a key that you have registered" in approval.text, "the new key does not count yet"
    site.identity.run("key", "remove", fingerprint(keys("dora")))
    assert thief.get(f"{site.identity.url}/account/keys").url.endswith("/?note=nobody")
    assert "Cancelled" in thief.get(approval.url).text
    assert not site.identity.run("key", "list", "dora")


def test_relayed_sign_in_code_registers_no_key(site: Site, keys: Keys) -> None:
    """Finding S1: a person brought one code for a stranger, and the stranger registered a key of their own."""
    site.identity.add_user("erin", keys("erin").with_suffix(".pub"))
    stranger = sign_in(site, keys("erin"))
    approval = enrol(site, stranger, keys("strange"))
    assert fingerprint(keys("strange")) not in site.identity.run("key", "list", "erin")
    pass_page(site, keys("erin"), approval)  # the person approves the key, which ssh and the page name
    assert "Registered" in stranger.get(approval.url).text
    assert fingerprint(keys("strange")) in site.identity.run("key", "list", "erin")
    site.identity.run("key", "remove", fingerprint(keys("erin")))
    assert fingerprint(keys("strange")) in site.identity.run("key", "list", "erin"), "the command names it; it stays"


def test_operator_signs_a_person_out_everywhere(site: Site, keys: Keys) -> None:
    """Finding S1: an operator could not sign a person out."""
    site.identity.add_user("fred", keys("fred").with_suffix(".pub"))
    browser = sign_in(site, keys("fred"))
    site.identity.run("user", "sign-out", "fred")
    assert browser.get(f"{site.identity.url}/account/keys").url.endswith("/?note=nobody")
