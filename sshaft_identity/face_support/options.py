"""Base types of the options with which a client is registered for a face."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40}){0,4}$")]
"""The name of a JSON member. A dot leads into an object: `attributes.username`."""


class Options(BaseModel):
    """Options of a client for one face. An unknown option is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AppOptions(Options):
    """`app`: the name of the application, as ssh and the page show it to the person."""

    app: Annotated[str, Field(min_length=1, max_length=80)] | None = None
