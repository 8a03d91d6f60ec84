"""Tests config.json: the original's file works unchanged, and an error is one line with the file and the place."""

import json
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sshaft import config
from sshaft.config import Period
from sshaft.errors import ConfigurationError
from sshaft.public_key import DEFAULT_TYPES

TOP = Path(__file__).parents[3]

ORIGINAL = {
    "token_endpoint": "https://login.example.org/oauth2/token",
    "client_id": "ssh-mfa",
    "client_secret": "s3cret",
    "token_scope": "mfa:rw",
    "mfa_list_endpoint": "https://api.example.org/mfa/ssh",
    "mfa_accept_endpoint": "https://api.example.org/mfa/ssh/accept",
    "login_path": "/usr/local/bin/sshaft-login",
}

WriteConfig = Callable[..., Path]


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {name: value for name, value in ORIGINAL.items() if name not in names} | more


def refused(path: Path) -> str:
    """Returns the line of error."""
    with pytest.raises(ConfigurationError) as error:
        config.load(path)
    assert error.value.exit_status == 78
    assert error.value.code == "configuration"
    line = str(error.value)
    assert "\n" not in line
    assert "\r" not in line
    assert "s3cret" not in line
    assert "pydantic" not in line
    return line


def test_configuration_needs_only_the_originals_seven_keys(write_config: WriteConfig) -> None:
    loaded = config.load(write_config(ORIGINAL))
    assert loaded.client_secret is not None
    assert loaded.client_secret.get_secret_value() == "s3cret"
    given_back = loaded.model_dump(mode="json", include=set(ORIGINAL) - {"client_secret"})
    assert given_back == without("client_secret")
    assert loaded.token_endpoint_auth_method == "client_secret_post"
    assert loaded.allowed_key_types == DEFAULT_TYPES
    assert loaded.mfa_reject_endpoint is None


def test_configuration_of_the_repository_loads(write_config: WriteConfig) -> None:
    # everybody may be able to read a checkout, so the example is copied to a private file
    assert config.load(write_config((TOP / "config.json").read_text())).login_path == "/sshaft/login"


def test_configuration_is_frozen_and_hides_its_secret(write_config: WriteConfig) -> None:
    loaded = config.load(write_config(ORIGINAL))
    with pytest.raises(ValidationError):
        loaded.client_id = "other"  # type: ignore[misc]
    assert "s3cret" not in repr(loaded) + str(loaded) + loaded.model_dump_json()


def test_secret_may_be_in_its_own_file(write_config: WriteConfig) -> None:
    secret = write_config("  s3cret\n", "secret", 0o640)
    loaded = config.load(write_config(without("client_secret", client_secret_file=str(secret)), mode=0o644))
    assert loaded.client_secret is not None
    assert loaded.client_secret.get_secret_value() == "s3cret"


@pytest.mark.parametrize(
    "address",
    [
        "https://id.example.org/x",
        "https://id.example.org:8443/x?tenant=1",
        "https://10.0.0.1/x",
        "https://[2001:db8::1]:8443/x",
        "HTTPS://ID.EXAMPLE.ORG/x",
        "http://127.0.0.1:8080/x",
        "http://127.8.9.1/x",
        "http://[::1]:8080/x",
        "http://localhost/x",
    ],
)
def test_address_may_be_https_or_http_on_loopback(write_config: WriteConfig, address: str) -> None:
    assert config.load(write_config(without(token_endpoint=address))).token_endpoint == address


