"""Tests that every text of the pages is in the catalogues: in a made-up language, no English word is left."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
import requests
from fakes import pseudo_language
from fakes.public_keys import ed25519, sk_ed25519
from fakes.security_key import Maker, SecurityKey
from service.browser import Browser, code_on
from service.relying_party import RelyingParty, give_rsa_key
from service.service import SETTINGS, Service, wrong

from sshaft.public_key import parse
from sshaft_identity.common.language import Languages
from sshaft_identity.enrolment.enrolment import OpenedEnrolment, Presentation
from sshaft_identity.enrolment.sshsig import text_to_sign
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.service.app import create_app
from sshaft_identity.service.named_files import NamedFiles
from sshaft_identity.settings import changed
from sshaft_identity.web.throttle import Throttle

LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
VALUES = (
    "alice", "bob", "The shop", "The wiki", "Example University", "laptop", r"login\.example\.org", "Firefox", "Linux",
    "Windows", "macOS", "Mac", r"Ed25519|ED25519|RSA(-SK)?|-SK", "PowerShell", r"cmd\.exe", r"SHA256:[\w+/]+",
    r"python-requests/[\d.]+", r"https?://\S+", r"(sk-)?(ssh|ecdsa)-[\w@.-]+",
)  # fmt: skip
"""What no catalogue has: names, systems, key types. An address must be written from left to right (`bdi`)."""
NOT_READ = ("code", "pre", "style", "script", "svg", "textarea")
SPOKEN = ("aria-label", "title", "placeholder", "alt")
PLACEHOLDERS = ("ssh-ed25519 AAAA...", "-----BEGIN SSH SIGNATURE-----")
MAKER = Maker()


class Reader(HTMLParser):
    """Collects what a page says: its texts, also those without scripts, and the texts of attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        is_other_language = tag == "a" and "lang" in given
        if tag in NOT_READ or is_other_language or (tag == "bdi" and given.get("dir") == "ltr"):
            self._silent.append(tag)
        if not is_other_language:
            self.texts += [given[name] or "" for name in SPOKEN if name in given]

    def handle_endtag(self, tag: str) -> None:
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.texts.append(data)


def _texts_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for each in (value.values() if isinstance(value, dict) else value) for text in _texts_of(each)]


def english(page: str) -> list[str]:
    """Returns the texts of the page with a Latin word that is no value, and those that its scripts show."""
    reader = Reader()
    reader.feed(page)
    shown: list[str] = []
    for values in re.findall(r"^const (?:texts|phrases|returnWords|titleEnd) = (.*);$", page, re.MULTILINE):
        shown += _texts_of(json.loads(values))
    for line in re.findall("textContent = .*", page):
        shown += re.findall('"([^"]*)"', re.sub(r"\([^()]*\)", "", line))  # what functions get is no text
    found = []
    for text in (*reader.texts, *shown):
        rest = re.sub("|".join(VALUES), "", "" if text in PLACEHOLDERS else text.replace("{time}", ""))
        if re.search(r"[A-Za-z]{2}", rest) and not re.fullmatch(r"[0-9a-f]{6}|[Mm][\d .a-z-]+", rest):  # a path of SVG
            found.append(text.strip())
    return found


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> Languages:
    folder = tmp_path_factory.mktemp("languages")
    pseudo_language.write_catalogue(folder)
    return Languages(folder)


class Site:
    """A service that speaks the made-up language, and a browser that wants it."""

    def __init__(self, service: Service, listening: Any, languages: Languages) -> None:
        self.service, self._listening, self._languages = service, listening, languages
        self.sets()
        self.browser = self.another_browser()

    def another_browser(self) -> Browser:
        return Browser(self.service, {"__Host-sshaft-language": pseudo_language.TAG})

    def sets(self, **members: Any) -> None:
        settings = changed(SETTINGS, members)
        named = NamedFiles([MAKER.root], languages=self._languages)
        app = create_app(self.service.store, settings, self.service.clock, named=named)
        self._listening[0].app = self.service.app = app

    def check(self, answer: requests.Response, status: int = 200) -> requests.Response:
        assert answer.status_code == status, answer.text
        assert f'<html lang="{pseudo_language.TAG}" dir="rtl">' in answer.text
        assert english(answer.text) == [], answer.url
        assert not re.search(r"[.?!](</(a|code|bdi)>)*<(noscript|a|code|bdi)\b", answer.text), "a blank is missing"
        return answer

    def get(self, path: str, status: int = 200, **headers: str) -> requests.Response:
        return self.check(self.browser.get(path, headers={"User-Agent": LINUX, **headers}), status)

    def post(self, path: str, status: int, **form: Any) -> requests.Response:
        return self.check(self.browser.post(path, form), status)


