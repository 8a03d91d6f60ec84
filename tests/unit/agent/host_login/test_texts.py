"""Tests what a person reads: the address and the code first, then the QR code, never anything that a terminal obeys."""

import pytest
from pydantic import ValidationError

from sshaft_agent.host_login import texts
from sshaft_agent.host_login.texts import Messages
from sshaft_oidc.device_grant import DeviceCode

PLAIN, COMPLETE = "https://op.example/device", "https://op.example/device?user_code=WDJBMJHT"


def code(complete: str | None) -> DeviceCode:
    return DeviceCode("WDJB-MJHT", PLAIN, complete, 600, 5, "secret", None)


def test_prompt_has_address_and_code_in_lines_of_their_own() -> None:
    assert (
        texts.page_and_code(code(None), "Who.", Messages(), has_qr=False)
        == f"""
Who.
Open this page:

    {PLAIN}

and enter this code:

    WDJB-MJHT

"""
    )


def test_second_prompt_has_address_and_code_in_lines_of_their_own() -> None:
    lines = texts.not_approved_yet(code(COMPLETE), Messages()).splitlines()
    assert f"    {COMPLETE}" in lines
    assert "    WDJB-MJHT" in lines


def test_no_line_of_ours_is_broken_by_plink() -> None:
    """plink has 80 columns. It begins each line with two characters, and breaks what is longer than 77."""
    ends = [texts.REFUSED, texts.DENIED, texts.EXPIRED, texts.TOO_MANY, texts.UNAVAILABLE, texts.NOT_APPROVED]
    shown = [*(end.format(reference="0123abcd") for end in ends), texts.RESTARTS, texts.CLOSE]
    shown += [texts.not_approved_yet(code(None), Messages()), *map(str, Messages().model_dump().values())]
    assert [line for text in shown for line in text.splitlines() if len(line) > 77] == []


@pytest.mark.parametrize("complete", [None, COMPLETE])
@pytest.mark.parametrize("has_qr", [True, False])
def test_each_kind_of_prompt_has_a_sentence_of_its_own(complete: str | None, *, has_qr: bool) -> None:
    words = {
        "prompt_complete": "A", "prompt_no_qr_complete": "B", "prompt_incomplete": "C", "prompt_no_qr_incomplete": "D",
    }  # fmt: skip
    shown = texts.page_and_code(code(complete), "Who.", Messages(**words), has_qr=has_qr).splitlines()
    assert (
        shown[2]
        == {(True, True): "A", (True, False): "B", (False, True): "C", (False, False): "D"}[
            complete is not None, has_qr
        ]
    )
    assert shown[4] == f"    {complete or PLAIN}"
    assert shown[6] == ("and check that it shows this code:" if complete else "and enter this code:")


@pytest.mark.parametrize("text", ["", "\x1b[2J", "a\tb", "a\rb", "\u202e", "x" * 501])
def test_sentence_that_a_terminal_would_obey_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Messages(prompt_enter=text)
    assert Messages(prompt_enter="Zwei Zeilen:\nund Grüße ").prompt_enter == "Zwei Zeilen:\nund Grüße "


@pytest.mark.parametrize("user", ["\x1b[31meve", "a\nb", "\u202eevil"])
def test_foreign_text_is_escaped(user: str) -> None:
    line = texts.login_line(user, user, user)
    assert line.isprintable()
    assert line.count("\\") == 3


def test_qr_code_has_only_blocks_and_fits_a_terminal() -> None:
    lines = texts.qr_code(COMPLETE, "utf8", "L").splitlines()
    assert set("".join(lines)) <= set("█▀▄ ")
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 80
    assert len(lines) <= 24
    ascii_lines = texts.qr_code(COMPLETE, "ascii", "L").splitlines()
    assert set("".join(ascii_lines)) == set("# ")
    assert len(ascii_lines) == len(lines[0])
    assert texts.qr_code(COMPLETE, "off", "L") == ""
    assert len(texts.qr_code(COMPLETE, "utf8", "H")) > len("\n".join(lines))


@pytest.mark.parametrize("drawing", ["utf8", "ascii"])
def test_address_that_is_too_long_for_a_terminal_has_no_qr_code(drawing: texts.Drawing) -> None:
    """A drawing that does not fit would hide the address, or make the module refuse the whole message."""
    for length in range(20, 900, 20):
        drawn = texts.qr_code("https://login.example.org/" + "x" * length, drawing, "H")
        assert all(len(line) <= 100 for line in drawn.splitlines())
    for length in (1000, 3000, 20_000):
        assert texts.qr_code("https://login.example.org/" + "x" * length, drawing, "L") == ""


def test_drawings_show_the_same_code() -> None:
    """The half blocks, read again, are the modules of the drawing in ASCII."""
    halves = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    rows = []
    for line in texts.qr_code(COMPLETE, "utf8", "L").splitlines():
        pairs = [halves[character] for character in line]
        rows += [
            "".join("  " if dark else "##" for dark, _ in pairs),
            "".join("  " if dark else "##" for _, dark in pairs),
        ]
    expected = texts.qr_code(COMPLETE, "ascii", "L").splitlines()
    assert rows[: len(expected)] == expected
