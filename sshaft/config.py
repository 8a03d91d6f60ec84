"""Reads and checks `config.json`. The original's seven keys work unchanged; all others are optional."""

import difflib
import json
import os
import re
import stat
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from sshaft import files
from sshaft.addresses import is_loopback
from sshaft.authorized_keys import is_safe_word
from sshaft.errors import ConfigurationError
from sshaft.oauth.client_authentication import Algorithm, ClientCredentials
from sshaft.public_key import DEFAULT_TYPES, is_certificate_type

MAX_FILE = 64 * 1024


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not an address: {error}") from None
    if not host or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("is not an https address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must not carry a user name, a password or a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("must be https (http only to 127.0.0.1, ::1 or localhost)")
    return value


def _command_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path")
    if not is_safe_word(value):
        raise ValueError("may hold only letters, digits and ._@+/:- because it stands in a key line")
    return value


def _key_type(value: str) -> str:
    if not is_safe_word(value):
        raise ValueError("is not the name of a key type")
    if is_certificate_type(value):
        raise ValueError("is a certificate; sshaft takes plain keys only")
    return value


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("is empty")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value, re.ASCII)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


def _period(value: object) -> object:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a number and m, h or d, such as 15m, 12h or 30d")
    return timedelta(**{{"m": "minutes", "h": "hours", "d": "days"}[match[2]]: int(match[1])})


Url = Annotated[str, AfterValidator(_url)]
Text = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_text)]
Pattern = Annotated[str, Field(max_length=512), AfterValidator(_pattern)]
"""A regular expression, for `re.ASCII`: with (?i), letters of other alphabets would count as those of ASCII."""
Seconds = Annotated[float, Field(gt=0, le=60)]
Period = Annotated[timedelta, BeforeValidator(_period)]
"""A time of minutes, hours or days, such as `15m`, `12h` and `30d`."""


class Config(BaseModel):
    """The configuration of the sshd side. Relative paths begin at the working directory; give absolute paths."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token_endpoint: Url
    """Where the agent gets its access token: https, or http to loopback. No redirect is followed."""
    client_id: Text
    """This client at the identity service."""
    token_scope: Annotated[str, AfterValidator(_text)] = ""
    """The scope of the access token."""
    mfa_list_endpoint: Url
    """Lists the pending logins of a key."""
    mfa_accept_endpoint: Url
    """Accepts a login."""
    mfa_reject_endpoint: Url | None = None
    """For `ssh mfa@host deny`."""
    mfa_enrol_endpoint: Url | None = None
    """Without it, the agent never lets in a key without an owner."""
    login_path: Annotated[str, AfterValidator(_command_path)]
    """The absolute path of `sshaft-login`, the forced command of each key line."""

    token_endpoint_auth_method: Literal[
        "client_secret_post", "client_secret_basic", "private_key_jwt", "tls_client_auth"
    ] = "client_secret_post"
    """How this client proves itself at the token endpoint."""
    client_secret: Annotated[SecretStr, AfterValidator(_secret)] | None = None
    """The secret itself. Nobody else may then read the file (`chmod o=`)."""
    client_secret_file: Path | None = None
    """The file with the secret, instead of `client_secret`."""
    private_key_file: Path | None = None
    """PEM private key for `private_key_jwt`."""
    private_key_id: Text | None = None
    """`kid` of the assertion, for a server that holds several keys of this client."""
    private_key_algorithm: Algorithm = "ES256"
    """The algorithm of the assertion."""
    client_certificate_file: Path | None = None
    """PEM certificate (chain) for `tls_client_auth`, sent with every call (RFC 8705 §3)."""
    client_certificate_key_file: Path | None = None
    """PEM private key of the certificate."""

    ca_file: Path | None = None
    """PEM bundle to trust instead of the public certificate authorities."""
    proxy: Url | None = None
    """Never taken from the environment."""

    allowed_key_types: Annotated[tuple[Annotated[str, AfterValidator(_key_type)], ...], Field(min_length=1)] = (
        DEFAULT_TYPES
    )
    """Keys of other types open nothing."""
    list_seconds: Annotated[float, Field(gt=0, le=2.8)] = 2.5
    """Deadline of one look-up with its retries and its token. `sshaft-keys` itself ends after 3 s."""
    accept_seconds: Seconds = 10.0
    """Deadline of one acceptance, with its retries and its token."""

    @model_validator(mode="after")
    def _has_members_for_client_authentication(self) -> "Config":
        needs = {
            "client_secret_post": ("client_secret",),
            "client_secret_basic": ("client_secret",),
            "private_key_jwt": ("private_key_file",),
            "tls_client_auth": ("client_certificate_file", "client_certificate_key_file"),
        }[self.token_endpoint_auth_method]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            also = " (or client_secret_file)" if missing == ["client_secret"] else ""
            raise ValueError(f"{self.token_endpoint_auth_method} needs {' and '.join(missing)}{also}")
        if (self.client_certificate_file is None) != (self.client_certificate_key_file is None):
            raise ValueError("client_certificate_file and client_certificate_key_file belong together; give both")
        return self

    @property
    def credentials(self) -> ClientCredentials:
        """Returns what proves this client at the token endpoint."""
        return ClientCredentials(
            self.client_id, self.token_endpoint_auth_method,
            self.client_secret.get_secret_value() if self.client_secret else "",
            self.private_key_file, self.private_key_id, self.private_key_algorithm,
        )  # fmt: skip


def load(path: Path) -> Config:
    """Returns the configuration in `path`. Raises `ConfigurationError`, whose one line names the file and the fault."""
    return parse(path, read_object(path))


def read_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in `path`, and refuses a file that shows its secret to everybody."""
    text, mode = _read(path)
    data = parse_object(path, text)
    if _has_secret(data):
        _refuse_open(path, mode)
    return data