@pytest.fixture
def site(service: Service, listening: Any, languages: Languages) -> Site:
    return Site(service, listening, languages)


@pytest.fixture
def alice(service: Service) -> str:
    give_rsa_key(service)
    return service.add_user("alice", ed25519("alice"))[0]


def test_a_forgotten_text_is_found() -> None:
    assert english('<h1>Confirm</h1><p title="No">אבג <code>ssh</code> אבג alice</p>') == ["Confirm", "No"]
    assert english('<script>\nconst texts = {"expired":["Too late","אבג"]};\nx.textContent = "Copied";</script>') == [
        "Too late", "Copied",
    ]  # fmt: skip
    assert english('<p>אבג alice</p><a lang="de">Deutsch</a>') == []


def test_challenge_that_waits(service: Service, site: Site, alice: str) -> None:
    context = {"ip": "2001:db8::7", "user_agent": LINUX}
    opened = [service.open(app="The wiki", context=context), service.open(verify_required=True), service.open(None)]
    for each in opened:
        site.get(each["page_url"])
        site.get(f"{each['page_url']}?more=1")
    page = opened[0]["page_url"]
    site.browser.post(f"{page}/alias", {"has": "yes"})
    service.clock.advance(70)
    service.accept(challenge=opened[0]["id"], code=wrong(opened[0]["code"]), fingerprint=alice)
    site.get(page)
    oidc = {"issuer": "https://op.example.org", "client_id": "x"}
    for provider in (oidc, {**oidc, "label": "Example University"}):
        site.sets(oidc=provider, ssh_host_keys=(ed25519("host"),))
        site.get(page)
        site.get("/")


def test_challenge_of_a_locked_user(service: Service, site: Site, alice: str) -> None:
    for number in range(10):
        opened = service.open()
        service.accept(code=wrong(opened["code"], number + 1), fingerprint=alice)
    site.get(service.open()["page_url"])


@pytest.mark.usefixtures("alice")
def test_challenge_for_a_code_that_ssh_printed(service: Service, site: Site) -> None:
    page = service.open(binding="code_back")["page_url"]
    site.get(page)
    site.post(page, 400, code="abc")
    site.post(page, 409, code="123456")


def test_challenge_that_is_over(service: Service, site: Site, alice: str) -> None:
    passed, denied, cancelled, tried_out, expired = (service.open(app="The wiki") for _ in range(5))
    service.accept(challenge=passed["id"], code=passed["code"], fingerprint=alice, confirmed=True)
    site.browser.post(f"{denied['page_url']}/deny")
    site.browser.post(f"{cancelled['page_url']}/cancel")
    for by in range(1, 6):
        service.accept(challenge=tried_out["id"], code=wrong(tried_out["code"], by), fingerprint=alice)
    service.clock.advance(301)
    for each in (passed, denied, cancelled, tried_out, expired):
        site.get(each["page_url"])
    site.get("/challenge/nosuch", 404)


def test_login_of_an_application(service: Service, site: Site, alice: str) -> None:
    shop = RelyingParty(service)
    page, code = shop.begin(site.browser)
    site.get(page)
    site.check(site.browser.post(f"{page}/cancel"))
    site.get(page)
    page, code = shop.begin(site.browser, response_mode="form_post")
    service.accept(code=code, fingerprint=alice, confirmed=True)
    site.get(f"{page}/finish")
    service.clock.advance(61)
    site.get(f"{page}/finish", 410)
    site.get("/login/nosuch", 404)
    service.replace(login_throttle=Throttle(1))
    assert shop.ask(site.another_browser()).status_code == 303
    site.check(shop.ask(site.another_browser()), 429)


