"""Tests `sshaft web` with a real sshd, our PAM module, the agent and its API, at a throwaway provider."""

from collections.abc import Iterator

import pytest
from e2e.web_files import new_folder
from e2e.web_site import WebSite, web_site

from sshaft_demo.place import Place
from sshaft_demo.web_client import WebBrowser


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with Place() as place, web_site(place) as site:
        yield site


def test_person_who_has_signed_in_gets_a_shell(site: WebSite) -> None:
    page = site.terminal()
    page.type("echo in $((1 + 1)); id -un\n")
    assert "in 2\r\n" in page.wait_for("in 2\r\n")
    page.type("exit 3\n")
    assert page.wait_for_end() == 4002
    assert page.news[-1]["message"] == "The shell has ended with status 3."
    assert page.news[-1]["account"] == site.place.person
    [closed] = [each for each in site.events("terminal.closed") if each["detail"].endswith("status 3.")]
    assert (closed["target"], closed["account"], closed["client_ip"]) == ("host", site.place.person, "127.0.0.1")
    assert closed["bytes_in"] > 0
    assert closed["bytes_out"] > closed["bytes_in"]


def left(browser: WebBrowser) -> list[str]:
    """Returns the terminals that no page shows."""
    return [each["id"] for each in browser.terminals() if not each["connected"]]


def test_page_that_comes_back_gets_what_it_has_missed(site: WebSite) -> None:
    browser = site.browser()
    terminal = browser.open()
    page = browser.attach(terminal)
    page.wait_until("open")
    folder = new_folder(site)
    page.type(f"stty -echo; cd {folder}\n")
    page.type("echo fir''st; while [ ! -e go ]; do sleep 0.1; done; echo sec''ond; touch done\n")
    page.wait_for("first\r\n")
    page.close()
    site.wait(lambda: terminal in left(browser))
    (folder / "go").touch()
    site.wait((folder / "done").exists)
    again = browser.attach(terminal, page.end)
    assert again.wait_for("second\r\n").startswith("second\r\n")
    whole = browser.attach(terminal)
    assert "first\r\nsecond\r\n" in whole.wait_for("second\r\n")
    assert again.wait_for_end() == 4003, "another page has taken it"


def test_end_that_no_page_has_shown_waits_for_one(site: WebSite) -> None:
    browser = site.browser()
    terminal = browser.open()
    page = browser.attach(terminal)
    page.wait_until("open")
    folder, before = new_folder(site), len(site.events("terminal.closed"))
    page.type(f"while [ ! -e {folder}/go ]; do sleep 0.1; done; echo la''st; exit\n")
    page.wait_for("\n")
    page.close()
    site.wait(lambda: terminal in left(browser))
    (folder / "go").touch()
    site.wait(lambda: len(site.events("terminal.closed")) > before)
    assert terminal in [each["id"] for each in browser.terminals()]
    again = browser.attach(terminal, page.end)
    assert again.wait_for_end() == 4002
    assert b"last\r\n" in again.said
    assert browser.attach(terminal).wait_for_end() == 4004


def test_shell_knows_the_size_of_the_page(site: WebSite) -> None:
    browser = site.browser()
    page = browser.attach(browser.open(columns=101, rows=33))
    page.wait_until("open")
    page.type("stty size\n")
    page.wait_for("33 101")
    page.send(type="size", columns=120, rows=40)
    page.type("stty size\n")
    page.wait_for("40 120")


def test_bytes_go_both_ways_as_they_are(site: WebSite) -> None:
    page = site.terminal()
    page.type(
        "stty raw -echo; printf 'rea''dy\\303'; sleep 0.2; printf '\\244\\377'; head -c 256 | od -An -v -tu1 -w256\n"
    )
    while b"ready\xc3\xa4\xff" not in page.said:
        assert page.read()
    page.read_until_quiet(0.5)
    page.said = b""
    page.type(bytes(range(256)))
    assert [int(each) for each in page.wait_for(" 255\n").split()[:256]] == list(range(256))


def test_page_that_shows_nothing_stops_the_host(site: WebSite) -> None:
    """`yes` writes no more than the page may be behind, and goes on when the page has shown it."""
    page = site.terminal()
    page.is_blind = True
    page.type("yes\n")
    page.read_until_quiet(1.5)
    assert 512 * 1024 <= len(page.said) <= 900 * 1024
    page.send(type="seen", offset=page.end)
    assert page.read(2)
    page.type("\x03")
    page.is_blind = False
    page.type("echo st''ill here\n")
    page.wait_for("still here")


def test_person_closes_a_terminal_on_the_page(site: WebSite) -> None:
    browser = site.browser()
    terminal = browser.open()
    page = browser.attach(terminal)
    page.wait_until("open")
    assert browser.post(f"/api/terminals/{terminal}/close").status_code == 204
    assert page.wait_for_end() == 4002
    assert browser.post(f"/api/terminals/{terminal}/close").status_code == 404


def test_sign_out_ends_the_terminals_and_the_tokens(site: WebSite) -> None:
    browser = site.browser()
    page = browser.attach(browser.open())
    page.wait_until("open")
    assert browser.post("/sign-out").status_code == 303
    assert page.wait_for_end() == 4001
    assert browser.http.get(f"{browser.url}/api/terminals", timeout=10).status_code == 401


def test_provider_that_signs_the_person_out_ends_the_terminals(site: WebSite) -> None:
    page = site.terminal()
    other = site.browser("mallory")
    assert site.host.provider.sign_out() == {"demo-web": 200}
    assert page.wait_for_end() == 4001
    assert other.terminals() == []
    assert site.events("web.signed_out")[-1]["reason"] == "logged_out_at_provider"


def test_second_sign_in_keeps_the_terminals_of_the_browser(site: WebSite) -> None:
    browser = site.browser()
    terminal = browser.open()
    browser.attach(terminal).wait_until("open")
    browser.sign_in(site.place.person)
    page = browser.attach(terminal)
    page.type("echo st''ill here\n")
    page.wait_for("still here")
    assert browser.post("/sign-out").status_code == 303
    assert page.wait_for_end() == 4001


def test_person_without_an_account_reads_why(site: WebSite) -> None:
    browser = site.browser("mallory")
    page = browser.attach(browser.open())
    assert page.wait_for_end() == 4002
    assert page.news[-1]["message"]
    assert site.events("terminal.closed")[-1]["reason"] in ("no_account", "token_refused")


def test_person_without_a_session_gets_nothing(site: WebSite) -> None:
    browser = WebBrowser(site.web.url)
    assert browser.post("/api/terminals", {"target": "host"}).status_code == 401
    assert browser.attach("x" * 43).wait_for_end() == 4001
    assert "Sign in" in browser.http.get(browser.url, timeout=10).text
