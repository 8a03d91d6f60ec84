"""The identity providers that sshaft is a second step of: which client each needs, and what to type on its side.

`templates/providers/NAME.txt` is what `sshaft identity client add --for NAME` prints; `docs/providers/NAME.md` tells
more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sshaft.errors import ConfigurationError
from sshaft_identity.clients import Scope

Faces = dict[str, Any]
Given = Mapping[str, tuple[str, ...]]
"""The options of the command line, by name; each may have been given several times."""


@dataclass(frozen=True, slots=True)
class Provider:
    """`needs`: the options without which there is no client. `faces`: its faces, made from what was given."""

    needs: tuple[str, ...]
    faces: Callable[[Given], Faces]
    scopes: tuple[Scope, ...] = (Scope.CHALLENGES,)


PROVIDERS: dict[str, Provider] = {}


def faces_of(name: str, given: Given) -> Faces:
    """Raises `ConfigurationError` where something is missing."""
    provider = PROVIDERS[name]
    for need in provider.needs:
        if not given.get(need):
            raise ConfigurationError(f"--for {name} needs --{need.replace('_', '-')}")
    return provider.faces(given)


def told(name: str, values: Mapping[str, Any]) -> str:
    """What to type on the provider's side."""
    from sshaft_identity.html import texts  # noqa: PLC0415 - the web stack, which no other command needs

    return texts.get_template(f"providers/{name}.txt").render(values)
