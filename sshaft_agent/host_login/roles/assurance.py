"""Chooses the shell of a new account by how sure the provider is of the person: REFEDS assurance, or `acr`.

It refuses nobody. The expressions are those of motley_cue: `profile/mfa & (IAP/high | IAP/medium)`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sshaft.config import Text
from sshaft_agent.host_login.claims import texts
from sshaft_agent.host_login.first_login.settings import PathInPasswd

_WORD = re.compile(r"[&|()]|[^\s&|()]+")
_SIGNS = ("&", "|", "(", ")")
_DEEPEST = 16


class Shell(BaseModel):
    """A shell, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    when: Text = Field(description="values of `claims`, with &, | and ( ); + is any value, and * always holds")
    shell: PathInPasswd | None = Field(default=None, description="without it: that of a role, or of `create`")


class Assurance(BaseModel):
    """Which shell a new account gets. The first of `shells` that holds decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    claims: Annotated[tuple[Text, ...], Field(min_length=1)] = ("assurance", "eduperson_assurance", "acr")
    """The claims that have the values."""
    prefix: Text = Field(default="https://refeds.org", description="what stands before values that are no address")
    shells: tuple[Shell, ...] = ()
    """The shells, in order."""
    otherwise: PathInPasswd = Field(description="the shell of a person for whom none of them holds")

    def shell_of(self, claims: Mapping[str, Any]) -> str | None:
        """Returns the shell of a person with these claims. None: the one that the account would have anyway."""
        held = {value for name in self.claims for value in _values(claims.get(name))}
        for each in self.shells:
            if holds(each.when, self.prefix, held):
                return each.shell
        return self.otherwise

    @model_validator(mode="after")
    def _can_be_read(self) -> "Assurance":
        for each in self.shells:
            holds(each.when, self.prefix, ())
        return self


def _values(found: Any) -> set[str]:
    """Returns the values of a claim: a list, or a text with one value or several words (as `acr_values`)."""
    return {found, *found.split()} if isinstance(found, str) else texts(found)


def holds(expression: str, prefix: str, held: Collection[str]) -> bool:
    """Whether the expression holds for a person with these values. & binds stronger than |. Raises `ValueError`."""
    names = {each.removeprefix(f"{prefix.rstrip('/')}/") for each in held} | set(held)
    words = _WORD.findall(expression)
    found = _one_of(words, names, 0)
    if words:
        raise ValueError(f"{words[0]!r} stands where & or | or the end must be: {expression!r}")
    return found


def _one_of(words: list[str], names: Collection[str], depth: int) -> bool:
    """Reads parts with | between them. It reads all of them, whatever the first says."""
    found = [_all_of(words, names, depth)]
    while words[:1] == ["|"]:
        words.pop(0)
        found.append(_all_of(words, names, depth))
    return any(found)


def _all_of(words: list[str], names: Collection[str], depth: int) -> bool:
    found = [_part(words, names, depth)]
    while words[:1] == ["&"]:
        words.pop(0)
        found.append(_part(words, names, depth))
    return all(found)


def _part(words: list[str], names: Collection[str], depth: int) -> bool:
    word = words.pop(0) if words else ""
    if word == "(":
        if depth == _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} brackets are open")
        found = _one_of(words, names, depth + 1)
        if not words or words.pop(0) != ")":
            raise ValueError("a bracket is not closed")
        return found
    if not word or word in _SIGNS:
        raise ValueError(f"a value is missing before {word!r}" if word else "a value is missing at the end")
    return {"*": True, "+": bool(names)}.get(word, word in names)
