"""Reads and writes the directory of the service: `identity.json`, `hmac.key` and the name of the database."""

import json
import os
import secrets
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sshaft import files
from sshaft.addresses import bracketed
from sshaft.errors import ConfigurationError
from sshaft.host.ssh_server import HOST_PATTERN, USER_PATTERN, SshServer, host_keys
from sshaft.validation import first_fault
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.challenges.attempts import Rules
from sshaft_identity.challenges.challenge import MAX_LIFETIME, MIN_LIFETIME, AddressCheck
from sshaft_identity.challenges.limits import Limits
from sshaft_identity.common.addresses import Network
from sshaft_identity.common.appearance import Appearance, Help
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.roles import DeskSettings
from sshaft_identity.people.sessions import SessionTimes
from sshaft_oidc.settings import ProviderSettings

SETTINGS_FILE = "identity.json"
_DATABASE_FILE = "identity.db"
_KEY_FILE = "hmac.key"
_KEY_BYTES = 32


class Settings(BaseModel):
    """`identity.json`. An unknown member is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    database: str | None = Field(default=None, description="SQLAlchemy URL; null: identity.db in the directory")
    database_file: str | None = Field(default=None, description="the file with this URL, instead of `database`")
    host: str = "127.0.0.1"
    """The address to listen at. A change needs a restart."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The port to listen at. A change needs a restart."""
    public_url: str | None = Field(default=None, description="the URL at which browsers and agents reach the service")
    ssh_user: str = Field(default="mfa", pattern=USER_PATTERN)
    """The account in the ssh command that people see."""
    ssh_host: str = Field(default="localhost", pattern=HOST_PATTERN)
    """The host in the ssh command that people see."""
    ssh_port: int = Field(default=22, ge=1, le=65535)
    """The port in the ssh command that people see."""
    ssh_host_keys: tuple[str, ...] = Field(
        default=(), description='the public host keys of that host (TYPE BASE64), for the section "The first time?"'
    )
    help: Help = Field(default_factory=Help)
    """What the pages tell people who need help."""
    appearance: Appearance = Field(default_factory=Appearance)
    """The name, the logo and the colour of the pages."""
    languages: str | None = Field(
        default=None, description="a folder with more catalogues, or with other texts: LANGUAGE.po"
    )
    address_check: AddressCheck = Field(
        default=AddressCheck.WARN,
        strict=False,
        description="if ssh and the browser have different addresses: off, warn (ask the person) or require (refuse)",
    )
    limits: Limits = Field(default_factory=Limits)
    """How many wrong codes are taken."""
    approval_limits: ApprovalLimits = Field(
        default_factory=ApprovalLimits, description="how many approvals of SSH logins a host may open in five minutes"
    )
    networks: str | None = Field(
        default=None, description="a file of lines CIDR OWNER: the page of an approval names the owners of addresses"
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), description="addresses or networks (CIDR) whose X-Forwarded-For is trusted"
    )
    proxies_in_a_row: int = Field(default=1, ge=1, le=10, description="trusted proxies that a request passes, at most")
    sessions: SessionTimes = Field(default_factory=SessionTimes, description='browsers signed in to "my keys"')
    oidc: ProviderSettings | None = Field(default=None, description='sign-in to "my keys" at this OpenID Provider')
    desk: DeskSettings = Field(default_factory=DeskSettings, description="the help desk in the browser")
    metrics_host: str | None = Field(default=None, description="the address for Prometheus, with a port of its own")
    metrics_port: int = Field(default=9464, ge=0, le=65535)
    """The port for Prometheus."""
    metrics_token_file: str | None = Field(default=None, description="clients with its token get them on the main port")
    enrolment_over_ssh: bool = Field(default=True, description="`ssh mfa@host enrol CODE` with a key that no user owns")
    key_policy: KeyPolicy = Field(default_factory=KeyPolicy)
    """Which keys people may register."""
    lifetime: int = Field(default=300, ge=int(MIN_LIFETIME.total_seconds()), le=int(MAX_LIFETIME.total_seconds()))
    """The seconds that a challenge waits."""

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is None:
            return None
        AnyHttpUrl(value)  # raises a ValueError of its own
        return value.rstrip("/")

    @field_validator("ssh_host_keys")
    @classmethod
    def _host_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(key) for key in host_keys(value))

    @model_validator(mode="after")
    def _has_one_database(self) -> "Settings":
        if self.database is not None and self.database_file is not None:
            raise ValueError("database and database_file are both there; keep one")
        return self

    @model_validator(mode="after")
    def _groups_have_a_source(self) -> "Settings":
        if self.desk.groups and (self.oidc is None or self.oidc.groups_claim is None):
            raise ValueError("desk: groups need oidc.groups_claim, the claim that names the groups of a person")
        return self

    @property
    def rules(self) -> Rules:
        return Rules(self.limits, self.address_check)

    @property
    def base_url(self) -> str:
        """Returns the start of every URL of the service. It never comes from the Host header of a request."""
        if self.public_url is not None:
            return self.public_url
        host = "localhost" if self.host in ("0.0.0.0", "::") else bracketed(self.host)  # noqa: S104 - asked, not bound
        return f"http://{host}:{self.port}"

    @property
    def base_path(self) -> str:
        """Returns the path of `base_url`. It is empty unless a proxy serves the service below a path."""
        return urlsplit(self.base_url).path.rstrip("/")

    @property
    def listen_address(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    def page_url(self, page_token: str) -> str:
        return f"{self.base_url}/challenge/{page_token}"

    def approval_url(self, page_token: str) -> str:
        return f"{self.base_url}/approve/{page_token}"

    def enrolment_url(self, page_token: str) -> str:
        return f"{self.base_url}/enrol/{page_token}"

    @cached_property
    def ssh_server(self) -> SshServer:
        return SshServer(self.ssh_user, self.ssh_host, self.ssh_port, host_keys(self.ssh_host_keys))

    def ssh_command(self, *words: str | None) -> str:
        return self.ssh_server.command(*words)


def default_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/sshaft-identity")
    return Path.home() / ".local/share/sshaft/identity"


def load(directory: Path) -> Settings:
    """Reads the settings of a directory that `sshaft identity init` has made. Raises `ConfigurationError`."""
    try:
        return Settings.model_validate_json(files.decode_text(_read(directory, SETTINGS_FILE)))
    except files.NotTextError as error:
        raise ConfigurationError(f"{directory / SETTINGS_FILE}: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{directory / SETTINGS_FILE}: {first_fault(error)}") from error


def _read(directory: Path, name: str) -> bytes:
    path = directory / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"no {path}: run `sshaft identity --directory {directory} init` first") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def changed(settings: Settings, changes: dict[str, object]) -> Settings:
    """Returns the settings with `changes`, all members checked again. Raises `ConfigurationError`."""
    try:
        return Settings.model_validate(settings.model_dump() | changes)
    except ValidationError as error:
        raise ConfigurationError(first_fault(error)) from error


