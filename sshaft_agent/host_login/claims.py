"""Reads claims: what a provider says of a person. A value of another kind than the expected one says nothing."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sshaft.config import Text
from sshaft.text import printable

ClaimName = Text | Annotated[tuple[Text, ...], Field(min_length=1, max_length=8)]
"""A claim, or the names of objects that hold one another and of the value in the last one."""
ClaimValues = dict[Text, Annotated[tuple[Text | bool, ...], Field(min_length=1)]]
"""Claims that must be there, with the values of which one is needed."""


class Conditions(BaseModel):
    """Whom a rule is for. Each member that is there must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    everyone: bool = Field(default=False, description="whoever the provider lets in")
    groups: tuple[Text, ...] | None = Field(default=None, description="values of `groups_claim`; one of them is enough")
    claims: ClaimValues | None = Field(
        default=None, description="claims that must be there, with the values of which one is needed"
    )


def claim(claims: Mapping[str, Any], name: ClaimName) -> Any:
    """Returns the value of a claim, or None. Of several names, each one but the last is that of an object."""
    found: Any = claims
    for each in (name,) if isinstance(name, str) else name:
        found = found.get(each) if isinstance(found, Mapping) else None
    return found


def first_name(name: ClaimName) -> str:
    """Returns the claim itself, which holds the others."""
    return name if isinstance(name, str) else name[0]


def has_one(found: Any, values: Collection[str | bool]) -> bool:
    """Whether the value of a claim is one of `values`, or a list with one of them."""
    is_one = any(type(each) is type(found) and each == found for each in values)
    return is_one or bool(texts(found) & set(values))


def texts(found: Any) -> set[str]:
    """Returns the texts of a list. Another value has none."""
    return {each for each in found if isinstance(each, str)} if isinstance(found, list) else set()


def number(found: Any) -> int | None:
    """Returns a number that stands there as such, or as its digits."""
    if isinstance(found, str) and re.fullmatch("[0-9]{1,10}", found):
        return int(found)
    return found if type(found) is int else None


def shown(found: Any) -> str:
    """Returns a value for the log and the terminal."""
    return "missing" if found is None else printable(repr(found))


def shown_name(name: ClaimName) -> str:
    return name if isinstance(name, str) else " / ".join(name)
