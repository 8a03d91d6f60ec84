"""Reads INI files as motley_cue and feudalAdapter do, and checks their options against a table."""

import configparser
import re
from collections.abc import Mapping

from sshaft_agent.host_login.foreign.members import Member, MemberError, Note

Section = Mapping[str, str]
_DEFAULT = "DEFAULT"


class Ini:
    """The sections of a file. `DEFAULT` is a section of its own here."""

    def __init__(self, file: str, text: str) -> None:
        """Raises `MemberError` for a text that those programs would not take, without its values."""
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            parser.read_string(text)
        except configparser.Error as error:
            raise MemberError(f"{file} is no INI file: {_fault(error)}") from None
        self.file = file
        self._sections = {name: dict(parser[name]) for name in parser.sections()}

    def names(self, start: str) -> list[str]:
        """Returns the sections whose names begin so."""
        return [name for name in self._sections if name.startswith(start)]

    def section(self, name: str) -> Section:
        """Returns a section with what it inherits from `DEFAULT`."""
        both = {**self._sections.get(_DEFAULT, {}), **self._sections.get(name, {})}
        return {option: _text(f"[{name}] {option}", value) for option, value in both.items()}

    def check(self, tables: Mapping[str, Mapping[str, Member]], free: str = "") -> list[Note]:
        """Returns a note for each option without a counterpart. `tables` has the options of each section.

        A name that ends with a dot stands for all sections that begin so. In the section `free`, any option may stand.
        Raises `MemberError` with the name of every unknown section and option: one of them might be a restriction.
        """
        unknown, notes = [], []
        for name, options in self._sections.items():
            if name == free:
                continue
            starts = (each for each in tables if each[-1] == "." and name.startswith(each))
            table = tables.get(name if name in tables else next(starts, ""))
            if table is None:
                unknown.append(f"[{name}]")
                continue
            for option in options:
                member = table.get(option)
                if member is None:
                    unknown.append(f"[{name}] {option}")
                elif member.lost:
                    notes.append(Note(f"[{name}] {option}", member.lost))
        if unknown:
            raise MemberError(f"unknown in {self.file}: {', '.join(unknown)}")
        return notes


def _fault(error: configparser.Error) -> str:
    """Returns where a text is no INI file. The sentence of the error itself has values."""
    if isinstance(error, configparser.DuplicateSectionError | configparser.DuplicateOptionError):
        return f"line {error.lineno} has a name for the second time"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands in no section"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]} is no option"
    return "it cannot be read"


def _text(where: str, value: str) -> str:
    """Returns a value as it is meant. In these files `%%` is a percent sign."""
    if re.search(r"(?<!%)(?:%%)*%(?!%)", value):
        raise MemberError(f"{where} has a % for another option: write the value itself, and a percent sign as %%")
    return value.replace("%%", "%")


def one_line(section: Section, option: str, default: str = "") -> str:
    """Returns a text. An indented line would belong to it, also one that is meant as another option."""
    value = section.get(option, default).strip()
    if "\n" in value:
        raise MemberError(f"{option} has several lines: an indented line belongs to the option above it")
    return value


def boolean(section: Section, option: str, *, default: bool = False) -> bool:
    value = one_line(section, option, str(default)).lower()
    if value not in ("true", "yes", "1", "false", "no", "0"):
        raise MemberError(f"{option} must be True or False")
    return value in ("true", "yes", "1")


def listed(section: Section, option: str) -> list[str]:
    """Returns a list, which stands in square brackets."""
    value = re.sub(r"\s", "", section.get(option, "[]"))
    if not (value.startswith("[") and value.endswith("]")):
        raise MemberError(f"{option} must be a list in square brackets; an indented line below it belongs to it")
    inner = value[1:-1].strip(",")
    found = [each.strip("\"'") for each in inner.split(",")] if inner else []
    if not all(found) or any(set(each) & set("[]\"'") for each in found):
        raise MemberError(
            f"{option} is no list of texts: {len(found)} parts, of which one is empty or has brackets or quotes"
        )
    return found
