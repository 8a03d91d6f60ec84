"""Reads a configuration of host login from a file of its own, in our format or in that of another module.

The file belongs to root or to the agent, and nobody else can write to it: it decides who may log in.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sshaft import config
from sshaft.errors import ConfigurationError
from sshaft_agent.host_login.foreign import formats
from sshaft_agent.host_login.foreign.members import MemberError
from sshaft_agent.host_login.rules import MAX_FILE
from sshaft_agent.host_login.settings import HostLoginSettings, HostSettings

State = tuple[int, ...]


@dataclass(frozen=True)
class ConfigFile:
    """A configuration, and the state of each file that it was read from.

    `notes` are sentences about members that have no effect, and about a secret that everybody can read.
    """

    settings: HostSettings
    notes: tuple[str, ...] = ()
    files: dict[Path, State] = field(default_factory=dict)

    def is_current(self) -> bool:
        """Whether no file has changed since."""
        try:
            return all(_state(path.stat()) == state for path, state in self.files.items())
        except OSError:
            return False


def load(name: str) -> ConfigFile:
    """Returns the configuration in the file. Raises `ConfigurationError`, which names the file and the fault."""
    reader = _Reader()
    path, text = Path(name), reader.text(name)
    try:
        formats.refuse_other_than_json(text)
        data = config.parse_object(path, text)
        if "host_login" in data:
            settings = settings_of(path, data["host_login"])
            if isinstance(map_file := data["host_login"].get("map"), str):
                reader.text(map_file)  # a change of it counts for the next login, as one of this file
            if settings.has_secret and path in reader.open_files:
                raise ConfigurationError(_open_secret(path))
            return ConfigFile(settings, (), reader.files)
        found = formats.read_object(data, reader.object)
    except MemberError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    settings = settings_of(path, found.members | ({"client_secret": found.secret} if found.secret else {}))
    notes = [f"{path}: {note.member}: {note.reason}" for note in found.notes]
    notes += [_open_secret(each) for each, text in reader.open_files.items() if found.secret and found.secret in text]
    return ConfigFile(settings, tuple(notes), reader.files)


def _open_secret(path: Path) -> str:
    return f"{path}: everybody can read the secret of the client: chmod o= {path}"


def settings_of(path: Path, data: object) -> HostSettings:
    """Returns the settings from JSON values. `path` names their file in the `ConfigurationError`."""
    has_device = not isinstance(data, dict) or "issuer" in data or not ({"tokens", "approval"} & data.keys())
    kind = HostLoginSettings if has_device else HostSettings
    try:
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults = "; ".join(config.sentence(each, kind) for each in error.errors())
        raise ConfigurationError(f"{path}: host_login: {faults}") from None


class _Reader:
    """Reads the files of one configuration. `files` has the state of each, and `open_files` what everybody can read."""

    def __init__(self) -> None:
        self.files: dict[Path, State] = {}
        self.open_files: dict[Path, str] = {}

    def object(self, name: str) -> dict[str, Any]:
        return config.parse_object(Path(name), self.text(name))

    def text(self, name: str) -> str:
        path = Path(name)
        if not path.is_absolute():
            raise ConfigurationError(f"{name!r}: give an absolute path")
        text, status = config.read_trusted_file(path, MAX_FILE)
        if status.st_mode & 0o004:
            self.open_files[path] = text
        self.files[path] = _state(status)
        return text


def _state(status: os.stat_result) -> State:
    """Returns what differs after each change, also of the owner and the mode."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
