"""Tests where a token comes from, how it is cut for the prompts, and which words are ours."""

import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from fakes.motley_cue import MotleyCue

from sshaft.host_api import service as services
from sshaft.host_api.prompt import parts_of
from sshaft.host_api.service import Service
from sshaft.host_api.web import WebError
from sshaft_client import options, target, tokens
from sshaft_client.broker import Answers
from sshaft_client.options import Options, UsageError
from sshaft_client.tokens import TokenError

ISSUER, OTHER = "https://op.example", "https://other.example/"


@pytest.fixture
def server() -> Iterator[MotleyCue]:
    with MotleyCue(issuers={ISSUER: {"scopes": [], "audience": ""}}) as server:
        yield server


@pytest.fixture
def service(server: MotleyCue) -> Service:
    return Service(server.url, None)


@pytest.mark.parametrize("text", ["token", "token\n", " token\r\n"])
def test_token_is_read_from_a_file(tmp_path: Path, service: Service, text: str) -> None:
    (tmp_path / "token").write_text(text)
    assert tokens.obtain(Options(token_file=str(tmp_path / "token")), service, {"OIDC": "other"}) == "token"


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "back\\slash", "\u00e9", "\x1b[2J", "x" * 20_000])
def test_file_without_a_token_is_refused(tmp_path: Path, service: Service, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(TokenError, match="token") as error:
        tokens.obtain(Options(token_file=str(tmp_path / "token")), service, {})
    assert text not in str(error.value) or not text


def test_file_that_is_not_there_is_named(service: Service) -> None:
    with pytest.raises(TokenError, match="/nowhere: No such file"):
        tokens.obtain(Options(token_file="/nowhere"), service, {})


def test_first_variable_with_a_token_counts(service: Service) -> None:
    given = {"WATTS_TOKEN": "last", "OIDC": "first", "ACCESS_TOKEN": ""}
    assert tokens.obtain(Options(), service, given) == "first"


def test_provider_that_the_service_does_not_take_is_refused(service: Service, server: MotleyCue) -> None:
    with pytest.raises(TokenError, match=r"takes no tokens of https://other.example/; it takes https://op.example"):
        tokens.obtain(Options(issuer=OTHER), service, {})
    server.issuers[OTHER] = {}
    with pytest.raises(TokenError, match="choose one with --iss"):
        tokens.obtain(Options(), service, {})


def test_agent_that_is_away_is_named(service: Service) -> None:
    pytest.importorskip("liboidcagent")
    for given in (Options(account="me"), Options(issuer="op.example/")):
        with pytest.raises(TokenError, match="oidc-agent, "):
            tokens.obtain(given, service, {"OIDC_SOCK": "/nowhere"})


@pytest.mark.parametrize("length", [1, 1022, 1023, 1024, 2042, 2043, 2044, 12 * 1024])
def test_parts_are_short_and_make_the_token(length: int) -> None:
    token = "".join(chr(65 + at % 26) for at in range(length))
    parts = parts_of(token)
    assert all(len(part) <= 1022 for part in parts)
    assert [part.endswith("\\") for part in parts] == [True] * (len(parts) - 1) + [False]
    assert "".join(part.removesuffix("\\") for part in parts) == token
    assert len(parts) <= 16


@pytest.mark.parametrize(
    "prompt",
    [
        "Access Token:", "(alice@web1) Access Token:", "(alice@web1) Press Enter, or paste an Access Token:",
        "Welcome\nAccess Token:",
    ],
)  # fmt: skip
def test_token_prompts_get_the_token_once(prompt: str) -> None:
    answers = Answers(7, lambda: ["token"], lambda: "why")
    assert answers.to(prompt, 8) == ("person", {})
    assert answers.to(prompt, 7) == ("answer", {"text": "token"})
    assert answers.to(prompt, 7) == ("person", {"explanation": "why"})
    assert answers.to(prompt, 7) == ("person", {})


@pytest.mark.parametrize("prompt", ["", "Password:", "Access Token: ", "Access Token:\n", "Access Token: x", "token:"])
def test_other_prompts_get_nothing(prompt: str) -> None:
    assert Answers(7, lambda: ["token"], lambda: "why").to(prompt, 7) == ("person", {})
    assert Answers(7, lambda: ["token"], lambda: "why", may_ask=False).to(prompt, 7) == ("nobody", {})


def test_our_options_stand_before_those_of_ssh() -> None:
    words = ["--token-file", "f", "--endpoint=https://a", "-v", "--", "host", "--token-file", "x"]
    assert options.parse(words) == (Options(token_file="f", endpoint="https://a"), words[3:])
    assert options.parse(["--", "host"]) == (Options(), ["--", "host"])


@pytest.mark.parametrize("words", [["--token", "secret"], ["--token=secret"]])
def test_token_on_the_command_line_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="everybody") as error:
        options.parse(words)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "does"),
    [
        (["host"], True), (["host", "-G"], False), (["-vG", "host"], False), (["-o", "-G", "host"], True),
        (["host", "cmd", "-G"], True), (["-V"], False), ([], False), (["-O", "check", "host"], False),
        (["--", "host"], True), (["-fNT", "-L", "1:2:3", "host"], True), (["-9", "host"], False),
    ],
)  # fmt: skip
def test_words_that_log_in_are_known(words: list[str], *, does: bool) -> None:
    assert options.logs_in(words) is does


