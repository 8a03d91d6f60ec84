"""Tests the real privacyIDEA: its remote tokens ask our service whether ssh has printed a code."""

import re
import secrets
from collections.abc import Iterator

import pytest
from e2e.choosing import choose
from e2e.conftest import Keys, Site
from providers import privacyidea
from providers.privacyidea import PrivacyIdea

pytestmark = pytest.mark.timeout(900)  # the first run installs it
USER = f"pia{secrets.token_hex(2)}"  # another one where the tests are run again
PIN = "geheim"


@pytest.fixture(scope="module")
def server(site: Site, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivacyIdea]:
    """Sets privacyIDEA up with the recipe."""
    site.identity.add_user(USER, keys(USER).with_suffix(".pub"))
    wanted = ("--for", "privacyidea", "--from", "127.0.0.1", "--app", "the intranet")
    printed = site.identity.run("client", "add", f"pi-{USER}", *wanted)
    (url,) = re.findall(r"^ +URL +(\S+)$", printed, re.MULTILINE)
    with privacyidea.running(tmp_path_factory.mktemp("privacyidea")) as server:
        server.set_up(url)
        server.add_token("PLAIN", USER)
        server.add_token("PINNED", USER, PIN)
        server.add_token("NOBODY", "nobody-here")
        yield server


def code_of(site: Site, keys: Keys) -> str:
    """Returns the code that ssh prints. privacyIDEA names no address, so the person chooses the newest login."""
    said, _ = choose(site.sshd, keys(USER))
    assert "the intranet" in said
    (code,) = re.findall(r"\b\d{6}\b", said)
    return str(code)


def another(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


def test_code_that_ssh_printed_passes_once(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PLAIN", "begin")
    code = code_of(site, keys)
    assert not server.accepts("PLAIN", another(code))
    assert server.accepts("PLAIN", code), server.log.read_text()[-3000:]
    assert not server.accepts("PLAIN", code)


def test_the_code_follows_a_pin(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PINNED", f"{PIN}000000"), "it begins the login: the PIN is right"
    code = code_of(site, keys)
    assert not server.accepts("PINNED", code)
    assert not server.accepts("PINNED", f"wrong{code}")
    assert server.accepts("PINNED", PIN + code), server.log.read_text()[-3000:]


def test_a_wrong_pin_begins_no_login(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PINNED", "wrong000000")
    assert site.sshd.ssh(keys(USER)).returncode != 0


def test_no_code_passes_without_an_ssh_login(server: PrivacyIdea) -> None:
    for code in ("123456", "654321", "", "password"):
        assert not server.accepts("PLAIN", code)


def test_people_without_keys_are_refused(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("PLAIN", "begin")
    code = code_of(site, keys)
    assert not server.accepts("NOBODY", "begin")
    assert not server.accepts("NOBODY", code)
    assert server.accepts("PLAIN", code)


def test_a_wrong_secret_lets_nobody_in(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    wrong = site.identity.url.replace("://", f"://pi-{USER}:wrong@")
    server.add_token("WRONG", USER, **{"remote.server": wrong})
    assert not server.accepts("PLAIN", "begin")
    code = code_of(site, keys)
    assert not server.accepts("WRONG", code)
    assert "no such client, or not its secret" in site.identity.place.log("identity")
    assert server.accepts("PLAIN", code)
