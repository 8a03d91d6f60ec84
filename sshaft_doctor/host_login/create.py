"""Describes what the agent and sshaft-accounts are told of new accounts, as far as the doctor compares it."""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

POLICY = Path("/etc/sshaft/accounts.json")


class _Members(BaseModel):
    """The programs check their files themselves. A member that is none of these counts for nothing here."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    uid_first: int = 70000
    uid_last: int = 99999
    home: str = "/home/{user}"
    shell: str = "/bin/bash"

    @classmethod
    def of(cls, members: Any) -> Self | None:
        """Returns the members, or None if the file does not have them, or not as they must be."""
        try:
            return cls.model_validate(members)
        except ValidationError:
            return None


class Role(BaseModel):
    """What one of `host_login.roles` gives, as far as accounts.json must allow it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    local_groups: list[str] = []
    shell: str | None = None


class Create(_Members):
    """`host_login.create` in config.json, with the values of the agent for what is not there.

    `roles` stand beside it, and `assurance` has the shells that providers choose from.
    """

    uid: Any = "range"
    names: str = r"[a-z][a-z0-9_-]{0,31}"
    reservation_seconds: int = 600
    socket: str = "/run/sshaft-accounts.sock"
    pam_file: str = "/etc/pam.d/sshd"
    roles: list[Role] = []
    assurance: list[str] = []

    @property
    def is_uid_of_claim(self) -> bool:
        """Whether the provider says the uid. The uids of `create` are then those of sshd until the account is made."""
        return isinstance(self.uid, dict) and "claim" in self.uid


class Policy(_Members):
    """accounts.json, with the values of sshaft-accounts for what is not there."""

    names: str | None = None
    shells: list[str] = []
    groups: list[str] = []
    agent: str = "sshaft"
    backend: str = "passwd"


def read_policy(path: Path = POLICY) -> Policy | None:
    """Returns the policy, or None for a file that sshaft-accounts refuses. Raises `OSError`."""
    try:
        return Policy.of(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        return None
