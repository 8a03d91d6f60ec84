"""Writes manual pages with the macros of man(7)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_TOKENS = re.compile(
    r"`(?P<code>[^`]+)`|\*{1,2}(?P<strong>[^*\s][^*]*)\*{1,2}|\[(?P<text>[^\]]+)\]\((?P<link>[^)\s]+)\)"
)


def escaped(text: str) -> str:
    r"""Returns `text` as roff shows it unchanged: a backslash, a hyphen or a dot at the start has no other meaning."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    plain = plain.replace("^", r"\(ha").replace("~", r"\(ti")
    return rf"\&{plain}" if plain.startswith(".") else plain


def bold(text: str) -> str:
    return rf"\fB{escaped(text)}\fR"


def inline(text: str) -> str:
    """Returns a paragraph of Markdown as roff: code and strong words become bold, a link becomes its text."""
    parts, position = [], 0
    for found in _TOKENS.finditer(text):
        parts += [escaped(text[position : found.start()]), _marked(found)]
        position = found.end()
    return "".join([*parts, escaped(text[position:])])


def sentence(text: str) -> str:
    """Returns `text` with a capital at its start and a full stop at its end. A value before a colon stays as it is."""
    begins = re.match(r"[a-z]+(?=[ ,;.-]|$)", text)
    capital = text[:1].upper() + text[1:] if begins else text
    return capital if not capital or capital.endswith((".", "!", "?")) else f"{capital}."


def _marked(found: re.Match[str]) -> str:
    if found["text"]:
        is_address = found["link"].startswith("http")
        return inline(found["text"]) + (f" ({escaped(found['link'])})" if is_address else "")
    return bold(found["code"] or found["strong"])


@dataclass
class Page:
    """A page in the making. `summary` is what apropos(1) shows."""

    name: str
    section: int
    summary: str
    version: str
    date: str
    _lines: list[str] = field(default_factory=list)

    @property
    def file_name(self) -> str:
        return f"man{self.section}/{self.name}.{self.section}"

    def heading(self, text: str) -> None:
        self._lines.append(f".SH {escaped(text.upper())}")

    def subheading(self, text: str) -> None:
        self._lines.append(f".SS {escaped(text)}")

    def paragraph(self, text: str) -> None:
        """Adds a paragraph of Markdown."""
        self._begin_paragraph()
        self._lines.append(inline(" ".join(text.split())))

    def synopsis(self, command: str, words: Iterable[str]) -> None:
        pieces = " ".join(escaped(word) for word in words)
        self._begin_paragraph()
        self._lines.append(f"{bold(command)} {pieces}".rstrip())

    def tagged(self, tag: str, text: str) -> None:
        """Adds an entry: a tag in bold, and a text of Markdown below it."""
        self._lines += [".TP", bold(tag), inline(" ".join(text.split()))]

    def continued(self, text: str) -> None:
        """Adds a paragraph to the entry before."""
        self._lines += [".IP", inline(" ".join(text.split()))]

    def bullet(self, text: str) -> None:
        self._lines += [r".IP \(bu 2", inline(" ".join(text.split()))]

    def example(self, lines: Iterable[str]) -> None:
        self._begin_paragraph()
        self._lines += [".in +4n", ".EX", *(escaped(line) if line else r"\&" for line in lines), ".EE", ".in"]

    def references(self, names: Iterable[str]) -> None:
        """Adds SEE ALSO with pages such as `sshaft(1)`."""
        self.heading("See also")
        pages = sorted(set(names), key=lambda name: (name[-2], name))
        shown = [rf"\%\fB{escaped(name[:-3])}\fR{name[-3:]}" for name in pages]
        self._lines += [*(f"{each}," for each in shown[:-1]), shown[-1]]

    def _begin_paragraph(self) -> None:
        if self._lines and not self._lines[-1].startswith((".SH", ".SS")):  # these begin one
            self._lines.append(".PP")

    def text(self) -> str:
        title = f'.TH "{escaped(self.name.upper())}" {self.section} "{self.date}" "sshaft {self.version}" "sshaft"'
        name = rf"{escaped(self.name)} \- {inline(self.summary.strip())}"
        start = [r".\" Made by `./dev man`; do not edit.", title, ".nh", ".ad l", ".SH NAME", name]
        return "\n".join([*start, *self._lines]) + "\n"


NewPage = Callable[[str, int, str], Page]
"""Returns an empty page with this name, section and summary."""