@pytest.mark.parametrize(
    "key",
    [
        "token_endpoint",
        "mfa_list_endpoint",
        "mfa_accept_endpoint",
        "mfa_reject_endpoint",
        "mfa_enrol_endpoint",
        "proxy",
    ],
)
@pytest.mark.parametrize(
    "address",
    [
        "http://id.example.org/x",
        "http://10.0.0.1/x",
        "http://0.0.0.0/x",
        "http://127.0.0.1.example.org/x",
        "http://localhost.example.org/x",
        "http://2130706433/x",
        "http://[2001:db8::1]/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "unix:///run/x",
        "id.example.org/x",
        "//id.example.org/x",
        "https://",
        "https:///x",
        "https:x",
        "",
        " https://id.example.org/x",
        "https://id.example.org/x\n",
        "https://id.example.org/x y",
        "https://id.example.org/\u00a0",
        "https://id\u3002example.org/x",
        "https://user@id.example.org/x",
        "https://user:s3cret@id.example.org/x",
        "https://@id.example.org/x",
        "https://id.example.org\\@evil.example/x",
        "https://id.example.org/x#part",
        "https://id.example.org:99999/x",
        "https://id.example.org:port/x",
        "https://[::1/x",
        7,
        None,
        ["https://id.example.org/x"],
    ],
)  # fmt: skip
def test_other_address_is_refused(write_config: WriteConfig, key: str, address: object) -> None:
    if address is None and key in ("mfa_reject_endpoint", "mfa_enrol_endpoint", "proxy"):
        return
    path = write_config(without(**{key: address}))
    line = refused(path)
    assert line.startswith(f"{path}: {key} ")


@pytest.mark.parametrize("missing", sorted(set(ORIGINAL) - {"token_scope", "client_secret"}))
def test_missing_key_is_named(write_config: WriteConfig, missing: str) -> None:
    assert refused(path := write_config(without(missing))) == f"{path}: {missing} is missing"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("client_secrets", "client_secret"),
        ("Client_ID", "client_id"),
        ("token-endpoint", "token_endpoint"),
        ("token_endpoint_auth_methods", "token_endpoint_auth_method"),
        ("mfa_refuse_endpoint", "mfa_reject_endpoint"),
        ("mfa_enroll_endpoint", "mfa_enrol_endpoint"),
        ("cafile", "ca_file"),
        ("login", "login_path"),
        ("", None),
        ("x\ny\x1b", None),
    ],
)
def test_unknown_key_names_the_nearest_known_one(write_config: WriteConfig, key: str, nearest: str | None) -> None:
    line = refused(path := write_config(without(**{key: "x"})))
    assert line.startswith(f"{path}: unknown key {key!r}; the nearest known one is ")
    if nearest:
        assert line.endswith(repr(nearest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"login_path": "sshaft-login"}, "login_path must be an absolute path"),
        ({"login_path": ""}, "login_path must be an absolute path"),
        ({"login_path": "~/login"}, "login_path must be an absolute path"),
        ({"login_path": "/login;id"}, "login_path may hold only"),
        ({"login_path": "/log in"}, "login_path may hold only"),
        ({"login_path": '/login",environment="A=b'}, "login_path may hold only"),
        ({"login_path": "/login\n"}, "login_path may hold only"),
        ({"login_path": "/$HOME/login"}, "login_path may hold only"),
        ({"login_path": "/login`id`"}, "login_path may hold only"),
        ({"login_path": "/l\u00f6gin"}, "login_path may hold only"),
        ({"login_path": None}, "login_path "),
        ({"client_id": ""}, "client_id "),
        ({"client_id": "a\nb"}, "client_id must not hold control characters"),
        ({"client_id": 5}, "client_id "),
        ({"client_id": "a" * 2000}, "client_id "),
        ({"client_secret": ""}, "client_secret is empty"),
        ({"client_secret": 5}, "client_secret "),
        ({"client_secret": ["s3cret"]}, "client_secret "),
        ({"client_secret": None}, "client_secret_post needs client_secret (or client_secret_file)"),
        ({"token_scope": "a\r\nb"}, "token_scope must not hold control characters"),
        ({"token_scope": None}, "token_scope "),
        ({"token_endpoint_auth_method": "none"}, "token_endpoint_auth_method "),
        ({"token_endpoint_auth_method": ["client_secret_post"]}, "token_endpoint_auth_method "),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "private_key_jwt needs private_key_file"),
        (
            {"token_endpoint_auth_method": "tls_client_auth"},
            "tls_client_auth needs client_certificate_file and client_certificate_key_file",
        ),
        ({"client_certificate_file": "/c.pem"}, "client_certificate_file and client_certificate_key_file belong"),
        ({"client_certificate_key_file": "/c.key"}, "client_certificate_file and client_certificate_key_file belong"),
        ({"private_key_algorithm": "HS256"}, "private_key_algorithm "),
        ({"private_key_algorithm": "none"}, "private_key_algorithm "),
        ({"allowed_key_types": []}, "allowed_key_types "),
        ({"allowed_key_types": "ssh-ed25519"}, "allowed_key_types "),
        ({"allowed_key_types": ["ssh-ed25519", 'a" b']}, "allowed_key_types.1 is not the name of a key type"),
        ({"allowed_key_types": ["ssh-ed25519-cert-v01@openssh.com"]}, "allowed_key_types.0 is a certificate"),
        ({"list_seconds": 0}, "list_seconds "),
        ({"list_seconds": -1}, "list_seconds "),
        ({"list_seconds": 3}, "list_seconds "),
        ({"list_seconds": "soon"}, "list_seconds "),
        ({"list_seconds": float("nan")}, "list_seconds "),
        ({"list_seconds": float("inf")}, "list_seconds "),
        ({"accept_seconds": 61}, "accept_seconds "),
        ({"accept_seconds": float("nan")}, "accept_seconds "),
        ({"accept_seconds": None}, "accept_seconds "),
        ({"ca_file": 5}, "ca_file "),
    ],
    ids=lambda value: ascii(value)[:50],
)  # fmt: skip
def test_wrong_value_is_refused_by_name(write_config: WriteConfig, change: dict[str, Any], said: str) -> None:
    line = refused(path := write_config(without(**change)))
    assert line.startswith(f"{path}: {said}")


