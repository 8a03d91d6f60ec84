"""The real privacyIDEA: its remote token asks us whether a code is right."""

import re
import secrets
from collections.abc import Iterator

import pytest
from e2e.conftest import Keys, Site
from providers import privacyidea
from providers.privacyidea import PrivacyIdea

pytestmark = pytest.mark.timeout(900)  # the first run installs it
USER = f"pia{secrets.token_hex(2)}"  # another one where the tests are run again


@pytest.fixture(scope="module")
def server(site: Site, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivacyIdea]:
    """Set up by what `client add --for privacyidea` printed."""
    with privacyidea.running(tmp_path_factory.mktemp("privacyidea")) as server:
        site.identity.add_user(USER, keys(USER).with_suffix(".pub"))
        told = site.identity.run("client", "add", f"pi-{USER}", "--for", "privacyidea", "--from", "127.0.0.1")
        address = re.search(r"^  remote\.server +(\S+)$", told, re.MULTILINE)
        assert address
        server.add_remote_token(address[1], USER)
        yield server


def code_of(site: Site, keys: Keys) -> str:
    """What ssh prints."""
    done = site.sshd.ssh(keys(USER))
    assert done.returncode == 0, done.stderr
    (code,) = re.findall(r"\b\d{6}\b", done.stdout)
    return str(code)


def test_the_code_that_ssh_printed_is_right_once(site: Site, keys: Keys, server: PrivacyIdea) -> None:
    assert not server.accepts("000000"), "the first try begins the login"
    code = code_of(site, keys)
    assert not server.accepts(f"{(int(code) + 1) % 10**6:06}")
    assert server.accepts(code)
    assert not server.accepts(code)


def test_without_ssh_no_code_is_right(server: PrivacyIdea) -> None:
    for code in ("123456", "654321", "", "password"):
        assert not server.accepts(code)
