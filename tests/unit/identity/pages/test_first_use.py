"""Tests what the pages tell people who have not used ssh, or who have lost their key."""

import re
from html import unescape
from typing import Any

import pytest
from fakes.public_keys import ed25519, sk_ed25519
from service.browser import Browser
from service.service import SETTINGS, Service

from sshaft.public_key import parse
from sshaft_identity.enrolment.enrolment import OpenedEnrolment, Presentation
from sshaft_identity.pages.first_use import identity_file
from sshaft_identity.settings import changed
from sshaft_oidc.settings import ProviderSettings

HOST_KEY = parse(ed25519("host"))
MOST_BYTES = {"en": 22_000, "de": 24_000}
"""The weight that the pages have had since their beginning: one answer, nothing else is loaded. German is longer."""


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


@pytest.fixture
def invited(service: Service) -> OpenedEnrolment:
    service.add_user("bob")
    return service.store.enrolments.open("bob", service.clock())


def sets(service: Service, **members: Any) -> None:
    service.replace(settings=changed(SETTINGS, members))


def section(html: str) -> str:
    return unescape(html.partition('id="first"')[2].partition("</details>")[0])


def test_pages_name_the_host_key_that_ssh_will_show(
    service: Service, browser: Browser, invited: OpenedEnrolment
) -> None:
    """Findings U7 and U17: nobody was told which host key to expect, or how to make a key."""
    sets(service, ssh_host_keys=(str(HOST_KEY),), ssh_port=2222)
    for path in (service.open()["page_url"], f"/enrol/{invited.page_token}"):
        told = section(browser.get(path).text)
        assert f">{HOST_KEY.fingerprint}</code>" in told
        assert f">[login.example.org]:2222 {HOST_KEY}</code>" in told
        assert ">ssh-keygen -t ed25519</code>" in told


def test_page_without_a_host_key_tells_people_to_ask(service: Service, browser: Browser) -> None:
    told = section(browser.get(service.open()["page_url"]).text)
    assert "Ask your administrator for the fingerprint" in told
    assert "known_hosts" not in told


def test_putty_gets_its_own_command(service: Service, browser: Browser) -> None:
    sets(service, ssh_port=2222)
    opened = service.open()
    told = section(browser.get(opened["page_url"]).text)
    assert f">plink -ssh -P 2222 mfa@login.example.org {opened['code']}</code>" in told
    assert "Host Name <code>mfa@login.example.org</code>, Port 2222" in told


@pytest.mark.parametrize(
    ("headers", "system"),
    [
        ({"Sec-CH-UA-Platform": '"Windows"', "User-Agent": "Linux"}, "windows"),
        ({"Sec-CH-UA-Platform": '"macOS"'}, "macos"),
        ({"Sec-CH-UA-Platform": '"Chrome OS"', "User-Agent": "Mozilla/5.0 (X11; CrOS x86_64)"}, "linux"),
        ({"User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko Firefox/140.0"}, "windows"),
        ({"User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605"}, "macos"),
        ({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}, "linux"),
        ({"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"}, "macos"),
        ({"User-Agent": '"><script>alert(1)</script>'}, "windows"),
    ],
)
def test_system_of_the_browser_is_chosen_already(
    service: Service, browser: Browser, headers: dict[str, str], system: str
) -> None:
    page = browser.get(service.open()["page_url"], headers=headers).text
    assert re.findall(r'id="(\w+)" checked', page) == [system]
    assert "alert(1)" not in page


def test_page_that_is_read_without_scripts_does_not_reload(service: Service, browser: Browser) -> None:
    url = service.open()["page_url"]
    page = browser.get(url).text
    assert '<div id="more" hidden>' in page
    assert f'href="{url.removeprefix("https://id.example.org")}?more=1#more"' in page
    calm = browser.get(f"{url}?more=1").text
    assert '<div id="more">' in calm
    assert '<details id="first" open>' in calm
    assert '<meta http-equiv="refresh" content="301">' in calm


def test_enrolment_page_that_is_read_without_scripts_does_not_reload(
    browser: Browser, invited: OpenedEnrolment
) -> None:
    path = f"/enrol/{invited.page_token}"
    assert 'http-equiv="refresh"' in browser.get(path).text
    assert 'http-equiv="refresh"' not in browser.get(f"{path}?more=1").text


def test_page_shows_the_operators_own_help(service: Service, browser: Browser) -> None:
    text = "Call <b>4711</b> & say who you are."
    link = "https://help.example.org/?a=1&b=2"
    sets(service, help={"lost_key": {"text": text, "link": link, "label": "The help desk"},
                        "several_keys": {"link": "mailto:help@example.org"}})  # fmt: skip
    page = browser.get(service.open()["page_url"]).text
    assert "Call &lt;b&gt;4711&lt;/b&gt; &amp; say who you are." in page
    assert '<a href="https://help.example.org/?a=1&amp;b=2" rel="noreferrer">The help desk</a>' in page
    assert '<a href="mailto:help@example.org" rel="noreferrer">mailto:help@example.org</a>' in page