def test_error_names_every_fault_at_once(write_config: WriteConfig) -> None:
    line = refused(write_config(without("client_id", "login_path", token_endpoint="http://x.example", extra=1)))
    assert "client_id is missing" in line
    assert "login_path is missing" in line
    assert "token_endpoint must be https" in line
    assert "unknown key 'extra'" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{} {}", "not JSON"),
        ("client_id: x", "not JSON"),
        ("// comment\n{}", "not JSON"),
        ("[" * 30_000, "not JSON"),
        ("[]", "not a JSON object"),
        ('"x"', "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"client_id": "a", "client_id": "b"}', "'client_id' is there twice"),
        (
            '{"token_endpoint_auth_method": "client_secret_post", "token_endpoint_auth_method": "tls_client_auth"}',
            "'token_endpoint_auth_method' is there twice",
        ),
        ("{" + " " * 65536 + "}", "larger than 64 KiB"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_text_that_is_not_a_json_object_is_refused(write_config: WriteConfig, text: str, said: str) -> None:
    line = refused(path := write_config(text))
    assert line.startswith(f"{path}: ")
    assert said in line


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (path := tmp_path / "config.json").write_bytes(b'{"client_id": "\xff"}')
    assert refused(path) == f"{path}: not UTF-8 text: save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_configuration_and_secret_of_a_windows_editor_are_read(tmp_path: Path, encoding: str) -> None:
    """Case bom_utf16: the byte order mark was an error in config.json, and became a part of the secret."""
    path, secret = tmp_path / "config.json", tmp_path / "secret"
    secret.write_bytes("s3cret\r\n".encode(encoding))
    path.write_bytes(json.dumps(without("client_secret", client_secret_file=str(secret))).encode(encoding))
    path.chmod(0o600)
    secret.chmod(0o600)
    loaded = config.load(path).client_secret
    assert loaded is not None
    assert loaded.get_secret_value() == "s3cret"


def test_certificates_with_a_byte_order_mark_are_refused(write_config: WriteConfig, tmp_path: Path) -> None:
    """Case bom_utf16: OpenSSL opens this file itself, and it overlooks a certificate behind the mark."""
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\n")
    line = refused(write_config(ORIGINAL | {"ca_file": str(authorities)}))
    assert line.startswith(f"{authorities}: begins with a byte order mark")


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.json") == f"{tmp_path}/none.json: can't be read: No such file or directory"


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device", "loop", "NUL", "below a file"])
def test_path_that_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)  # must not wait for a writer
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case "device":
            path = Path("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "NUL":
            path = tmp_path / "a\0b"
        case "below a file":
            path.touch()
            path = path / "x"
    assert str(path).replace("\0", "\\x00") in refused(path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_error_for_an_unreadable_file_names_the_account(write_config: WriteConfig, tmp_path: Path) -> None:
    path = write_config(ORIGINAL)
    for parent in tmp_path.parents[:-2]:
        parent.chmod(0o755)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert refused(path) == f"{path}: can't be read by uid 65534: Permission denied"
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666, 0o777])
def test_secret_that_everybody_may_read_is_refused(write_config: WriteConfig, mode: int) -> None:
    line = refused(path := write_config(ORIGINAL, mode=mode))
    assert line.startswith(f"{path}: holds a secret and is open to everybody (mode {mode:04o})")
    secret = write_config("s3cret", "secret", mode)
    line = refused(write_config(without("client_secret", client_secret_file=str(secret))))
    assert line.startswith(f"{secret}: holds a secret and is open to everybody")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o440, 0o660, 0o601])
