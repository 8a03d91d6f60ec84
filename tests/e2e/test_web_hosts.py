"""Tests what `sshaft web` does with other hosts: device login in the terminal, changed keys, much output, TLS."""

import ssl
import time
from collections.abc import Iterator

import pytest
import requests
import trustme
from e2e.hosts import AUDIENCE, PRESS_ENTER, Host, host_in
from e2e.web_page import TerminalPage, WebBrowser
from e2e.web_site import CLIENT_ID, WebSite, settings, web_site

from bench.load.identity_service import resident_mb
from sshaft_demo.host import CODE
from sshaft_demo.parts import Web, free_port
from sshaft_demo.place import WEB, Place


@pytest.fixture(scope="module")
def device_host() -> Iterator[tuple[Host, Web]]:
    """A host with device login alone, and `sshaft web` without an API for it."""
    with Place() as place, host_in(place) as host:
        yield host, Web(place, settings(host, None))


def asked(device_host: tuple[Host, Web]) -> tuple[TerminalPage, str]:
    """Returns the page of a terminal in which the host asks for the approval of a login, and the code."""
    host, web = device_host
    browser = WebBrowser(web.url).sign_in(host.place.person)
    page = browser.attach(browser.open(user=host.place.person))
    said = page.wait_for(PRESS_ENTER)
    code = CODE.search(said)
    assert code, said
    return page, code[0]


def test_prompt_of_device_login_works_in_the_terminal(device_host: tuple[Host, Web]) -> None:
    page, code = asked(device_host)
    device_host[0].provider.answer(code)
    page.type("\r")
    page.wait_until("open")
    page.type("echo i''n\n")
    page.wait_for("in\r\n")


def test_login_that_the_person_denies_ends_the_terminal(device_host: tuple[Host, Web]) -> None:
    page, code = asked(device_host)
    device_host[0].provider.answer(code, "deny")
    page.type("\r")
    page.wait_for("denied in the browser")
    page.type("\x03")
    assert page.wait_for_end() == 4002
    assert page.news[-1]["message"] == "You have cancelled the login."


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with Place() as place, web_site(place) as site:
        yield site


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_gigabyte_of_output_needs_no_memory(site: WebSite) -> None:
    page = site.terminal()
    page.type("head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo e''nd\n")
    page.wait_for("xxxx")
    pid = site.web.process.pid
    before, most = resident_mb(pid), 0.0
    while b"end\r\n" not in page.said[-100:]:
        assert page.read()
        if len(page.said) > 500_000:
            most = max(most, resident_mb(pid))
            page.said = page.said[-100:]
    assert page.end > 1_000_000_000
    assert most - before < 10


def test_endless_output_lets_another_terminal_work(site: WebSite) -> None:
    busy, quiet = site.terminal(), site.terminal()
    busy.type("yes\n")
    busy.wait_for("y\r\ny\r\n")
    times = []
    for number in range(20):
        for _ in range(50):
            busy.read()
        busy.said = b""
        began = time.monotonic()
        quiet.type(f"echo {number}''x\n")
        quiet.wait_for(f"{number}x\r\n")
        times.append(time.monotonic() - began)
    assert sorted(times)[10] < 0.2
    busy.type("\x03")


def test_host_that_gets_another_key_is_refused(site: WebSite) -> None:
    """The file with the keys changes and the program starts anew, as after an attack on the name."""
    place, known = site.place, site.place.known_hosts.read_text()
    other = place.generate_key("another-host-key").with_suffix(".pub").read_text().split()[:2]
    lines = [f"127.0.0.1 {known.split(maxsplit=1)[1]}".strip(), f"localhost {' '.join(other)}"]
    changed = settings(site.host, site.api.url)
    changed["targets"]["host"] |= {"host": "localhost", "known_hosts": lines}
    with_other_key = Web(place, changed, name="web-other")
    try:
        browser = WebBrowser(with_other_key.url).sign_in(place.person)
        page = browser.attach(browser.open())
        assert page.wait_for_end() == 4002
        assert "does not have the host key that it must have" in page.news[-1]["message"]
        log = place.log("web-other")
        assert '"reason": "host_key_changed"' in log
    finally:
        place.stop(with_other_key.process)


def test_cookies_over_tls_are_for_this_host_alone(site: WebSite) -> None:
    place, authority = site.place, trustme.CA()
    files = {name: place.directory / f"web-{name}.pem" for name in ("certificate", "private_key")}
    made = authority.issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path(files["certificate"])
    made.private_key_pem.write_to_path(files["private_key"])
    trusted = place.directory / "web-authority.pem"
    authority.cert_pem.write_to_path(trusted)
    for path in files.values():
        place.give(path, WEB, 0o400)
    port = free_port()
    more = {f"{name}_file": str(path) for name, path in files.items()}
    url = {"public_url": f"https://localhost:{port}"}
    secure = Web(place, settings(site.host, site.api.url, **more, **url), port, "web-tls")
    try:
        browser = WebBrowser(secure.url)
        browser.http.verify = str(trusted)
        browser.sign_in(place.person)
        cookies = {each.name: each for each in browser.http.cookies}
        assert cookies["__Host-sshaft-web"].secure
        page = TerminalPage(browser.socket(browser.open(), ssl=ssl.create_default_context(cafile=trusted)))
        page.wait_until("open")
        place.stop(secure.process)
        assert page.wait_for_end() in (1012, 4002)
    finally:
        place.stop(secure.process)


def test_token_is_never_in_the_log(site: WebSite) -> None:
    browser = site.browser()
    browser.attach(browser.open()).wait_until("open")
    log = site.place.log("web")
    assert "eyJ" not in log
    assert AUDIENCE not in log
    assert CLIENT_ID not in log
    assert requests.get(f"{site.web.url}/?code=c0de&state=st4te", timeout=10).status_code == 200
    assert "c0de" not in site.place.log("web")