def test_person_with_several_keys_reads_how_to_choose_one(service: Service, browser: Browser) -> None:
    """Finding U9: the page had no such hint."""
    page = browser.get(service.open()["page_url"]).text
    assert (
        "-i ~/.ssh/KEY -o IdentitiesOnly=yes" in page.partition("<summary>Several keys?")[2].partition("</details>")[0]
    )


def test_person_who_has_lost_the_key_is_led_to_the_provider(service: Service, browser: Browser) -> None:
    """Finding U10: nobody was told what to do."""
    page = browser.get(service.open()["page_url"]).text
    assert "Tell your administrator, who removes the lost key" in page
    oidc = ProviderSettings(issuer="https://op.example.org", client_id="x", label="Example University")
    sets(service, oidc=oidc.model_dump())
    assert "with Example University. Remove the lost key there" in browser.get(service.open()["page_url"]).text


def test_code_is_grouped_for_the_eye_and_copied_whole(service: Service, browser: Browser) -> None:
    opened = service.open()
    digits = browser.get(opened["page_url"]).text.partition('id="digits">')[2].partition("</code>")[0]
    assert digits == f"<i>{opened['code'][:3]}</i><i>{opened['code'][3:]}</i>"


def test_only_the_page_with_a_secret_address_has_a_qr_code(service: Service, browser: Browser) -> None:
    """The address of a sign-in opens nothing on a phone: the sign-in belongs to this browser."""
    assert 'class="qr"' in browser.get(service.open()["page_url"]).text
    browser.begin()
    assert 'class="qr"' not in browser.get("/sign-in/ssh").text


def test_icon_and_title_of_the_tab_show_the_state(service: Service, browser: Browser) -> None:
    opened = service.open(app="Wiki")
    waits = browser.get(opened["page_url"]).text
    assert "<title>Waiting for SSH \N{EN DASH} Wiki</title>" in waits
    browser.post(f"{opened['page_url']}/deny")
    denied = browser.get(opened["page_url"]).text
    assert "<title>Denied \N{EN DASH} Wiki</title>" in denied
    icons = [
        re.search(r'<link rel="icon" id="icon" href="data:image/svg\+xml,([^"]+)">', page) for page in (waits, denied)
    ]
    assert icons[0]
    assert icons[1]
    assert icons[0][1] != icons[1][1]


def test_registered_key_is_followed_by_the_lines_of_ssh_config(
    service: Service, browser: Browser, invited: OpenedEnrolment
) -> None:
    """Finding U16: "Registered" was a dead end."""
    key, page = parse(sk_ed25519("bob")), f"/enrol/{invited.page_token}"
    service.store.enrolments.present(invited.code, Presentation(key, None), service.clock(), SETTINGS.key_policy)
    browser.post(page, {"action": "confirm", "fingerprint": key.fingerprint})
    shown = browser.get(page).text
    for line in (
        "Host mfa",
        "HostName login.example.org",
        "User mfa",
        "IdentityFile ~/.ssh/id_ed25519_sk",
        "ControlPath none",
    ):
        assert line in shown
    assert browser.post(f"{page}/alias", {"has": "yes"}).headers["Location"] == page
    assert "This browser shows <code>ssh mfa 482913</code>" in browser.get(page).text


@pytest.mark.parametrize(
    ("kind", "file"),
    [("ssh-rsa", "id_rsa"), ("ecdsa-sha2-nistp384", "id_ecdsa"), ("ssh-ed25519", "id_ed25519"),
     ("sk-ecdsa-sha2-nistp256@openssh.com", "id_ecdsa_sk"), ("sk-ssh-ed25519@openssh.com", "id_ed25519_sk")],
)  # fmt: skip
def test_key_is_expected_where_ssh_keygen_writes_it(kind: str, file: str) -> None:
    key = type(HOST_KEY)(kind, b"")
    assert identity_file(key) == f"~/.ssh/{file}"
    assert identity_file(None) == "~/.ssh/id_ed25519"


@pytest.mark.parametrize("language", MOST_BYTES)
def test_pages_are_light(service: Service, browser: Browser, invited: OpenedEnrolment, language: str) -> None:
    sets(service, ssh_host_keys=(str(HOST_KEY),))
    context = {"ip": "2001:db8::7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}
    opened = service.open(app="The wiki of the university", context=context)
    browser.begin()
    enrol = f"/enrol/{invited.page_token}"
    pages = [opened["page_url"], enrol, f"{enrol}?by=signature", "/sign-in/ssh", "/"]
    sizes = {page: len(browser.get(page, headers={"Accept-Language": language}).content) for page in pages}
    assert {page: size for page, size in sizes.items() if size > MOST_BYTES[language]} == {}


def test_address_that_leads_nowhere_is_a_page_for_browsers_only(browser: Browser) -> None:
    """Finding U22: a browser showed JSON."""
    page = browser.get("/nosuch", headers={"Accept": "text/html,application/xhtml+xml"})
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    wrong = browser.post("/account/keys", headers={"Accept": "text/html"})
    assert (wrong.status_code, set(wrong.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert browser.get("/nosuch", headers={"Accept": "*/*"}).json()["error"] == "not_found"
