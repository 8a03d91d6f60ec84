"""Tests the client against services that are there, away, broken or hostile. No test leaves loopback."""

import hashlib
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from fakes.motley_cue import DESCRIPTION, MotleyCue

from sshaft.host_api import service as services
from sshaft.host_api import web
from sshaft.host_api.service import Info, Service, Wish
from sshaft.host_api.web import WebError
from sshaft.text import printable

TOKEN, ISSUER = "the-token", "https://op.example"


@pytest.fixture
def server() -> Iterator[MotleyCue]:
    with MotleyCue({TOKEN: "alice"}, {ISSUER: {"scopes": ["openid", "email"], "audience": "web1"}}) as server:
        yield server


@pytest.fixture
def service(server: MotleyCue) -> Service:
    return services.of("web1", server.url, ca_file=None, allow_http=False)


def test_account_is_the_one_that_the_service_names(service: Service, server: MotleyCue) -> None:
    assert service.account(TOKEN) == "alice"
    assert server.calls == [("/", ""), ("/user/deploy", TOKEN)]


@pytest.mark.parametrize("path", ["", "/"])
def test_address_may_end_with_a_slash(server: MotleyCue, path: str) -> None:
    assert services.of("web1", server.url + path, ca_file=None, allow_http=False).url == server.url


@pytest.mark.parametrize(
    "name",
    ["-oProxyCommand=id", "a b", "a;id", "$(id)", "a\nb", "", "alice\x1b[2J", None, 7, "a" * 300, "é", "`id`"],
    ids=ascii,
)
def test_account_name_that_could_be_a_command_is_refused(service: Service, server: MotleyCue, name: Any) -> None:
    """ssh puts the name into commands (%r), and a hostile server chooses it."""
    server.bent["/user/deploy"] = 200, {"state": "deployed", "credentials": {"ssh_user": name}}
    with pytest.raises(WebError, match="no usable account name") as error:
        service.account(TOKEN)
    assert printable(str(error.value), 2000) == str(error.value).replace("\\", "\\\\")


@pytest.mark.parametrize(
    ("state", "says"),
    [("pending", "waits for"), ("rejected", "has rejected"), ("suspended", "is suspended"), ("odd\x1b", "not know")],
)
def test_person_reads_why_there_is_no_account(service: Service, server: MotleyCue, state: str, says: str) -> None:
    server.bent["/user/deploy"] = 200, {"state": state, "message": "username deployment\x1b[2J", "credentials": {}}
    with pytest.raises(WebError, match=says) as error:
        service.account(TOKEN)
    assert "\x1b" not in str(error.value)


def test_failed_deployment_of_an_account_that_is_there_stops_no_login(service: Service, server: MotleyCue) -> None:
    server.bent["/user/deploy"] = 500, {"detail": "Something went wrong."}
    assert service.account(TOKEN) == "alice"


def test_foreign_token_is_refused_with_the_words_of_the_service(service: Service) -> None:
    with pytest.raises(WebError, match=r"401.*User identity could not be determined"):
        service.account("other")


def test_one_time_password_is_the_hash_of_the_token(service: Service, server: MotleyCue) -> None:
    assert service.make_one_time_password(TOKEN) == hashlib.sha512(TOKEN.encode()).hexdigest()
    server.bent["/user/generate_otp"] = 200, {"supported": True, "successful": False}
    assert service.make_one_time_password(TOKEN) is None


def test_one_question_brings_all_that_the_service_says_to_everybody(service: Service, server: MotleyCue) -> None:
    assert service.info() == Info({"ssh_host": "web1"}, [ISSUER])
    assert server.calls == [("/", ""), ("/info", "")]


def test_wishes_of_the_service_are_read(service: Service) -> None:
    assert service.info().providers == [ISSUER]
    assert service.wish(ISSUER) == Wish(("openid", "email"), "web1")
    with pytest.raises(WebError, match="takes no tokens of"):
        service.wish("https://other.example")


def test_odd_wishes_are_left_out(service: Service, server: MotleyCue) -> None:
    server.issuers[ISSUER] = {"scopes": ["ok", 7, 'a"b', "c d", None], "audience": ["first", "second"]}
    assert service.wish(ISSUER) == Wish(("ok",), "first")
    server.issuers[ISSUER] = {"scopes": "openid", "audience": 7}
    assert service.wish(ISSUER) == Wish((), "")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"a": "' + b"x" * web.MAX_ANSWER + b'"}', b"{}"],
    ids=["empty", "page", "list", "number", "bytes", "deep", "large", "other"],
)
def test_web_server_of_another_kind_is_no_service(server: MotleyCue, body: bytes) -> None:
    server.bent["/"] = 200, body
    with pytest.raises(WebError):
        services.of("web1", server.url, ca_file=None, allow_http=False)


def test_redirect_leads_to_no_service(server: MotleyCue) -> None:
    server.bent["/"] = 302, {"description": DESCRIPTION}
    with pytest.raises(WebError, match="is no service"):
        services.of("web1", server.url, ca_file=None, allow_http=False)
    assert "/elsewhere" not in server.paths()


def test_redirect_is_not_followed(service: Service, server: MotleyCue) -> None:
    server.bent["/user/deploy"] = 302, {"state": "deployed", "credentials": {"ssh_user": "alice"}}
    with pytest.raises(WebError, match="302"):
        service.account(TOKEN)
    assert "/elsewhere" not in server.paths()


def test_answer_that_never_ends_is_cut_at_the_deadline(server: MotleyCue) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            pass

    server.on_call["/"] = drip
    with pytest.raises(WebError, match="no whole answer in time"):
        web.get(server.url, "/", seconds=0.3)


def test_service_that_is_silent_is_given_up(server: MotleyCue) -> None:
    server.on_call["/"] = lambda _: time.sleep(0.5)
    with pytest.raises(WebError, match="no whole answer in time"):
        web.get(server.url, "/", seconds=0.2)


@pytest.mark.parametrize("url", ["http://web1.example", "http://web1.example/motley_cue"])
def test_token_crosses_no_network_without_encryption(url: str) -> None:
    with pytest.raises(WebError, match="--allow-http"):
        services.of("web1.example", url, ca_file=None, allow_http=False)


@pytest.mark.parametrize("url", ["ftp://web1", "https://", "file:///etc/passwd", "https://web1:99999/", "https://["])
def test_odd_address_is_refused(url: str) -> None:
    with pytest.raises(WebError):
        services.of("web1", url, ca_file=None, allow_http=True)
