"""Keeps the configurations of host login that PAM lines name by `config=`, beside the agent's own one."""

import threading

from sshaft import log
from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import config_file
from sshaft_agent.host_login.config_file import ConfigFile
from sshaft_agent.host_login.realm import Realm


class NamedRealms:
    """The configurations by the names of their files. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._named: dict[str, tuple[ConfigFile, Realm]] = {}

    def realm(self, path: str) -> Realm:
        """Returns the configuration in a file, read again if the file has changed. It blocks.

        Only root can name a file, in a PAM line. Raises `ConfigurationError` for a file that cannot be used.
        """
        with self._lock:
            file, realm = self._named.get(path, (None, None))
            if file is None or realm is None or not file.is_current():
                self._named.pop(path, None)
                file = config_file.load(path)
                for member in ("create", "recheck", "tokens", "approval", "methods"):
                    if getattr(file.settings, member):
                        raise ConfigurationError(f"{path}: {member} belongs into the configuration of the agent alone")
                if file.settings.device is None:
                    raise ConfigurationError(f"{path}: issuer is missing")
                realm = Realm(file.settings.device)
                self._named[path] = file, realm
                for note in file.notes:
                    log.get_logger().warning("config.warning", message=note)
            return realm
