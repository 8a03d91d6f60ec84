"""Tests that the catalogues have every text of the pages, translated, with the same places and the same elements."""

import re
from pathlib import Path

import polib
import pytest

from tools.catalogues import CATALOGUES, texts

FILES = sorted(CATALOGUES.glob("*.po"))
PLACES = re.compile(r"%\(\w+\)[sd]|\{\w*\}|</?\w+[^>]*>")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_catalogue_is_complete_and_has_no_text_that_is_gone(path: Path) -> None:
    """`python -m tools.catalogues` writes the new texts into the catalogue."""
    catalogue = polib.pofile(str(path))
    assert {entry.msgid for entry in catalogue} == {entry.msgid for entry in texts()}
    assert [entry.msgid for entry in catalogue if not entry.translated()] == []
    assert [entry.msgid for entry in catalogue if entry.fuzzy] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_translation_has_the_places_and_the_elements_of_the_text(path: Path) -> None:
    for entry in polib.pofile(str(path)):
        forms = entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr]
        for got in forms:
            assert sorted(PLACES.findall(got)) == sorted(PLACES.findall(entry.msgid_plural or entry.msgid)), got


@pytest.mark.parametrize(
    "other", ["enehmig", "estanden", "Host ", "Hosts", "Rechner", "OpenID Provider", "orgezeigt", "vorzuzeigen"]
)
def test_german_has_one_word_for_each_thing(other: str) -> None:
    """An approval is a Freigabe, a login that passed is bestätigt, a host is a Server, and a key is vorgelegt.

    PuTTY has a `Host Name`.
    """
    german = [entry.msgstr for entry in polib.pofile(str(CATALOGUES / "de.po"))]
    assert [text for text in german if other in text.replace("Host Name", "")] == []
