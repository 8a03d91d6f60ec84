"""Prepares the name, the logo and the colour of the pages: what `appearance` in identity.json says, as HTML and CSS."""

from dataclasses import dataclass
from pathlib import Path

from sshaft_identity.common.appearance import Appearance
from sshaft_identity.common.colours import DARK, LIGHT, Scheme
from sshaft_identity.web.logo import read_logo


@dataclass(frozen=True, slots=True)
class Look:
    """What every page shows. `logo` and `logo_dark` are `data:` URLs. `style` is CSS of our own making."""

    name: str = ""
    logo: str | None = None
    logo_dark: str | None = None
    colour: str | None = None
    style: str = ""


def read_look(appearance: Appearance, directory: Path) -> Look:
    """Reads the logos. Raises `ConfigurationError` if one of them cannot be used."""
    logo, logo_dark = (path and read_logo(directory / path) for path in (appearance.logo, appearance.logo_dark))
    return Look(appearance.name, logo, logo_dark, appearance.colour, _style_of(appearance))


def _style_of(appearance: Appearance) -> str:
    """Returns the colours for style sheets. Each is six hexadecimal digits, so no text of the operator is in it."""
    light = appearance.colour
    if light is None:
        return ""
    dark = appearance.colour_dark or DARK.readable(light)
    return f"{_root(LIGHT, light)}@media(prefers-color-scheme:dark){{{_root(DARK, dark)}}}"


def _root(scheme: Scheme, colour: str) -> str:
    return f":root{{--accent:{colour};--tint:{scheme.tint_of(colour)};}}"
