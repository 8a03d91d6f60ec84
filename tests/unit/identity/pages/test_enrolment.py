"""Tests the enrolment page without scripts: its texts, its forms, and the forms that it refuses."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519, sk_ed25519
from fakes.security_key import START, Maker, SecurityKey
from service.browser import Browser
from service.service import SETTINGS, Service, Socket

from sshaft.public_key import parse
from sshaft.randomart import randomart
from sshaft_identity.enrolment.enrolment import OpenedEnrolment, Presentation
from sshaft_identity.enrolment.sshsig import text_to_sign
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.service.app import create_app
from sshaft_identity.service.named_files import NamedFiles
from sshaft_identity.settings import changed

KEY = ed25519("a")
FINGERPRINT = parse(KEY).fingerprint
MAKER = Maker()


@pytest.fixture
def invited(service: Service) -> OpenedEnrolment:
    service.add_user("alice", ed25519("alice"))
    service.add_user("bob")
    return service.store.enrolments.open("bob", service.clock())


def path(invited: OpenedEnrolment) -> str:
    return f"/enrol/{invited.page_token}"


def shown(service: Service, invited: OpenedEnrolment, query: str = "") -> str:
    answer = service.call("GET", path(invited) + query)
    assert answer.status_code == 200
    return unescape(answer.text)


def state(html: str) -> str:
    found = re.search(r'data-state="(\w+)"', html)
    assert found
    return found[1]


def present(service: Service, invited: OpenedEnrolment, key: str = KEY) -> None:
    what = Presentation(parse(key), "192.0.2.7", name="laptop")
    service.store.enrolments.present(invited.code, what, service.clock(), KeyPolicy())


def post(service: Service, invited: OpenedEnrolment, **form: Any) -> requests.Response:
    files = {name: value for name, value in form.items() if isinstance(value, bytes)}
    fields = {name: value for name, value in form.items() if not isinstance(value, bytes)}
    return service.call("POST", path(invited), data=fields, files=files or None, allow_redirects=False)


def fault(answer: requests.Response) -> str:
    assert answer.status_code == 400
    found = re.search(r'id="fault">([^<]*)<', answer.text)
    assert found
    return unescape(found[1])


def text_of(invited: OpenedEnrolment) -> bytes:
    return text_to_sign("bob", invited.enrolment.id).encode()


def trusting(service: Service, listening: tuple[Socket, str], **policy: Any) -> None:
    policy = KeyPolicy(attestation_roots="makers.pem", **policy).model_dump()
    settings = changed(SETTINGS, {"key_policy": policy})
    listening[0].app = create_app(service.store, settings, service.clock, named=NamedFiles([MAKER.root]))


def news(service: Service, invited: OpenedEnrolment) -> dict[str, Any]:
    answer = service.call("GET", f"{path(invited)}/state")
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


def test_open_page_shows_the_command_and_reloads_by_itself(service: Service, invited: OpenedEnrolment) -> None:
    html = shown(service, invited)
    code = f"{invited.code[:4]}-{invited.code[4:]}"
    assert f"ssh mfa@login.example.org enrol {code}" in html
    assert state(html) == "open"
    assert '<meta http-equiv="refresh"' in html
    assert "15:00 left" in html


def test_page_with_the_form_does_not_reload(service: Service, invited: OpenedEnrolment) -> None:
    html = shown(service, invited, "?by=signature")
    assert state(html) == "signature"
    assert "refresh" not in html
    assert text_of(invited).decode().strip() in html


def test_presented_key_is_shown_as_ssh_keygen_prints_it(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    html = shown(service, invited)
    assert state(html) == "presented"
    assert FINGERPRINT in html
    assert "\n".join(randomart(parse(KEY))) in html
    assert "ED25519 (256 bits)" in html
    assert invited.code not in html


def test_confirming_registers_the_key_and_redirects_to_the_page(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    answer = post(service, invited, action="confirm", fingerprint=FINGERPRINT)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/enrol/{invited.page_token}")
    assert state(shown(service, invited)) == "confirmed"
    (key,) = service.store.keys.all("bob")
    assert (key.key.fingerprint, key.name, key.source) == (FINGERPRINT, "laptop", "ssh")


@pytest.mark.parametrize(
    ("given", "kept"),
    [(" My\n<b>laptop</b> ", "My <b>laptop</b>"), ("x" * 200, "x" * 80), ("", "laptop"), (None, "laptop")],
)
def test_person_names_the_key_that_is_confirmed(
    service: Service, invited: OpenedEnrolment, given: str | None, kept: str
) -> None:
    present(service, invited)
    assert 'name="name" value="laptop"' in shown(service, invited)
    post(service, invited, action="confirm", fingerprint=FINGERPRINT, name=given)
    assert [each.name for each in service.store.keys.of("bob")] == [kept]


def test_name_for_another_key_is_not_kept(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    post(service, invited, action="confirm", fingerprint=parse(ed25519("other")).fingerprint, name="mine")
    assert 'name="name" value="laptop"' in shown(service, invited)


@pytest.mark.parametrize(
    ("agent", "key", "name"),
    [("Windows NT 10.0", KEY, "Windows computer"), ("X11; Linux", KEY, "Linux computer"),
     ("Mac OS X", KEY, "Mac"), ("X11; Linux", sk_ed25519("b"), "Security key")],
)  # fmt: skip
def test_page_suggests_a_name_for_a_key_without_one(
    service: Service, invited: OpenedEnrolment, agent: str, key: str, name: str
) -> None:
    """Finding U16: all keys were called "Ed25519"."""
    service.store.enrolments.present(invited.code, Presentation(parse(key), None), service.clock(), KeyPolicy())
    html = service.call("GET", path(invited), headers={"User-Agent": agent}).text
    assert f'name="name" value="{name}"' in html


def test_only_the_key_that_the_page_showed_is_confirmed(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    other = parse(ed25519("other")).fingerprint
    assert "decided already" in fault(post(service, invited, action="confirm", fingerprint=other))
    assert fault(post(service, invited, action="confirm"))
    assert service.store.keys.all("bob") == []


def test_refusing_ends_the_enrolment_and_is_logged_for_the_operator(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    assert post(service, invited, action="refuse", fingerprint=FINGERPRINT).status_code == 303
    assert state(shown(service, invited)) == "refused"
    assert service.events("enrolment.refused")[0]["level"] == "warning"
    assert "decided already" in fault(post(service, invited, action="confirm", fingerprint=FINGERPRINT))


def test_page_confirms_nothing_before_a_key_is_presented(service: Service, invited: OpenedEnrolment) -> None:
    for action in ("confirm", "refuse", "else", ""):
        assert "form" in fault(post(service, invited, action=action, fingerprint=FINGERPRINT))


def test_page_of_a_finished_enrolment_confirms_nothing(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    service.clock.now += timedelta(minutes=15)
    assert state(shown(service, invited)) == "expired"
    assert fault(post(service, invited, action="confirm", fingerprint=FINGERPRINT))
    assert service.store.keys.all("bob") == []


def test_unknown_address_shows_no_enrolment(service: Service, invited: OpenedEnrolment) -> None:
    for method in ("GET", "POST"):
        answer = service.call(method, "/enrol/nosuch")
        assert (answer.status_code, state(answer.text)) == (404, "unknown")
    assert invited


def test_key_that_was_registered_meanwhile_is_refused_without_its_owner(
    service: Service, invited: OpenedEnrolment
) -> None:
    present(service, invited)
    service.store.keys.add("alice", [(parse(KEY), "")], service.clock())
    answer = post(service, invited, action="confirm", fingerprint=FINGERPRINT)
    assert fault(answer) == "This key belongs to somebody else. One key belongs to one person."
    assert "alice" not in answer.text


def test_state_endpoint_reveals_no_more_than_the_page(service: Service, invited: OpenedEnrolment) -> None:
    assert news(service, invited) == {"state": "open", "expires_in": 900}
    present(service, invited)
    service.clock.advance(60)
    assert news(service, invited) == {"state": "presented", "expires_in": 840}
    service.clock.advance(840)
    assert news(service, invited) == {"state": "expired", "expires_in": 0}
    assert service.call("GET", "/enrol/nosuch/state").status_code == 404


def test_each_final_state_has_its_text_and_no_form_that_decides(service: Service, invited: OpenedEnrolment) -> None:
    present(service, invited)
    post(service, invited, action="confirm", fingerprint=FINGERPRINT)
    refused = service.store.enrolments.open("bob", service.clock())
    present(service, refused, ed25519("b"))
    post(service, refused, action="refuse", fingerprint=parse(ed25519("b")).fingerprint)
    cancelled = service.store.enrolments.open("bob", service.clock())
    expired = service.store.enrolments.open("alice", service.clock())
    service.store.enrolments.cancel("bob", service.clock())
    service.clock.advance(900)
    pages = {state(html): html for html in (shown(service, each) for each in (invited, refused, cancelled, expired))}
    assert list(pages) == ["confirmed", "refused", "cancelled", "expired"]
    for name, html in pages.items():
        assert html.count("<form") == html.count("<script") == (1 if name == "confirmed" else 0)  # the short command
        assert not {"confirm", "refuse", "sign"} & set(re.findall(r'name="action" value="(\w+)"', html))
        assert "http-equiv" not in html
    assert FINGERPRINT in pages["confirmed"]


def test_only_a_signed_in_person_gets_a_link_to_my_keys(service: Service, invited: OpenedEnrolment) -> None:
    service.store.keys.add("bob", [(parse(ed25519("bob")), "")], service.clock())
    bob, alice = Browser(service), Browser(service)
    for browser, user in ((bob, "bob"), (alice, "alice")):
        browser.sign_in(user, parse(ed25519(user)).fingerprint)
    service.session.cookies.clear()
    assert "/account/keys" in bob.get(path(invited)).text
    assert "/account/keys" not in alice.get(path(invited)).text
    assert "/account/keys" not in shown(service, invited)


# --- by signature


def test_signed_key_may_be_pasted_or_sent_as_files(service: Service, invited: OpenedEnrolment) -> None:
    key = SecurityKey()
    signature = key.signature(text_of(invited))
    forms: list[dict[str, Any]] = [
        {"public_key": f"{key.public} my token", "signature": signature},
        {"public_key_file": key.public.encode(), "signature_file": signature.encode()},
    ]
    for form in forms:
        assert post(service, invited, action="sign", **form).status_code == 303
    html = shown(service, invited)
    assert (state(html), "my token" in html, "ED25519-SK" in html) == ("presented", True, True)
    assert post(service, invited, action="confirm", fingerprint=parse(key.public).fingerprint).status_code == 303
    assert service.store.keys.all("bob")[0].source == "signature"


def test_signature_for_another_invitation_or_person_is_refused(service: Service, invited: OpenedEnrolment) -> None:
    key = SecurityKey()
    for text in (text_to_sign("alice", invited.enrolment.id), text_to_sign("bob", "0" * 32)):
        form = {"public_key": key.public, "signature": key.signature(text.encode())}
        assert "does not fit" in fault(post(service, invited, action="sign", **form))


def test_signature_by_a_different_key_is_refused(service: Service, invited: OpenedEnrolment) -> None:
    form = {"public_key": SecurityKey().public, "signature": SecurityKey().signature(text_of(invited))}
    assert "another key" in fault(post(service, invited, action="sign", **form))


@pytest.mark.parametrize(
    ("form", "because"),
    [
        ({}, "Paste the public key"),
        ({"public_key": KEY}, "Paste the signature"),
        ({"public_key": "hello", "signature": "x"}, "no public key"),
        ({"public_key": f"{KEY}\n{KEY}", "signature": "x"}, "more than one key"),
        ({"public_key": f"restrict {KEY}", "signature": "x"}, "without options"),
        ({"public_key": KEY, "signature": "x"}, "whole signature"),
        ({"public_key_file": b"\xff\xfe", "signature": "x"}, "Paste the public key"),
        ({"public_key_file": b"k\0", "signature": "x"}, "file of the public key is no text"),
        ({"public_key": KEY, "signature_file": b"\0x"}, "file of the signature is no text"),
    ],
)
def test_form_shows_the_fault_of_a_malformed_key_or_signature(
    service: Service, invited: OpenedEnrolment, form: dict[str, Any], because: str
) -> None:
    answer = post(service, invited, action="sign", **form)
    assert because in fault(answer)
    assert state(answer.text) == "signature"


def test_form_keeps_the_pasted_text_after_a_fault(service: Service, invited: OpenedEnrolment) -> None:
    pasted = f"{KEY}</textarea><b>\u202e"
    answer = post(service, invited, action="sign", public_key=pasted, signature="one\r\ntwo")
    assert fault(answer)
    assert f">{KEY}&lt;/textarea&gt;&lt;b&gt;\\u202e</textarea>" in answer.text
    assert ">one\ntwo</textarea>" in answer.text
    assert "http-equiv" not in answer.text, "the page does not reload"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_are_read(service: Service, invited: OpenedEnrolment, encoding: str) -> None:
    """Case bom_utf16: the `>` of Windows PowerShell writes UTF-16, and Notepad a byte order mark."""
    key = SecurityKey()
    texts = {"public_key_file": key.public, "signature_file": key.signature(text_of(invited))}
    files = {name: text.replace("\n", "\r\n").encode(encoding) for name, text in texts.items()}
    assert post(service, invited, action="sign", **files).status_code == 303
    assert state(shown(service, invited)) == "presented"


@pytest.mark.parametrize("field", ["public_key", "signature", "public_key_file", "signature_file"])
def test_private_key_is_never_shown_again(service: Service, invited: OpenedEnrolment, field: str) -> None:
    """Finding U20, case wrong_thing_brought: the page repeated the private key that a person had pasted."""
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"
    form: dict[str, Any] = {"public_key": KEY, "signature": "x"}
    form.pop(field.removesuffix("_file"))
    answer = post(service, invited, action="sign", **form, **{field: private.encode() if "file" in field else private})
    assert "Do not use this key any more" in fault(answer)
    assert "c2VjcmV0" not in answer.text
    assert "c2VjcmV0" not in service.log.getvalue()


def test_page_shows_the_command_to_sign_for_each_shell(service: Service, invited: OpenedEnrolment) -> None:
    """Finding U8, case windows_signature: the line for POSIX shells does not run in Windows."""
    html = shown(service, invited, "?by=signature")
    line = text_of(invited).decode().strip()
    for command in (f"echo '{line}' | ssh-keygen", f"'{line}' | ssh-keygen", f"echo {line}| ssh-keygen"):
        assert command in html


@pytest.mark.parametrize("charset", ["undefined", "nosuch", "base64"])
def test_form_in_an_unknown_charset_is_refused(service: Service, invited: OpenedEnrolment, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\nContent-Disposition: form-data; name="action"\r\n\r\nsign\r\n--x--\r\n'
    assert fault(service.call("POST", path(invited), data=body, headers=headers, allow_redirects=False))


def test_form_that_is_too_large_or_malformed_is_refused(service: Service, invited: OpenedEnrolment) -> None:
    assert "did not arrive completely" in fault(post(service, invited, action="sign", public_key="x" * 70_000))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = service.call("POST", path(invited), data=b"--y\r\nbroken", headers=headers, allow_redirects=False)
    assert fault(answer)
    many = {f"f{n}": "x" for n in range(20)}
    answer = service.call("POST", path(invited), files={n: v.encode() for n, v in many.items()}, allow_redirects=False)
    assert fault(answer)


def test_foreign_text_is_escaped_on_the_page(service: Service, invited: OpenedEnrolment) -> None:
    key = SecurityKey()
    form = {"public_key": f"{key.public} <script>x</script>\u202e", "signature": key.signature(text_of(invited))}
    assert post(service, invited, action="sign", **form).status_code == 303
    raw = service.call("GET", path(invited)).text
    assert "<script>" not in raw
    assert "&lt;script&gt;" in raw
    assert "\u202e" not in raw


def test_page_may_only_post_to_itself_and_not_be_framed(service: Service, invited: OpenedEnrolment) -> None:
    headers = service.call("GET", path(invited)).headers
    policy = headers["Content-Security-Policy"]
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Cross-Origin-Opener-Policy"] == "unsafe-none", "an application may open it as a pop-up"
    assert "default-src 'none'" in policy
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


# --- attestation


def test_key_is_confirmed_only_with_the_required_attestation(
    service: Service, invited: OpenedEnrolment, listening: tuple[Socket, str]
) -> None:
    trusting(service, listening, require_attestation=True)
    service.clock.now = START + timedelta(days=300)
    fresh = service.store.enrolments.open("bob", service.clock())
    key = SecurityKey()
    assert "write-attestation" in shown(service, fresh)
    present(service, fresh, key.public)
    mine = parse(key.public).fingerprint
    assert "attestation of their maker" in fault(post(service, fresh, action="confirm", fingerprint=mine))
    for data in (key.attestation(Maker(), text_of(fresh)), key.attestation(MAKER, text_of(invited)), b"junk"):
        assert fault(post(service, fresh, action="confirm", fingerprint=mine, attestation=data))
    good = key.attestation(MAKER, text_of(fresh))
    assert post(service, fresh, action="confirm", fingerprint=mine, attestation=good).status_code == 303
    assert "Example Key 5" in (service.store.keys.all("bob")[0].attested or "")


@pytest.mark.usefixtures("invited")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_attestation_counts_whichever_shell_wrote_the_challenge(
    service: Service, listening: tuple[Socket, str], encoding: str
) -> None:
    """Case windows_signature: the `>` of PowerShell writes other bytes into the file of the challenge."""
    trusting(service, listening, require_attestation=True)
    service.clock.now = START + timedelta(days=300)
    fresh = service.store.enrolments.open("bob", service.clock())
    key = SecurityKey()
    present(service, fresh, key.public)
    challenge = text_of(fresh).decode().replace("\n", "\r\n").encode(encoding)
    form = {"fingerprint": parse(key.public).fingerprint, "attestation": key.attestation(MAKER, challenge)}
    assert post(service, fresh, action="confirm", **form).status_code == 303


def test_page_shows_only_the_signature_if_enrolment_over_ssh_is_off(
    service: Service, invited: OpenedEnrolment, listening: tuple[Socket, str]
) -> None:
    settings = changed(SETTINGS, {"enrolment_over_ssh": False})
    listening[0].app = create_app(service.store, settings, service.clock)
    html = shown(service, invited)
    assert state(html) == "signature"
    assert invited.code[:4] not in re.sub(r"[0-9a-f]{32}", "", html)
