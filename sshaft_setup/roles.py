"""Names what a host can be."""

from enum import StrEnum


class Role(StrEnum):
    """What a host should be. The values are those of the option `--role`."""

    LOCAL_FACTOR = "factor-and-identity"
    FACTOR = "factor"
    HOST_LOGIN = "host-login"
    IDENTITY = "identity"

    @property
    def has_factor(self) -> bool:
        return self in {Role.LOCAL_FACTOR, Role.FACTOR}

    @property
    def has_identity(self) -> bool:
        return self in {Role.LOCAL_FACTOR, Role.IDENTITY}

    @property
    def has_agent(self) -> bool:
        return self != Role.IDENTITY


TEXTS = {
    Role.LOCAL_FACTOR: "SSH logins pass web logins here; the identity service is on this host, too",
    Role.FACTOR: "SSH logins pass web logins here; the identity service is on another host",
    Role.HOST_LOGIN: "people log in to this host with the organisation's identity",
    Role.IDENTITY: "the identity service alone; sshd is on another host",
}