def test_account_is_named_only_if_it_is_not_the_one_of_this_computer() -> None:
    printed = "user bob\nhostname web1\nport 22\nbatchmode no\n"
    found = target.read(printed, "alice")
    assert found is not None
    assert (found.host, found.user) == ("web1", "bob")
    assert target.read(printed, "bob") == found._replace(user=None)
    assert target.read("user bob\n", "bob") is None


def test_service_is_found_at_the_usual_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The web server of the host is another one; the service is beside it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with MotleyCue(prefix="/motley_cue") as server:
        server.use_tls(context)
        monkeypatch.setattr(services, "_PORTS", (":1", f":{server.port}"))
        found = services.of("localhost", None, ca_file=str(tmp_path / "ca.pem"), allow_http=False)
        assert found.url == server.url
        with pytest.raises(WebError, match="its certificate is not trusted"):
            services.of("localhost", None, ca_file=None, allow_http=False)


def test_token_goes_to_no_service_whose_certificate_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody else listens at the first address, and says that the service is there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(3)]
    for each, context in zip((trustme.CA().issue_cert("localhost"), authority.issue_cert("other.example.org"),
                              authority.issue_cert("localhost")), contexts, strict=True):  # fmt: skip
        each.configure_cert(context)
    servers = [MotleyCue({"the-token": "alice"}, prefix="/motley_cue") for _ in contexts]
    with servers[0], servers[1], servers[2]:
        for server, context in zip(servers, contexts, strict=True):
            server.use_tls(context)
        monkeypatch.setattr(services, "_PORTS", tuple(f":{each.port}" for each in servers))
        found = services.of("localhost", None, ca_file=str(tmp_path / "ca.pem"), allow_http=False)
        assert found.account("the-token") == "alice"
        assert [each.calls for each in servers[:2]] == [[], []]


def test_programs_for_each_login_load_no_heavy_library() -> None:
    """People wait for them: `sshaft ssh` may add 150 ms to ssh."""
    heavy = {"click", "requests", "pydantic", "http.client", "ssl", "dataclasses", "inspect", "email"}
    for module in ("sshaft.__main__, sshaft_client.__main__, sshaft_client.ssh", "sshaft_client.askpass"):
        code = f"import sys, {module}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({ROOT!r}); {code}"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert heavy & set(done.stdout.split()) == set()


ROOT = str(Path(services.__file__).parents[2])


def test_ssh_knows_no_option_that_we_do_not() -> None:
    """`logs_in` reads the options of ssh as ssh does. Its usage lists them."""
    if not shutil.which("ssh"):
        pytest.skip("ssh is not installed")
    usage = subprocess.run(["ssh"], capture_output=True, text=True, check=False).stderr
    flags = usage.partition("[-")[2].partition("]")[0]
    assert set(flags) <= set(options.SSH_OPTIONS.replace(":", ""))