def test_secret_that_its_group_may_read_is_accepted(write_config: WriteConfig, mode: int) -> None:
    assert config.load(write_config(ORIGINAL, mode=mode))


def test_second_secret_is_refused(write_config: WriteConfig) -> None:
    secret = write_config("s3cret", "secret")
    line = refused(path := write_config(without(client_secret_file=str(secret))))
    assert line == f"{path}: client_secret and client_secret_file are both there; keep one"


@pytest.mark.parametrize(
    ("content", "said"), [("", "client_secret is empty"), (" \n", "client_secret is empty"), ("x" * 65537, "larger")]
)
def test_secret_file_without_a_usable_secret_is_refused(write_config: WriteConfig, content: str, said: str) -> None:
    secret = write_config(content, "secret")
    assert said in refused(write_config(without("client_secret", client_secret_file=str(secret))))


@pytest.mark.parametrize("value", ["", "/nowhere/secret", "/", 5, ["x"], {}])
def test_secret_file_that_is_not_a_path_is_refused(write_config: WriteConfig, value: object) -> None:
    refused(write_config(without("client_secret", client_secret_file=value)))


FILES = {
    "private_key_jwt": ("private_key_file",),
    "tls_client_auth": ("client_certificate_key_file", "client_certificate_file"),
}


@pytest.mark.parametrize(("method", "name"), [(method, name) for method, names in FILES.items() for name in names])
def test_named_files_are_checked_at_the_start(
    write_config: WriteConfig, tmp_path: Path, method: str, name: str
) -> None:
    files = {each: str(write_config("x", each)) for each in FILES[method]}
    chosen = without("client_secret", token_endpoint_auth_method=method, **files)
    assert config.load(write_config(chosen))
    if "certificate_file" not in name:
        Path(files[name]).chmod(0o644)
        assert refused(write_config(chosen)).startswith(f"{files[name]}: holds a secret")
    Path(files[name]).unlink()
    assert refused(write_config(chosen)).startswith(f"{files[name]}: can't be read")
    assert refused(write_config(without(ca_file=f"{tmp_path}/ca.pem"))).startswith(f"{tmp_path}/ca.pem: can't be read")


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(sorted(config.Config.model_fields)) | st.text(max_size=10), anything, max_size=4)
)
def test_random_json_is_a_configuration_or_one_line_of_error(
    tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(ORIGINAL | change))
    path.chmod(0o600)
    said = ""
    try:
        config.load(path)
    except ConfigurationError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


def test_unknown_key_type_may_be_allowed(write_config: WriteConfig) -> None:
    kind = public_keys.sk_ed25519().split(" ", maxsplit=1)[0]
    assert config.load(write_config(without(allowed_key_types=[kind, "ssh-new@example.com"]))).allowed_key_types == (
        kind,
        "ssh-new@example.com",
    )


@pytest.mark.parametrize(
    ("text", "period"), [("15m", timedelta(minutes=15)), ("12h", timedelta(hours=12)), ("30d", timedelta(days=30))]
)
def test_period_is_a_number_and_a_unit(text: str, period: timedelta) -> None:
    assert TypeAdapter(Period).validate_python(text, strict=True) == period


@pytest.mark.parametrize("value", ["", "0d", "30", "d", "1.5h", "30s", "30d ", "٣d", "100000d", 30, None])
def test_period_of_another_form_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="such as 15m, 12h or 30d"):
        TypeAdapter(Period).validate_python(value)
