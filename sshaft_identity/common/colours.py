"""Computes whether a colour can be read on the pages (WCAG 2.2, 1.4.3), and finds the nearest one that can."""

from dataclasses import dataclass

MIN_CONTRAST = 4.5
COLOUR_PATTERN = r"^#[0-9a-fA-F]{6}$"
_STEPS = 100


@dataclass(frozen=True, slots=True)
class Scheme:
    """The grounds on which the pages show the colour as text, and the text that they show on the colour.

    `tinted` is the ground that is tinted with the colour, and `tint` how much. `towards` is the colour to mix in if the
    contrast is too low. `style.css` has the same values.
    """

    paper: str
    card: str
    well: str
    text_on_colour: str
    towards: str
    tint: float

    def tint_of(self, colour: str) -> str:
        """Returns the ground of notes and of chosen links: the card with a little of the colour."""
        return mix(self.card, colour, self.tint)

    def contrast_of(self, colour: str) -> float:
        """Returns the lowest contrast that the colour has on a page, also on a button below the pointer."""
        beside = (self.paper, self.card, self.well, self.tint_of(colour), self.text_on_colour)
        return min(*(contrast(colour, each) for each in beside), contrast(_lit(colour), self.text_on_colour))

    def is_readable(self, colour: str) -> bool:
        return self.contrast_of(colour) >= MIN_CONTRAST

    def readable(self, colour: str) -> str:
        """Returns the colour itself if it can be read, otherwise the nearest darker or lighter tone of it that can."""
        tones = (mix(colour, self.towards, step / _STEPS) for step in range(_STEPS + 1))
        return next(each for each in tones if self.is_readable(each))


LIGHT = Scheme("#f4f2ee", "#fffefc", "#f3f1ec", "#ffffff", "#000000", 0.09)
DARK = Scheme("#131519", "#1b1e24", "#14161b", "#10131a", "#ffffff", 0.12)


def mix(one: str, other: str, share: float) -> str:
    """Returns the first colour with this share (0 to 1) of the other."""
    parts = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(first + (second - first) * share):02x}" for first, second in parts)


def contrast(one: str, other: str) -> float:
    """Returns the contrast ratio of two colours, 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _lit(colour: str) -> str:
    """Returns the colour of a button below the pointer: `brightness(1.1)` in `style.css`."""
    return "#" + "".join(f"{min(255, round(1.1 * channel)):02x}" for channel in _channels(colour))


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
