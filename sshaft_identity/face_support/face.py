"""Describes a face: all that the rest of the service needs to know of one provider's way to ask for an SSH login."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import Route

from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.common.times import Clock
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import Provider
from sshaft_identity.settings import Settings
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One face. Its module in `faces/` defines it as `FACE`; nothing else has to name it."""

    name: str
    """The member of a client's `faces` that holds the client's options, and the value of `face` in log events."""
    options: type[BaseModel]
    """The options with which a client is registered for this face."""
    routes: Callable[[Clock], Sequence[Route]]
    """Makes the endpoints. Each application gets its own, with its own clock."""
    finish: Callable[[Call, Challenge], Response] | None = None
    """Leads the browser back to the provider with the result of a login. None: no browser comes from there."""
    grants: Mapping[str, Grant] = field(default_factory=dict)
    """The grant types that the token endpoint takes for this face."""
    metadata: Callable[[Settings], dict[str, Any]] | None = None
    """Returns the members that this face adds to `/.well-known/openid-configuration`."""
    providers: Mapping[str, Provider] = field(default_factory=dict)
    """The identity providers that `client add --for` sets up for this face, by their names."""
    checks: Callable[[Any, Reach], Iterator[Finding]] | None = None
    """Checks for `client test` whether the provider can be reached. Gets the client's options."""
