"""What the configuration files of the programs that serve HTTP share: where they listen, and with which certificate."""

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sshaft import config


def _path(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("must be an absolute path")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("is no address and no network, such as 192.0.2.7 or 192.0.2.0/24") from None


AbsolutePath = Annotated[Path, AfterValidator(_path)]
ListeningPort = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """An object in such a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Section):
    """Where a program listens. A certificate has a private key."""

    host: config.Text = "127.0.0.1"
    """The address to listen at."""
    port: ListeningPort
    """The port to listen at."""
    certificate_file: AbsolutePath | None = None
    """PEM certificate chain, if no proxy speaks TLS."""
    private_key_file: AbsolutePath | None = None
    """PEM private key of the certificate."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """The proxies whose X-Forwarded-For names the client."""

    @model_validator(mode="after")
    def _tls_has_both_files(self) -> "ServerSettings":
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file and private_key_file belong together; give both")
        return self