def _has_secret(value: object) -> bool:
    """Whether a secret itself stands in the configuration, and not only the name of its file."""
    if isinstance(value, list):
        return any(_has_secret(each) for each in value)
    return isinstance(value, dict) and ("client_secret" in value or any(map(_has_secret, value.values())))


def parse(path: Path, data: dict[str, Any]) -> Config:
    """Returns the configuration of the SSH factor. `host_login` belongs to the agent, which reads it by itself."""
    data = {name: value for name, value in data.items() if name != "host_login"}
    secret_file = data.get("client_secret_file")
    if isinstance(secret_file, str):
        if "client_secret" in data:
            raise ConfigurationError(f"{path}: client_secret and client_secret_file are both there; keep one")
        secret, secret_mode = _read(Path(secret_file))
        _refuse_open(Path(secret_file), secret_mode)
        data["client_secret"] = secret.strip()
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {'; '.join(sentence(e, Config) for e in error.errors())}") from None
    _check_files(config)
    return config


def _check_files(config: Config) -> None:
    """Checks at the start, not at the first login, that each named file exists and that private files are private."""
    for private in (config.private_key_file, config.client_certificate_key_file):
        if private is not None:
            _refuse_open(private, _read(private)[1])
    for public in (config.client_certificate_file, config.ca_file):
        if public is not None:
            _read(public, limit=4 * 1024 * 1024)
    for opened_by_openssl in (config.client_certificate_file, config.client_certificate_key_file, config.ca_file):
        if opened_by_openssl is not None:
            refuse_byte_order_mark(opened_by_openssl)


def refuse_byte_order_mark(path: Path) -> None:
    """Refuses a PEM file in which OpenSSL would overlook the first certificate. Raises `ConfigurationError`."""
    try:
        with _open_regular(path) as file:
            beginning = file.read(3)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from None
    if beginning.startswith(tuple(files.BYTE_ORDER_MARKS)):
        raise ConfigurationError(f"{path}: begins with a byte order mark: save it as UTF-8 without a byte order mark")


def parse_object(path: Path, text: str) -> dict[str, Any]:
    """Returns the JSON object in the text of `path`. A name that is there twice is an error."""
    try:
        data = json.loads(text, object_pairs_hook=without_repetition)
    except RecursionError:
        raise ConfigurationError(f"{path}: not JSON: nested too deep") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: not a JSON object")
    return data


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the members of a JSON object. Raises `ValueError` if a name is there twice."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice; keep one")
    return data


def _read(path: Path, limit: int = MAX_FILE) -> tuple[str, int]:
    """Returns the text and the mode of a regular file."""
    text, status = read_file(path, limit)
    return text, status.st_mode


def read_file(path: Path, limit: int = MAX_FILE) -> tuple[str, os.stat_result]:
    """Returns the text and the state of a regular file. Raises `ConfigurationError` for any other file."""
    if not str(path).isprintable():
        raise ConfigurationError(f"{str(path)!r}: not a path")
    try:
        with _open_regular(path) as file:
            status = os.fstat(file.fileno())
            data = file.read(limit + 1)
    except OSError as error:
        who = f" by uid {os.geteuid()}" if isinstance(error, PermissionError) else ""
        raise ConfigurationError(f"{path}: can't be read{who}: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigurationError(f"{path}: larger than {limit // 1024} KiB")
    try:
        return files.decode_text(data), status
    except files.NotTextError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def read_trusted_file(path: Path, limit: int) -> tuple[str, os.stat_result]:
    """Returns the text and the state of a file that decides who may log in.

    Raises `ConfigurationError` for a file that is not of root or of this account, or that others can write to.
    """
    text, status = read_file(path, limit)
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(f"{path}: belongs to uid {status.st_uid}, not to root or to the agent")
    if status.st_mode & 0o022:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(f"{path}: others can write to it (mode {mode:04o}): chmod go-w {path}")
    return text, status


def _open_regular(path: Path) -> IO[bytes]:
    """Opens a regular file to read. Raises `ConfigurationError` for any other file, and `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConfigurationError(f"{path}: not a regular file")
    return os.fdopen(handle, "rb")


def _refuse_open(path: Path, mode: int) -> None:
    if mode & 0o006:
        raise ConfigurationError(
            f"{path}: holds a secret and is open to everybody (mode {stat.S_IMODE(mode):04o}): chmod o= {path}"
        )


def sentence(error: Any, kind: type[BaseModel]) -> str:
    """Returns one sentence for a fault that pydantic found in a configuration of this kind."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(kind.model_fields), n=1, cutoff=0.0)
        return f"unknown key {name!r}; the nearest known one is {near[0]!r}"
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name} {message}" if name else message
