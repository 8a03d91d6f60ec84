"""Makes the pages of section 8, of the PAM and the NSS module, from docs/host-login.md."""

import re
from collections.abc import Iterator
from pathlib import Path

from tools.manual.roff import NewPage, Page, sentence

_SOURCE = Path(__file__).resolve().parents[2] / "docs/host-login.md"


def pages(new_page: NewPage) -> Iterator[Page]:
    """Yields the pages of section 8."""
    sections = _sections(_SOURCE.read_text())
    page = new_page("pam_sshaft", 8, "PAM module of host login with sshaft")
    page.heading("Synopsis")
    page.example(["pam_sshaft.so [ARGUMENT]..."])
    page.heading("Description")
    _add(page, sections["PAM"])
    page.heading("Keys and certificates")
    _add(page, sections["Keys and certificates"])
    page.references(["sshaft-host(1)", "sshaft-doctor(1)", "sshaft-config.json(5)", "libnss_sshaft(8)", "pam.d(5)"])
    yield page
    page = new_page("libnss_sshaft", 8, "NSS module for first logins with sshaft")
    page.heading("Synopsis")
    page.example(["passwd: files systemd sshaft"])
    page.heading("Description")
    _add(page, sections["NSS"])
    page.references(["sshaft-host(1)", "sshaft-doctor(1)", "sshaft-accounts.json(5)", "pam_sshaft(8)",
                     "nsswitch.conf(5)"])  # fmt: skip
    yield page


def _sections(text: str) -> dict[str, str]:
    _before, *parts = re.split(r"(?m)^## (.+)\n", text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _add(page: Page, text: str) -> None:
    """Adds Markdown: paragraphs, lists, code of four columns, and tables of a name, a text and a default."""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.splitlines()
        if lines[0].startswith("    "):
            page.example(line[4:] for line in lines)
        elif lines[0].startswith("|"):
            _add_table(page, lines)
        elif lines[0].startswith("- "):
            for item in re.split(r"(?m)^- ", block)[1:]:
                page.bullet(item)
        else:
            page.paragraph(block)


def _add_table(page: Page, lines: list[str]) -> None:
    heading, _rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    for name, text, *rest in rows:
        more = "; ".join(f"{title}: {cell}" for title, cell in zip(heading[2:], rest, strict=True) if cell)
        page.tagged(name.strip("`"), f"{sentence(text)} {sentence(more)}".strip())
