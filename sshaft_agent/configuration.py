"""Reads config.json for the agent: the SSH factor, host login, or both."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sshaft import config
from sshaft.config import Config
from sshaft.errors import ConfigurationError

if TYPE_CHECKING:  # host login needs the packages of sshaft[host], which most agents do not have
    from sshaft_agent.host_login.settings import HostLoginSettings


@dataclass(frozen=True)
class Configuration:
    """What this agent serves. At least one of both is there."""

    factor: Config | None
    host_login: "HostLoginSettings | None"


def load(path: Path) -> Configuration:
    """Returns the configuration in `path`. Raises `ConfigurationError`, whose one line names the file and the fault.

    A file with `host_login` alone needs none of the keys of the SSH factor.
    """
    data = config.read_object(path)
    host_login = _host_login(path, data["host_login"]) if "host_login" in data else None
    factor = None if set(data) == {"host_login"} else config.parse(path, data)
    return Configuration(factor, host_login)


def _host_login(path: Path, data: object) -> "HostLoginSettings":
    try:
        from sshaft_agent.host_login.settings import HostLoginSettings  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{path}: host_login needs {error.name}: pip install 'sshaft[host]'") from None
    try:
        return HostLoginSettings.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults = "; ".join(config.sentence(each, HostLoginSettings) for each in error.errors())
        raise ConfigurationError(f"{path}: host_login: {faults}") from None
