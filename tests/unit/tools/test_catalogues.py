"""Tests the tool that writes catalogues, as somebody uses it who adds a language."""

from pathlib import Path

import polib

from sshaft_identity.common.language import Languages, _, ngettext, speaking
from tools.catalogues import main


def test_new_catalogue_has_every_text_and_the_plural_forms_of_its_language(tmp_path: Path) -> None:
    path = tmp_path / "pl.po"
    main([path])
    catalogue = polib.pofile(str(path))
    assert len(catalogue) == len(catalogue.untranslated_entries()) > 100
    days = catalogue.find("{count} day ago")
    assert days.msgstr_plural == {0: "", 1: "", 2: ""}
    days.msgstr_plural = {0: "{count} dzień temu", 1: "{count} dni temu", 2: "{count} dni temu"}
    catalogue.find("Denied").msgstr = "Odmowa"
    catalogue.save()
    main([path])
    with speaking(Languages(tmp_path).all["pl"]):
        assert (_("Denied"), _("Passed")) == ("Odmowa", "Passed"), "the page shows English for what is not translated"
        assert [ngettext("{count} day ago", "{count} days ago", count)[8:] for count in (1, 5)] == [
            "dzień temu", "dni temu",
        ]  # fmt: skip
