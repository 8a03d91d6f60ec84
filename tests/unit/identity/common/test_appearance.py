"""Tests which names and colours the operator may give the pages."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import sshaft_identity.web
from sshaft_identity.common.appearance import Appearance
from sshaft_identity.common.colours import DARK, LIGHT, MIN_CONTRAST, Scheme, contrast, mix

STYLE = (Path(sshaft_identity.web.__file__).parent / "templates" / "style.css").read_text()
colours = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize(("scheme", "place"), [(LIGHT, 0), (DARK, 1)])
def test_grounds_are_those_of_the_style_sheet(scheme: Scheme, place: int) -> None:
    def colour(name: str) -> str:
        digits: str = re.findall(rf"--{name}: #([0-9a-f]+);", STYLE)[place]
        return "#" + (digits if len(digits) == 6 else "".join(2 * digit for digit in digits))

    known = (scheme.paper, scheme.card, scheme.well, scheme.text_on_colour)
    assert known == tuple(map(colour, ("paper", "card", "well", "accent-ink")))
    assert scheme.is_readable(colour("accent")), "the colour of the pages themselves"


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@given(colour=colours)
def test_every_colour_has_a_tone_that_can_be_read(scheme: Scheme, colour: str) -> None:
    tone = scheme.readable(colour)
    assert scheme.contrast_of(tone) >= MIN_CONTRAST
    assert scheme.readable(tone) == tone
    assert Appearance(colour=LIGHT.readable(colour)).colour == LIGHT.readable(colour)


def test_mix_goes_from_one_colour_to_the_other() -> None:
    assert [mix("#000000", "#ff8040", share) for share in (0, 0.5, 1)] == ["#000000", "#804020", "#ff8040"]


def test_colour_that_cannot_be_read_is_refused_with_one_that_can() -> None:
    with pytest.raises(
        ValidationError, match=r"#ffcc00 cannot be read on light pages: its contrast is .*; use #826800"
    ):
        Appearance(colour="#ffcc00")
    assert Appearance(colour="#826800").colour == "#826800"
    with pytest.raises(ValidationError, match="cannot be read on dark pages"):
        Appearance(colour="#2c57b3", colour_dark="#2c57b3")


@pytest.mark.parametrize(
    "colour",
    ["red", "#fff", "#2c57b3;}", "#2c57b3\n", "url(https://evil.example)", "#2c57b3}body{display:none", "", "2c57b3",
     "#2c57bg", "rgb(0,0,0)", "#\uff12c57b3", "</style><script>alert(1)</script>"],
)  # fmt: skip
def test_colour_is_six_hexadecimal_digits_and_no_css(colour: str) -> None:
    for member in ("colour", "colour_dark"):
        with pytest.raises(ValidationError):
            Appearance.model_validate({"colour": "#2c57b3"} | {member: colour})


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "a\u200bb", "\x1b[31m", "a\0", "\u3164", "x" * 61])
def test_name_is_one_short_line_without_invisible_characters(name: str) -> None:
    with pytest.raises(ValidationError):
        Appearance(name=name)


@pytest.mark.parametrize("name", ["Université de Bâle", "大学", "A \\ B & <C>", "جامعة"])
def test_name_may_be_in_every_script(name: str) -> None:
    assert Appearance(name=name).name == name


@pytest.mark.parametrize(
    "members",
    [{"logo": "x.svg"}, {"name": "A", "logo_dark": "x.svg"}, {"colour_dark": "#93b4ff"}, {"font": "x"}, {"name": 5}],
)
def test_appearance_is_whole(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Appearance.model_validate(members)
