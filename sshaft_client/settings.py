"""Reads client.json: the OpenID Providers at which a person lets sshaft log in, and sshaft's client there."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sshaft.config import parse_object, read_file
from sshaft.errors import ConfigurationError
from sshaft.host_api.service import canonical
from sshaft.validation import first_fault
from sshaft_oidc.settings import ClientSettings, ScopeName

NAME = "client.json"


class LoginSettings(ClientSettings):
    """A provider, and sshaft as its client."""

    scopes: tuple[ScopeName, ...] = ("openid",)
    redirect_port: int = Field(default=0, ge=0, le=65535, description="0: any port, as RFC 8252 §7.3 demands")


class ClientFile(BaseModel):
    """`client.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    providers: tuple[LoginSettings, ...] = Field(
        default=(), description="OpenID Providers at which people log in; a service can use only these"
    )


def places() -> list[Path]:
    """Returns where client.json may be: the person's own, and that of the whole computer."""
    own = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return [Path(own) / "sshaft" / NAME, Path("/etc/sshaft") / NAME]


def provider(issuer: str) -> LoginSettings | None:
    """Returns the first entry for an issuer. Raises `ConfigurationError`."""
    for path in places():
        if not path.exists():
            continue
        text, _ = read_file(path)
        try:
            listed = ClientFile.model_validate_json(text).providers
        except ValidationError as error:
            parse_object(path, text)
            raise ConfigurationError(f"{path}: {first_fault(error)}") from None
        if found := [each for each in listed if canonical(each.issuer) == canonical(issuer)]:
            return found[0]
    return None
