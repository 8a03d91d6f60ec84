"""Translates the texts of the pages. The English text is the key of the catalogue (GNU gettext, `LANGUAGE.po`)."""

import gettext
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Self

from sshaft.errors import ConfigurationError

OWN = Path(__file__).resolve().parents[1] / "languages"
"""The catalogues that sshaft brings."""
_ENGLISH = "en"
_RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ks", "ps", "sd", "ug", "ur", "yi"})
_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_PLACE = re.compile(r"%\(\w+\)[sd]|\{\w+\}")
_MOST_TAGS = 20
"""A header or a parameter may name so many languages; the others are left out."""


@dataclass(frozen=True)
class Language:
    """A language of the pages. `tag`: its name in HTML (BCP 47)."""

    tag: str
    catalogue: gettext.NullTranslations

    @property
    def direction(self) -> str:
        """Returns `ltr` or `rtl`, for the attribute `dir`."""
        return "rtl" if self.tag.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"

    @cached_property
    def label(self) -> str:
        """Returns the name of the language in the language itself: a catalogue translates the text `English`."""
        return self.catalogue.gettext("English")


ENGLISH = Language(_ENGLISH, gettext.NullTranslations())
_current: ContextVar[Language] = ContextVar("language", default=ENGLISH)


class Languages:
    """English, the catalogues that sshaft brings, and those of the operator, which count first."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises `ConfigurationError` if a catalogue of the operator cannot be read, or names no language."""
        self._all = {_ENGLISH: ENGLISH, **_own()}
        for path in _files(folder) if folder else []:
            language = _language_of(path)
            if known := self._all.get(language.tag):
                language.catalogue.add_fallback(known.catalogue)
            self._all[language.tag] = language

    @property
    def all(self) -> Mapping[str, Language]:
        return MappingProxyType(self._all)

    def first_of(self, tags: list[str]) -> Language | None:
        """Returns the first language that there is, in the order of the tags. `de-AT` stands for `de` too."""
        for tag in tags[:_MOST_TAGS]:
            if _TAG.fullmatch(tag):
                parts = tag.replace("_", "-").lower().split("-")
                for count in range(len(parts), 0, -1):
                    if found := self._lower.get("-".join(parts[:count])):
                        return found
        return None

    @cached_property
    def _lower(self) -> dict[str, Language]:
        return {tag.lower(): language for tag, language in self._all.items()}


def preferred(accept_language: str) -> list[str]:
    """Returns the tags of an `Accept-Language` header (RFC 9110 §12.5.4), the most wanted first."""
    wanted = []
    for item in accept_language.split(",")[:_MOST_TAGS]:
        tag, _, parameter = item.partition(";")
        quality = re.fullmatch(r"\s*q=([01](\.\d{0,3})?)\s*", parameter)
        wanted.append((float(quality[1]) if quality else 1.0, tag.strip()))
    return [tag for quality, tag in sorted(wanted, key=lambda each: -each[0]) if quality > 0]


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Translates into this language until the end of the block, also in threads that begin there."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Language:
    return _current.get()


class Filled(str):
    """An English text with its values filled in: `Filled(N_("Not more than {most} keys."), most=3)`.

    Logs, terminals and the API take it as it is. `_` fills the same values into the translation.
    """

    __slots__ = ("text", "values")

    text: str
    values: dict[str, object]

    def __new__(cls, text: str, **values: object) -> Self:
        made = super().__new__(cls, text.format(**values))
        made.text, made.values = text, values
        return made


def _(text: str) -> str:
    """Returns the text in the language of the request."""
    if isinstance(text, Filled):
        return _current.get().catalogue.gettext(text.text).format(**text.values)
    return _current.get().catalogue.gettext(text) if text else ""


def ngettext(one: str, many: str, count: int) -> str:
    """Returns the form for this count, in the language of the request."""
    return _current.get().catalogue.ngettext(one, many, count)


def N_(text: str) -> str:  # noqa: N802 - the name that tools for catalogues know
    """Returns the text as it is, and marks it for the catalogues. Who shows it translates it by `_`."""
    return text


@cache
def _own() -> Mapping[str, Language]:
    return {language.tag: language for language in map(_language_of, _files(OWN))}


def _language_of(path: Path) -> Language:
    if not _TAG.fullmatch(path.stem):
        raise ConfigurationError(f"languages: {path} has no language as its name, such as fr.po or pt_BR.po")
    return Language(path.stem.replace("_", "-"), _read(path))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"languages: {folder} is no folder")
    return sorted(folder.glob("*.po"))


def _read(path: Path) -> gettext.NullTranslations:
    """Refuses a translation with another place than its text, which would break the page."""
    import polib  # noqa: PLC0415 - only the service needs it, and no other command

    try:
        found = polib.pofile(str(path), encoding="utf-8", check_for_duplicates=True)
        found.metadata["Content-Type"] = "text/plain; charset=UTF-8"
        made = gettext.GNUTranslations(BytesIO(found.to_binary()))
    except (OSError, ValueError, UnicodeError) as error:
        raise ConfigurationError(f"languages: {path} cannot be read: {error}") from None
    for entry in found:
        translations = entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr]
        if not all(_fits(each, entry.msgid_plural or entry.msgid) for each in translations):
            raise ConfigurationError(f"languages: {path}: the translation of {entry.msgid!r} has other places")
    return made


def _fits(translation: str, text: str) -> bool:
    """Whether the translation can be filled in with the values of the text."""
    signs = set("%{}")
    return set(_PLACE.findall(translation)) <= set(_PLACE.findall(text)) and (
        signs & set(_PLACE.sub("", translation)) <= signs & set(_PLACE.sub("", text))
    )
