"""Finds the texts of the pages and writes them into catalogues.

    python -m tools.catalogues               renews the catalogues that sshaft brings
    python -m tools.catalogues DIR/fr.po     renews this one, or makes it

A new text gets an empty translation: then the page shows English. A text that is gone leaves the catalogue. `./dev
check` fails while a text of our own catalogues is not translated.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import polib
from babel.messages.extract import extract_from_dir
from babel.messages.plurals import get_plural

TOP = Path(__file__).resolve().parents[1]
PACKAGE = TOP / "sshaft_identity"
CATALOGUES = PACKAGE / "languages"
_METHODS = [("web/templates/**.html", "jinja2"), ("web/templates/**.js", "jinja2"), ("**.py", "python")]
_OPTIONS = {"web/templates/**.html": {"trimmed": "true", "trim_blocks": "true", "lstrip_blocks": "true"}}
_KEYWORDS = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)}
_COMMENT = "For translators:"


def texts() -> Iterator[polib.POEntry]:
    """Yields an entry for each text, without a translation. Its occurrences are files, without line numbers."""
    found: dict[str, polib.POEntry] = {}
    for file, _line, text, comments, _context in extract_from_dir(
        PACKAGE, _METHODS, _OPTIONS, _KEYWORDS, (_COMMENT,), strip_comment_tags=True
    ):
        one, many = (text, "") if isinstance(text, str) else text
        entry = found.setdefault(one, polib.POEntry(msgid=one, msgid_plural=many))
        if (file, "") not in entry.occurrences:
            entry.occurrences.append((file, ""))
        entry.comment = "\n".join(comments) or entry.comment
        entry.msgid_plural = entry.msgid_plural or many
    yield from found.values()


def renewed(catalogue: polib.POFile) -> polib.POFile:
    """Returns the catalogue with today's texts, in the order of the files, and with the translations that it has."""
    known = {entry.msgid: entry for entry in catalogue}
    new = polib.POFile(wrapwidth=118)
    new.metadata = catalogue.metadata
    forms = re.search(r"nplurals=(\d+)", catalogue.metadata.get("Plural-Forms", ""))
    for entry in texts():
        if entry.msgid_plural:
            entry.msgstr_plural = dict.fromkeys(range(int(forms[1]) if forms else 2), "")
        if old := known.get(entry.msgid):
            entry.msgstr, entry.msgstr_plural = old.msgstr, old.msgstr_plural or entry.msgstr_plural
        new.append(entry)
    return new


def catalogue_at(path: Path) -> polib.POFile:
    """Returns the catalogue, or an empty one with the plural forms of the language that the file is named by."""
    if path.exists():
        return polib.pofile(str(path), wrapwidth=118)
    made = polib.POFile()
    made.metadata = {
        "Language": path.stem,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": f"{get_plural(path.stem).plural_forms};",
    }
    return made


def main(paths: list[Path]) -> None:
    for path in paths or sorted(CATALOGUES.glob("*.po")):
        new = renewed(catalogue_at(path))
        new.save(str(path))
        print(f"{path.name}: {len(new)} texts, {len(new.untranslated_entries())} without a translation")


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
