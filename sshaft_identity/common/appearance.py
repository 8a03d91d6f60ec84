"""Defines what the operator chooses for the pages: name, logo, colour, and words of help (part of identity.json)."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sshaft.text import printable
from sshaft_identity.common.colours import COLOUR_PATTERN, DARK, LIGHT, MIN_CONTRAST, Scheme

Colour = Annotated[str, Field(pattern=COLOUR_PATTERN)]


class Advice(BaseModel):
    """The operator's own words for people, as plain text, and a link that follows them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str = Field(default="", max_length=500)
    """Plain text, which stands before the link."""
    link: str | None = Field(default=None, max_length=500, description="https: or mailto:")
    label: str = Field(default="", max_length=100, description="the words of the link; empty: its address")

    @field_validator("link")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        """Takes no other scheme: `javascript:` would run in the page, and http can be changed on its way."""
        if value is not None and not re.fullmatch(r"(https://|mailto:)[\x21-\x7e]+", value):
            raise ValueError("must begin with https:// or mailto:, without blanks")
        return value


class Help(BaseModel):
    """Says what the pages tell people who need help. An empty text: the words of the page itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lost_key: Advice = Field(default_factory=Advice)
    """For a person who has lost the key."""
    several_keys: Advice = Field(default_factory=Advice)
    """For a person whose ssh has several keys."""
    every_page: Advice = Field(default_factory=Advice)
    """For everybody, at the end of every page."""


class Appearance(BaseModel):
    """The name, the logo and the colour of the pages."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(default="", max_length=60, description="the name of the service, as people know it")
    logo: str | None = Field(default=None, description="PNG or SVG file; a relative path begins at the directory")
    logo_dark: str | None = Field(default=None, description="the logo for dark pages; null: the same one")
    colour: Colour | None = Field(default=None, description="#rrggbb, of links and buttons on light pages")
    colour_dark: Colour | None = Field(default=None, description="#rrggbb, on dark pages; null: a tone of `colour`")

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        """Takes no character that hides or reorders text, for the name must look like what it is."""
        if printable(value) != value.replace("\\", "\\\\"):
            raise ValueError("must be one line, without invisible characters")
        return value.strip()

    @field_validator("colour")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        return _checked_colour(value, LIGHT, "light")

    @field_validator("colour_dark")
    @classmethod
    def _readable_in_the_dark(cls, value: str | None) -> str | None:
        return _checked_colour(value, DARK, "dark")

    @model_validator(mode="after")
    def _is_whole(self) -> "Appearance":
        if self.logo is not None and not self.name:
            raise ValueError("a logo needs a name, for people who cannot see it")
        if self.logo is None and self.logo_dark is not None:
            raise ValueError("logo_dark needs logo")
        if self.colour is None and self.colour_dark is not None:
            raise ValueError("colour_dark needs colour")
        return self


def _checked_colour(colour: str | None, scheme: Scheme, pages: str) -> str | None:
    """Raises `ValueError` if people could not read text of this colour, or on it."""
    if colour is None or scheme.is_readable(colour):
        return colour
    has, needs = f"{scheme.contrast_of(colour):.1f}", f"{MIN_CONTRAST}"
    nearest = scheme.readable(colour)
    raise ValueError(f"{colour} cannot be read on {pages} pages: its contrast is {has}, not {needs}; use {nearest}")
