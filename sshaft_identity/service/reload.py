"""Reads identity.json again on SIGHUP. A wrong file is refused, and the old settings stay in use."""

from pathlib import Path
from typing import cast

from starlette.applications import Starlette

from sshaft.daemon import notify
from sshaft.errors import SshaftError
from sshaft.log import get_logger
from sshaft_identity import settings as settings_of
from sshaft_identity.service.app_state import changed_state
from sshaft_identity.service.named_files import read_named_files
from sshaft_identity.settings import Settings
from sshaft_identity.web.state import AppState

_FIXED = ("database", "database_file", "host", "port", "metrics_host", "metrics_port", "metrics_token_file")
"""The members that only a new start changes: the database and the sockets are open."""


class Reload:
    """Puts new settings into force. `settings` are those that the file had at the start."""

    def __init__(self, app: Starlette, directory: Path, settings: Settings) -> None:
        self._app = app
        self._directory = directory
        self._at_start = settings

    def __call__(self) -> None:
        refusal = None
        notify.reloading()
        try:
            waiting = self._reload()
        except SshaftError as error:
            refusal = str(error)
            get_logger().error("config.refused", message=refusal, in_use="the old configuration")
        else:
            path = self._directory / settings_of.SETTINGS_FILE
            get_logger().info("config.reloaded", path=str(path), needs_restart=waiting)
        finally:
            notify.reloaded(refusal)

    def _reload(self) -> list[str]:
        """Returns the changed members that need a restart. Raises `ConfigurationError`, and changes nothing then."""
        settings = settings_of.load(self._directory)
        named = read_named_files(settings, self._directory)
        state = cast("AppState", self._app.state.sshaft)
        fixed = {name: getattr(state.settings, name) for name in _FIXED}
        self._app.state.sshaft = changed_state(state, settings.model_copy(update=fixed), named)
        state.store.use_rules(settings.rules)
        return [name for name in _FIXED if getattr(settings, name) != getattr(self._at_start, name)]
