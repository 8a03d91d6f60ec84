"""Describes a face to the rest of the service: how one kind of identity provider asks for an SSH login."""

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
    """A face. Its module in `faces/` defines it as `FACE`, and no other code names it."""

    name: str
    """The member of a client's `faces` that holds the client's options, and the value of `face` in log events."""
    options: type[BaseModel]
    """The options with which a client is registered for this face."""
    routes: Callable[[Clock], Sequence[Route]]
    """Returns the endpoints, for the clock of the application."""
    finish: Callable[[Call, Challenge], Response] | None = None
    """Leads the browser back to the provider with the result of a login. None: the provider sends no browsers."""
    grants: Mapping[str, Grant] = field(default_factory=dict)
    """The grant types that this face adds to the token endpoint, each with its function."""
    metadata: Callable[[Settings], dict[str, Any]] | None = None
    """Returns the members that this face adds to `/.well-known/openid-configuration`."""
    providers: Mapping[str, Provider] = field(default_factory=dict)
    """The identity providers that `client add --for` sets up for this face, by name."""
    checks: Callable[[Any, Reach], Iterator[Finding]] | None = None
    """Checks for `client test` whether the provider can be reached. The first argument is the options of the client."""
