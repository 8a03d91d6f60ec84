"""Tests what a reload reaches. tests/process/test_serve.py sends the signal."""

import json
from pathlib import Path

from sshaft_identity import settings as settings_of
from sshaft_identity.commands.shared import open_store
from sshaft_identity.service.app import create_app
from sshaft_identity.service.reload import Reload
from sshaft_identity.settings import Settings


def test_reload_changes_the_limits_for_codes_and_enrolments(tmp_path: Path) -> None:
    """Finding N9."""
    settings_of.make_key(tmp_path)
    settings_of.save(tmp_path, Settings())
    with open_store(tmp_path, Settings()) as store:
        reload = Reload(create_app(store, Settings()), tmp_path, Settings())
        limits = {"user": 7, "enrol_key": 2}
        (tmp_path / settings_of.SETTINGS_FILE).write_text(json.dumps({"limits": limits, "address_check": "require"}))
        reload()
        assert (store.challenges.rules.limits.user, store.challenges.rules.address_check) == (7, "require")
        assert store.enrolments.limits.enrol_key == 2
        (tmp_path / settings_of.SETTINGS_FILE).write_text(json.dumps({"limits": {"user": 0}}))
        reload()
        assert store.challenges.rules.limits.user == 7


def test_reload_reads_the_catalogues_anew(tmp_path: Path) -> None:
    """The folder is below the service's directory."""
    settings_of.make_key(tmp_path)
    settings_of.save(tmp_path, Settings())
    (tmp_path / "languages").mkdir()
    (tmp_path / "languages/fr.po").write_text('msgid "English"\nmsgstr "French"\n')
    with open_store(tmp_path, Settings()) as store:
        app = create_app(store, Settings())
        reload = Reload(app, tmp_path, Settings())
        assert list(app.state.sshaft.languages.all) == ["en", "de"]
        settings_of.save(tmp_path, Settings(languages="languages"))
        reload()
        assert list(app.state.sshaft.languages.all) == ["en", "de", "fr"]
        (tmp_path / "languages/pt_BR.po").write_bytes(b"\xff")
        reload()
        assert list(app.state.sshaft.languages.all) == ["en", "de", "fr"], "a catalogue that cannot be read"