def test_sign_in(service: Service, site: Site, alice: str) -> None:
    for note in ("", "again", "nobody", "signed_out", "everywhere", "removed", "no_cookie"):
        site.get(f"/?note={note}")
    site.browser.begin()
    site.get("/sign-in/ssh")
    site.check(site.browser.post("/sign-in/ssh/cancel"))
    site.get("/sign-in/ssh")
    code = site.browser.begin()
    service.accept(None, code=code, fingerprint=alice, confirmed=True)
    service.replace(sign_in_throttle=Throttle(1))
    site.another_browser().begin()
    site.check(site.another_browser().post("/sign-in/ssh"), 429)


def test_refusals(site: Site) -> None:
    site.get("/nosuch", 404, Accept="text/html")
    site.get("/sign-in/oidc", 404)
    site.check(site.browser.post("/sign-in/ssh", headers={}), 403)
    same = {"Sec-Fetch-Site": "same-origin"}
    site.check(site.browser.post("/sign-in/ssh", headers={**same, "Content-Type": "text/plain"}), 400)


@pytest.fixture
def invited(service: Service) -> OpenedEnrolment:
    service.add_user("bob")
    return service.store.enrolments.open("bob", service.clock())


def present(service: Service, invited: OpenedEnrolment, key: str, address: str | None = "2001:db8::7") -> None:
    what = Presentation(parse(key), address)
    service.store.enrolments.present(invited.code, what, service.clock(), KeyPolicy())


def test_invitation(service: Service, site: Site, invited: OpenedEnrolment) -> None:
    page, key = f"/enrol/{invited.page_token}", sk_ed25519("bob")
    for policy in ({}, {"attestation_roots": "x"}, {"attestation_roots": "x", "require_attestation": True}):
        site.sets(key_policy=policy)
        for query in ("", "?more=1", "?by=signature"):
            site.get(page + query)
    site.post(page, 400, action="confirm", fingerprint="SHA256:x")
    present(service, invited, key)
    for policy in ({"attestation_roots": "x"}, {"attestation_roots": "x", "require_attestation": True}):
        site.sets(key_policy=policy)
        site.get(page)
    site.post(page, 400, action="confirm", fingerprint=parse(key).fingerprint)
    site.sets()
    site.browser.post(page, {"action": "confirm", "fingerprint": parse(key).fingerprint})
    site.get(page)
    site.browser.post(f"{page}/alias", {"has": "yes"})
    site.get(page)
    site.get("/enrol/nosuch", 404)


def test_invitation_that_is_over(service: Service, site: Site, invited: OpenedEnrolment) -> None:
    present(service, invited, ed25519("bob"), None)
    site.get(f"/enrol/{invited.page_token}")
    site.browser.post(f"/enrol/{invited.page_token}", {"action": "refuse"})
    later = [service.store.enrolments.open("bob", service.clock()) for _ in range(2)]
    service.clock.advance(901)
    for each in (invited, *later):
        site.get(f"/enrol/{each.page_token}")


def test_key_that_an_own_key_must_approve(service: Service, site: Site, alice: str) -> None:
    site.browser.sign_in("alice", alice)
    form = {"form_token": site.browser.form_token()}
    page = site.browser.post("/account/keys/enrol", form).headers["Location"]
    token = page.rpartition("/")[2]
    key = SecurityKey()
    signed = text_to_sign("alice", service.store.enrolments.of_page(token).id)  # type: ignore[union-attr]
    form = {"action": "sign", "public_key": key.public, "signature": key.signature(signed.encode())}
    site.browser.post(page, form)
    site.get(page)
    approval = site.browser.post(page, {"action": "confirm", "fingerprint": parse(key.public).fingerprint})
    waits = site.get(approval.headers["Location"])
    service.accept(code=code_on(waits), fingerprint=alice, confirmed=True)
    site.browser.get(approval.headers["Location"])
    site.get(page)