def save(directory: Path, settings: Settings) -> None:
    """Writes the file for its owner only. Raises `OSError`, or `UnicodeEncodeError` for text that is not UTF-8."""
    content = json.dumps(settings.model_dump(), indent=2, ensure_ascii=False).encode()
    files.replace(directory / SETTINGS_FILE, content + b"\n", keep_owner=True)


def read_secret(path: Path, name: str) -> str:
    """Returns the text of a file that the settings name. Raises `ConfigurationError`, which begins with `name`."""
    try:
        return files.read_text(path).strip()
    except (OSError, files.NotTextError) as error:
        raise ConfigurationError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def load_key(directory: Path) -> bytes:
    key = _read(directory, _KEY_FILE)
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{directory / _KEY_FILE} must hold exactly {_KEY_BYTES} bytes")
    return key


def make_key(directory: Path) -> None:
    """Makes a key if there is none. It never replaces a key: the open challenges depend on it."""
    try:
        handle = os.open(directory / _KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
    except OSError:  # such as a full disk: an incomplete key would never be replaced
        (directory / _KEY_FILE).unlink()
        raise


def database_url(directory: Path, settings: Settings) -> str:
    """Returns the URL that the settings name. Raises `ConfigurationError` if `database_file` cannot be used."""
    if settings.database_file is not None:
        url = read_secret(Path(settings.database_file), f"database_file {settings.database_file}")
        if not url:
            raise ConfigurationError(f"database_file {settings.database_file} is empty")
        return url
    return settings.database or f"sqlite:///{(directory / _DATABASE_FILE).absolute()}"
