"""Reads config.json for the agent: the SSH factor, host login, or both."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sshaft import config
from sshaft.config import Config
from sshaft.errors import ConfigurationError

if TYPE_CHECKING:  # host login needs the packages of sshaft[host], which most agents do not have
    from sshaft_agent.host_login.config_file import ConfigFile
    from sshaft_agent.host_login.settings import HostSettings


@dataclass(frozen=True)
class Configuration:
    """What this agent serves. At least one of both is there."""

    factor: Config | None
    host_login: "HostSettings | None"
    notes: tuple[str, ...] = ()
    """Sentences about members that have no effect, and secrets that everybody can read."""


def load(path: Path) -> Configuration:
    """Returns the configuration in `path`. Raises `ConfigurationError`, whose one line names the file and the fault.

    A file with `host_login` alone needs none of the keys of the SSH factor.
    """
    data = config.read_object(path)
    found = _host_login(path, data["host_login"]) if "host_login" in data else None
    factor = None if set(data) == {"host_login"} else config.parse(path, data)
    return Configuration(factor, None) if found is None else Configuration(factor, found.settings, found.notes)


def _host_login(path: Path, data: object) -> "ConfigFile":
    """Returns the settings in `host_login`, or in the file that it names."""
    try:
        from sshaft_agent.host_login import config_file  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{path}: host_login needs {error.name}: pip install 'sshaft[host]'") from None
    if isinstance(data, str):
        return config_file.load(data)
    return config_file.ConfigFile(config_file.settings_of(path, data))
