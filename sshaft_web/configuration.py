"""Reads and checks web.json."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import click
from pydantic import AfterValidator, Field, ValidationError

from sshaft import config
from sshaft.daemon.host_port import HOST_PORT
from sshaft.errors import ConfigurationError
from sshaft.http_server.settings import AbsolutePath, ListeningPort, Section, ServerSettings
from sshaft_oidc.settings import ClientSettings


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.path not in ("", "/") or parts.query or parts.netloc != parts.netloc.lower():
        raise ValueError("must be scheme and host in small letters, such as https://ssh.example.org, without a path")
    if value.rstrip("/").endswith({"https": ":443", "http": ":80"}[parts.scheme]):
        raise ValueError("must not name the usual port: browsers leave it out of the address")
    return value.rstrip("/")


def _host_port(value: str) -> str:
    try:
        HOST_PORT.convert(value, None, None)
    except click.BadParameter as error:
        raise ValueError(error.message) from None
    return value


Port = Annotated[int, Field(ge=1, le=65535)]
_Count = Annotated[int, Field(ge=1)]


class ProviderSettings(ClientSettings):
    """The OpenID Provider at which people sign in. Its redirect URI is PUBLIC_URL/sign-in/callback."""

    audience: config.Text | None = None
    """For whom the access tokens are: what the hosts want (RFC 8707, and the older parameter `audience`)."""
    name_claim: Annotated[str, Field(min_length=1)] = "preferred_username"
    """The claim that the pages and the log call a person. It decides nothing."""
    label: Annotated[str, Field(min_length=1, max_length=80)] = "your organisation"
    """The provider's name on the button."""


class TargetSettings(Section):
    """A host to which people can connect."""

    title: Annotated[config.Text, Field(max_length=80)] | None = None
    """What the pages call the host."""
    host: config.Text
    """The address of sshd."""
    port: Port = 22
    """The port of sshd."""
    known_hosts: AbsolutePath | tuple[config.Text, ...]
    """A file, or its lines. Lines with @cert-authority and @revoked count too."""
    api: config.Url | None = None
    """The host's API of token login, such as https://login.example.org. Without it, people name their account."""
    ca_file: AbsolutePath | None = None
    """PEM bundle to trust for the API instead of the public authorities."""


class Limits(Section):
    """Bounds of this program."""

    terminals_per_person: _Count = 8
    """Terminals of one person."""
    terminals: _Count = 500
    """Terminals of all people."""
    idle_seconds: _Count = 3600
    """A terminal in which nothing happens ends after this time."""
    keep_seconds: Annotated[int, Field(ge=0)] = 600
    """A terminal stays open for this time after its page was closed or has lost its network."""
    sign_in_seconds: _Count = 12 * 3600
    """People sign in anew after this time."""
    revocation_seconds: _Count = 60
    """The provider is asked this often whether it has revoked a token that comes without a refresh token."""
    upload_bytes: _Count = 10 * 1024**3
    """The largest file that a person may upload."""
    transfers_per_person: _Count = 6
    """Uploads and downloads of one person that run at once."""
    transfers: _Count = 100
    """Uploads and downloads of all people that run at once. Each one needs about 2 MiB of memory."""


class RecordingSettings(Section):
    """Recordings of terminals."""

    directory: AbsolutePath
    """The folder of the recordings."""
    input: bool = False
    """Whether keys are recorded too. People type passwords: leave it off."""
    required: bool = True
    """Whether a terminal ends if its recording fails."""


class Settings(ServerSettings):
    """Where the program listens, who signs people in, and the hosts."""

    public_url: Annotated[config.Url, AfterValidator(_origin)]
    """What browsers have in the address bar."""
    port: ListeningPort = 8090
    """The port to listen at."""
    provider: ProviderSettings
    """The OpenID Provider at which people sign in."""
    targets: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")], TargetSettings],
                       Field(min_length=1)]  # fmt: skip
    """The hosts, by their names in addresses."""
    limits: Limits = Limits()
    """Bounds of this program."""
    recording: RecordingSettings | None = None
    """Recordings of terminals; without it there are none."""
    metrics: Annotated[str, AfterValidator(_host_port)] | None = None
    """HOST:PORT of the metrics for Prometheus."""

    @property
    def is_secure(self) -> bool:
        """Whether browsers use TLS: always, except on loopback."""
        return self.public_url.startswith("https:")


def load(path: Path) -> Settings:
    """Returns the settings in `path`. Raises `ConfigurationError`, whose one line names the file and the fault."""
    text, _ = config.read_file(path)
    try:
        # As JSON: in Python's own types, a strict model takes no list for a tuple.
        return Settings.model_validate_json(json.dumps(config.parse_object(path, text)))
    except ValidationError as error:
        faults = "; ".join(config.sentence(each, Settings) for each in error.errors())
        raise ConfigurationError(f"{path}: {faults}") from None
