"""Whose word about an address is taken: `X-Forwarded-For` as far as proxies of ours wrote it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from service.service import SETTINGS, Service

from sshaft_identity.common.addresses import believed
from sshaft_identity.service.app import create_app
from sshaft_identity.settings import Settings
from sshaft_identity.web.browsers import browser_name

PROXIES = ("10.0.0.0/8", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),  # a stranger's word
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # the browser wrote the first address
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1::5", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, <script>"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("/run/socket", ["198.51.100.1"], "/run/socket"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_the_walk_ends_at_the_first_address_that_is_not_a_trusted_proxy(
    peer: str | None, forwarded: list[str], found: str | None
) -> None:
    assert believed(peer, forwarded, PROXIES, 2) == found


@pytest.mark.parametrize(
    ("forwarded", "most", "found"),
    [
        ("203.0.113.9, 10.1.2.3", 1, "10.1.2.3"),  # the browser at 10.1.2.3 wrote the first address
        ("10.0.0.5, 10.1.2.3", 1, "10.1.2.3"),
        ("203.0.113.9, 198.51.100.1, 10.0.0.2", 2, "198.51.100.1"),
        ("198.51.100.1, 10.0.0.2", 1, "10.0.0.2"),
        ("198.51.100.1", 5, "198.51.100.1"),
    ],
)
def test_browser_within_a_trusted_network_cannot_choose_its_address(forwarded: str, most: int, found: str) -> None:
    """Finding S13: with `trusted_proxies: 10.0.0.0/8`, every browser in 10.0.0.0/8 passed `address_check: require`."""
    assert believed("10.0.0.1", [forwarded], ("10.0.0.0/8",), most) == found


def test_trusted_network_is_a_warning_at_the_start(service: Service) -> None:
    """Finding S13: every host of a trusted network can still call the service itself, with any X-Forwarded-For."""
    create_app(service.store, SETTINGS.model_copy(update={"trusted_proxies": ("127.0.0.1", "2001:db8::1/128")}))
    assert service.events("trusted_proxies.network") == []
    create_app(service.store, SETTINGS.model_copy(update={"trusted_proxies": ("127.0.0.1", "10.0.0.0/8")}))
    (event,) = service.events("trusted_proxies.network")
    assert (event["networks"], event["level"]) == (["10.0.0.0/8"], "warning")


def test_no_proxy_is_trusted_by_default() -> None:
    assert believed("127.0.0.1", ["198.51.100.1"], Settings().trusted_proxies) == "127.0.0.1"


@given(st.lists(st.text()))
def test_any_header_gives_an_address(forwarded: list[str]) -> None:
    found = believed("10.0.0.1", forwarded, ["10.0.0.1"])
    assert found is not None
    assert all(c in "0123456789abcdef.:" for c in found)


def test_settings_refuse_a_proxy_that_is_not_a_network() -> None:
    with pytest.raises(ValidationError):
        Settings(trusted_proxies=("proxy.example.org",))


def test_the_audit_log_has_the_address_before_the_trusted_proxy(service: Service, listening: object) -> None:
    settings = SETTINGS.model_copy(update={"trusted_proxies": ("127.0.0.1",)})
    listening[0].app = create_app(service.store, settings, service.clock)  # type: ignore[index]
    headers = {"Origin": "https://id.example.org", "X-Forwarded-For": "203.0.113.9, 198.51.100.1"}
    service.call("POST", "/sign-in/ssh", headers=headers, data={"a": "b"}, allow_redirects=False)
    (challenge,) = service.store.challenges.recent()
    assert challenge.context.ip == "198.51.100.1"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0",
         "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Safari/604.1",
         "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl"),
        ("A browser of my own", "A browser of my own"),
        ("x" * 70, "x" * 57 + "..."),
        (None, None),
    ],
)  # fmt: skip
def test_a_browser_has_its_common_name(agent: str | None, name: str | None) -> None:
    assert browser_name(agent) == name
