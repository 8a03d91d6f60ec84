"""Describes `host_login.recheck` in config.json: how often the provider is asked again about a person."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sshaft.config import Period

OFFLINE_ACCESS = "offline_access"
"""The scope that asks for a refresh token (OpenID Connect Core 1.0 §11)."""


class RecheckSettings(BaseModel):
    """Checks without the person, by the refresh token of the last login."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    every: Annotated[Period, Field(ge=timedelta(minutes=5), le=timedelta(days=30))] = Field(
        description="the time from one check of a person to the next one"
    )
    grace: Annotated[Period, Field(le=timedelta(days=90))] = Field(
        description="keys stay usable so long after a check was due and could not be made"
    )
    key_file: Path = Field(
        default=Path("/var/lib/sshaft-agent-key/refresh-tokens.key"),
        description="the key that encrypts the refresh tokens; the agent makes a missing file",
    )
    offline_access: bool = Field(
        default=True, description="false: the provider gives refresh tokens without the scope offline_access"
    )
    revoke: bool = Field(
        default=False,
        description="true: refresh tokens that are not needed any more are ended at the provider, not only forgotten",
    )

    @property
    def seconds(self) -> float:
        """Returns the age at which a good check counts no more."""
        return (self.every + self.grace).total_seconds()
