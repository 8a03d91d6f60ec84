"""Tests what `sshaft web` does with other hosts: device login in the terminal, changed keys, much output, TLS."""

import hashlib
import json
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from e2e.hosts import AUDIENCE, PRESS_ENTER, Host, host_in
from e2e.web_site import CLIENT_ID, WebSite, settings, web_site

from bench.load.identity_service import resident_mb
from sshaft_demo.host import CODE, HostSshd
from sshaft_demo.parts import Web, free_port, wait_for
from sshaft_demo.place import WEB, Place
from sshaft_demo.web_client import TerminalPage, WebBrowser


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


@dataclass
class Certified:
    """sshds whose host keys have certificates of `authority`: a good one, an expired one, and one for another host."""

    host: Host
    authority: Path
    good: HostSshd
    expired: HostSshd
    elsewhere: HostSshd

    @classmethod
    def of(cls, host: Host) -> "Certified":
        authority = host.place.generate_key("host-authority")
        valid, ended = ("-V", "-1d:+1d"), ("-V", "-2d:-1d")
        made = [("127.0.0.1", valid), ("127.0.0.1", ended), ("other.example.org", valid)]
        return cls(host, authority, *(cls.sshd(host, authority, *each) for each in made))

    @staticmethod
    def sshd(host: Host, authority: Path, principal: str, validity: tuple[str, str]) -> HostSshd:
        place, port = host.place, free_port()
        key = place.directory / f"host-key-{port}.pub"
        shutil.copy(place.directory / "ssh_host_ed25519_key.pub", key)
        names = ("-I", "host", "-h", "-n", principal)
        subprocess.run(["ssh-keygen", "-q", "-s", authority, *names, *validity, key], check=True, timeout=10)
        certificate = key.with_name(f"{key.stem}-cert.pub")
        socket = host.agent.runtime / "host" / "agent.sock"
        return HostSshd(place, socket, port, f"PubkeyAuthentication yes\nHostCertificate {certificate}\n")

    def target(self, port: int, *lines: tuple[str, Path]) -> dict[str, Any]:
        """Returns the members of web.json for a host at this port. Each line has a marker and a private key's file."""
        known_hosts = []
        for marker, path in lines:
            key = " ".join(path.with_suffix(".pub").read_text().split()[:2])
            known_hosts.append(f"{marker} [127.0.0.1]:{port} {key}".strip())
        return {"host": "127.0.0.1", "port": port, "known_hosts": known_hosts}


@pytest.fixture(scope="module")
def certified_hosts(site: WebSite) -> Web:
    certified, place = Certified.of(site.host), site.place
    own, other = place.directory / "ssh_host_ed25519_key", place.generate_key("other-authority")
    trusted = ("@cert-authority", certified.authority)
    port = certified.good.port
    targets = {
        "good": certified.target(port, trusted) | {"api": site.api.url},
        "key-alone": certified.target(port, ("", own)),
        "other-authority": certified.target(port, ("@cert-authority", other)),
        "authority-as-a-key": certified.target(port, ("", certified.authority)),
        "revoked-authority": certified.target(port, trusted, ("@revoked", certified.authority)),
        "revoked-key": certified.target(port, trusted, ("", own), ("@revoked", own)),
        "expired": certified.target(certified.expired.port, trusted),
        "elsewhere": certified.target(certified.elsewhere.port, trusted),
        "no-certificate": certified.target(site.host.sshd.port, trusted),
    }
    return Web(place, settings(site.host, None, targets=targets), name="web-certified")


def test_host_with_a_certificate_of_the_authority_is_the_right_one(certified_hosts: Web, site: WebSite) -> None:
    browser = WebBrowser(certified_hosts.url).sign_in(site.place.person)
    browser.attach(browser.open("good")).wait_until("open")
    page = browser.attach(browser.open("key-alone", user=site.place.person))
    assert "Token:" in page.wait_for("Token:"), "the server asks for the kind of key that it knows"


