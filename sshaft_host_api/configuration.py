"""Reads and checks host-api.json."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from sshaft import config
from sshaft.errors import ConfigurationError
from sshaft.http_server.settings import AbsolutePath, ListeningPort, ServerSettings


class Settings(ServerSettings):
    """Where the API listens, and where the agent is. The proxy at a UNIX socket is trusted."""

    agent_socket: AbsolutePath = Path("/run/sshaft/api/agent.sock")
    """The socket of the agent."""
    port: ListeningPort = 8080
    """The port to listen at."""
    socket: AbsolutePath | None = None
    """A UNIX socket for a proxy on this host, in place of host and port."""
    cross_origin: Literal["any", "none"] = "any"
    """Whether the pages of other web sites may ask, as web terminals do. They need the person's token in any case."""
    privacy_file: AbsolutePath | None = None
    """The statement at /privacy: HTML if its name ends with .html, else plain text."""

    @model_validator(mode="after")
    def _socket_goes_alone(self) -> "Settings":
        if self.socket and ({"host", "port"} & self.model_fields_set or self.certificate_file):
            raise ValueError("socket goes without host, port and certificate_file; a proxy has these")
        return self


def load(path: Path) -> Settings:
    """Returns the settings in `path`. Raises `ConfigurationError`, whose one line names the file and the fault."""
    text, _ = config.read_file(path)
    try:
        return Settings.model_validate(config.parse_object(path, text))
    except ValidationError as error:
        faults = "; ".join(config.sentence(each, Settings) for each in error.errors())
        raise ConfigurationError(f"{path}: {faults}") from None