KEY = ed25519("bob")
FORMS: list[dict[str, Any]] = [
    {}, {"public_key": KEY}, {"public_key": "hello", "signature": "x"}, {"public_key": KEY, "signature": "x"},
    {"public_key": f"{KEY}\n{KEY}", "signature": "x"}, {"public_key": f"restrict {KEY}", "signature": "x"},
    {"public_key": f"login.example.org {KEY}", "signature": "x"}, {"public_key": KEY[:50], "signature": "x"},
    {"public_key": "ssh-dss AAAA", "signature": "x"}, {"public_key": "~/.ssh/id", "signature": "x"},
    {"public_key": "SHA256:x", "signature": "x"}, {"public_key": "-----BEGIN SSH SIGNATURE-----", "signature": "x"},
    {"public_key": "-----BEGIN CERTIFICATE-----", "signature": "x"}, {"public_key": "x" * 30_000, "signature": "x"},
    {"public_key": "-----BEGIN PGP PUBLIC KEY-----", "signature": "x"},
    {"public_key": "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "signature": "x"},
    {"public_key": "---- BEGIN SSH2 PUBLIC KEY ----\nx", "signature": "x"},
    {"public_key": "ssh-ed25519-cert-v01@openssh.com AAAA", "signature": "x"},
    {"public_key": "BEGIN OPENSSH PRIVATE KEY", "signature": "x"},
    {"public_key": KEY, "signature": "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"},
    {"public_key": KEY, "signature": SecurityKey().signature(b"else")}, {"public_key_file": b"k\0"},
    {"public_key": KEY, "signature_file": b"\0x"}, {"action": "else"}, {"public_key": "x" * 70_000},
]  # fmt: skip


def test_faults_of_the_form_of_a_key(service: Service, site: Site, invited: OpenedEnrolment) -> None:
    for form in FORMS:
        files = {name: value for name, value in form.items() if isinstance(value, bytes)}
        fields = {"action": "sign"} | {name: value for name, value in form.items() if name not in files}
        answer = service.call(
            "POST", f"/enrol/{invited.page_token}", data=fields, files=files or None,
            headers={"Cookie": f"__Host-sshaft-language={pseudo_language.TAG}"},
        )  # fmt: skip
        site.check(answer, 400)


@pytest.mark.parametrize(
    "policy",
    [{"allowed_types": ("ssh-rsa",)}, {"security_keys_only": True}, {"most_per_user": 1}, {}],
    ids=lambda policy: next(iter(policy), "taken"),
)
def test_keys_that_the_policy_refuses(
    service: Service, site: Site, invited: OpenedEnrolment, policy: dict[str, Any]
) -> None:
    present(service, invited, KEY)
    service.store.keys.add("bob", [(parse(ed25519("before")), "")], service.clock())
    if not policy:
        service.store.users.add("alice", service.clock())
        service.store.keys.add("alice", [(parse(KEY), "")], service.clock())
    site.sets(key_policy=policy)
    site.post(f"/enrol/{invited.page_token}", 400, action="confirm", fingerprint=parse(KEY).fingerprint)


def test_attestations_that_do_not_count(service: Service, site: Site, invited: OpenedEnrolment) -> None:
    key = SecurityKey()
    present(service, invited, key.public)
    text = text_to_sign("bob", invited.enrolment.id).encode()
    site.sets(key_policy={"attestation_roots": "x"})
    for data in (b"junk", key.attestation(Maker(), text), key.attestation(MAKER, b"else")):
        answer = service.call(
            "POST", f"/enrol/{invited.page_token}", files={"attestation": data},
            data={"action": "confirm", "fingerprint": parse(key.public).fingerprint},
            headers={"Cookie": f"__Host-sshaft-language={pseudo_language.TAG}"},
        )  # fmt: skip
        site.check(answer, 400)


def test_pages_of_the_account(service: Service, site: Site, alice: str) -> None:
    site.browser.sign_in("alice", alice)
    service.clock.advance(100)
    for path in ("keys", "keys?done=renamed", "keys?done=removed", "hosts", "activity"):
        site.get(f"/account/{path}")
    site.get(f"/account/keys/remove?fingerprint={alice.replace('+', '%2B')}")
    site.get("/account/keys/remove?fingerprint=x", 404)
    site.post("/account/keys/rename", 403, form_token="x")


def test_times_are_in_the_catalogue(service: Service, site: Site, alice: str) -> None:
    assert alice
    for month in range(12):
        service.clock.now = datetime(2026, month + 1, 15, 12, tzinfo=UTC)
        service.store.keys.add("alice", [(parse(ed25519(f"{month}")), "")], service.clock())
    site.browser.sign_in("alice", alice)
    for seconds in (0, 60, 7200):
        service.clock.advance(seconds)
        site.browser.sign_in("alice", alice)
        site.get("/account/keys")