@pytest.mark.parametrize(
    "target",
    ["other-authority", "authority-as-a-key", "revoked-authority", "revoked-key", "expired", "elsewhere",
     "no-certificate"],
)  # fmt: skip
def test_host_without_a_good_certificate_is_refused(certified_hosts: Web, site: WebSite, target: str) -> None:
    browser = WebBrowser(certified_hosts.url).sign_in(site.place.person)
    page = browser.attach(browser.open(target, user=site.place.person))
    assert page.wait_for_end() == 4002
    assert page.said == b""
    [*_, closed] = [each for each in map(json.loads, site.place.log("web-certified").splitlines())
                    if each["event"] == "terminal.closed"]  # fmt: skip
    assert (closed["target"], closed["bytes_in"]) == (target, 0)
    if target == "no-certificate":  # which of the two ends the connection first is a matter of luck
        assert closed["reason"] in ("key_exchange_failed", "connection_lost", "unreachable")
    else:
        assert closed["reason"] == "host_key_changed"


@dataclass
class Tls:
    """`sshaft web` with a certificate of its own authority."""

    web: Web
    authority: trustme.CA
    trusted: Path

    @classmethod
    def of(cls, site: WebSite) -> "Tls":
        place, authority, port = site.place, trustme.CA(), free_port()
        trusted = place.directory / "web-authority.pem"
        authority.cert_pem.write_to_path(trusted)
        files = {f"{name}_file": str(place.directory / f"web-{name}.pem") for name in ("certificate", "private_key")}
        cls.write(place, authority)
        url = {"public_url": f"https://localhost:{port}"}
        return cls(Web(place, settings(site.host, site.api.url, **files, **url), port, "web-tls"), authority, trusted)

    @staticmethod
    def write(place: Place, authority: trustme.CA) -> str:
        """Writes a new certificate with its key. Returns its number."""
        made = authority.issue_cert("localhost")
        for name, pem in (("certificate", made.cert_chain_pems[0]), ("private_key", made.private_key_pem)):
            path = place.directory / f"web-{name}.pem"
            path.unlink(missing_ok=True)
            pem.write_to_path(path)
            place.give(path, WEB, 0o400)
        return ssl_number(made.cert_chain_pems[0].bytes().decode())

    def browser(self, person: str) -> WebBrowser:
        browser = WebBrowser(self.web.url)
        browser.http.verify = str(self.trusted)
        return browser.sign_in(person)

    def page(self, browser: WebBrowser) -> TerminalPage:
        return TerminalPage(browser.socket(browser.open(), ssl=ssl.create_default_context(cafile=self.trusted)))

    def shown(self) -> str:
        """Returns the number of the certificate that the server shows."""
        return ssl_number(ssl.get_server_certificate(("localhost", self.web.port)))


def ssl_number(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@pytest.fixture(scope="module")
def tls(site: WebSite) -> Tls:
    return Tls.of(site)


def test_renewed_certificate_is_read_and_terminals_stay(tls: Tls, site: WebSite) -> None:
    place, process = site.place, tls.web.process

    def reload() -> None:
        before = len(place.log("web-tls").splitlines())
        process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: len(place.log("web-tls").splitlines()) > before, process, lambda: place.log("web-tls"), "SIGHUP"
        )

    page = tls.page(tls.browser(place.person))
    page.wait_until("open")
    first = tls.shown()
    renewed = tls.write(place, tls.authority)
    assert tls.shown() == first
    reload()
    assert tls.shown() == renewed != first
    (place.directory / "web-certificate.pem").write_text("no certificate")
    reload()
    assert '"event": "certificate.refused"' in place.log("web-tls")
    assert tls.shown() == renewed
    page.type("echo st''ill here\n")
    page.wait_for("still here")
    tls.write(place, tls.authority)  # for the next start


def test_cookies_over_tls_are_for_this_host_alone(tls: Tls, site: WebSite) -> None:
    browser = tls.browser(site.place.person)
    cookies = {each.name: each for each in browser.http.cookies}
    assert cookies["__Host-sshaft-web"].secure
    page = tls.page(browser)
    page.wait_until("open")
    site.place.stop(tls.web.process)
    assert page.wait_for_end() in (1012, 4002)
    tls.web.process = tls.web.start()


def test_token_is_never_in_the_log(site: WebSite) -> None:
    browser = site.browser()
    browser.attach(browser.open()).wait_until("open")
    log = site.place.log("web")
    assert "eyJ" not in log
    assert AUDIENCE not in log
    assert CLIENT_ID not in log
    assert requests.get(f"{site.web.url}/?code=c0de&state=st4te", timeout=10).status_code == 200
    assert "c0de" not in site.place.log("web")
