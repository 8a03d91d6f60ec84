"""Tests the real FreeRADIUS with rlm_rest: the password of a VPN is the code that ssh printed."""

import re
import secrets
from collections.abc import Iterator

import pytest
from e2e.conftest import Keys, Site
from providers import freeradius
from providers.freeradius import FreeRadius

USER = f"rada{secrets.token_hex(2)}"  # another one where the tests are run again


@pytest.fixture(scope="module")
def server(site: Site, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    site.identity.add_user(USER, keys(USER).with_suffix(".pub"))
    printed = site.identity.run("client", "add", f"radius-{USER}", "--for", "freeradius", "--app", "the VPN")
    with freeradius.running(tmp_path_factory.mktemp("radius"), printed) as server:
        yield server


def code_of(site: Site, keys: Keys) -> str:
    """Returns the code that ssh prints."""
    done = site.sshd.ssh(keys(USER))
    assert done.returncode == 0, (done.stderr, site.identity.place.log("identity")[-2000:])
    assert "the VPN" in done.stdout
    (code,) = re.findall(r"\b\d{6}\b", done.stdout)
    return str(code)


def test_code_that_ssh_printed_passes_once(site: Site, keys: Keys, server: FreeRadius) -> None:
    assert not server.accepts(USER, "begin")
    code = code_of(site, keys)
    assert server.accepts(USER, code), server.log.read_text()
    assert not server.accepts(USER, code)


def test_wrong_codes_and_people_without_keys_are_refused(site: Site, keys: Keys, server: FreeRadius) -> None:
    assert not server.accepts(USER, "begin")
    code = code_of(site, keys)
    assert not server.accepts(USER, f"{(int(code) + 1) % 10**6:06}")
    assert not server.accepts("nobody-here", "begin")
    assert not server.accepts("nobody-here", code)
    assert server.accepts(USER, code)


def test_odd_names_and_passwords_are_refused(server: FreeRadius) -> None:
    for user in ('"a&user=root"', '"a b"', '"-x"'):
        assert not server.accepts(user, "123456")
    assert not server.accepts(USER, '"1&user=admin&x="')
