"""Makes up a language that is written from right to left: each letter of a text becomes a Hebrew one.

A Latin word on a page is then a text that is in no catalogue, or a value. Texts are longer than the English ones.
"""

import re
from pathlib import Path

import polib

from tools.catalogues import texts

TAG = "he"
_PLACES = re.compile(r"(%\(\w+\)[sd]|\{\w*\}|</?\w+[^>]*>)")
_LETTERS = {letter: chr(0x05D0 + number) for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
_MORE = " אאאאאא"
"""Follows every twenty letters: translations are often longer than English."""


def translated(text: str) -> str:
    parts = (part if _PLACES.fullmatch(part) else _in_letters(part) for part in _PLACES.split(text))
    return "".join(parts) + _MORE * (len(text) // 20)


def write_catalogue(folder: Path) -> None:
    """Writes the catalogue of the language into the folder, for `languages` in identity.json."""
    folder.mkdir(exist_ok=True)
    catalogue = polib.POFile()
    catalogue.metadata = {
        "Content-Type": "text/plain; charset=UTF-8",
        "Language": TAG,
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    for entry in texts():
        if entry.msgid_plural:
            entry.msgstr_plural = {0: translated(entry.msgid), 1: translated(entry.msgid_plural)}
        else:
            entry.msgstr = translated(entry.msgid)
        catalogue.append(entry)
    catalogue.save(str(folder / f"{TAG}.po"))


def _in_letters(text: str) -> str:
    return "".join(_LETTERS.get(each.lower(), each) for each in text)
