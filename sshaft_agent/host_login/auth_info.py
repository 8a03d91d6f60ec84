"""Reads what sshd says of the methods that the person has passed before: `SSH_AUTH_INFO_0`, one method in each line."""

import re
from dataclasses import dataclass

from sshaft import public_key
from sshaft.errors import InvalidKeyError

_PUBLICKEY = re.compile(r"publickey ([a-z0-9@.-]{1,64}) ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True)
class UsedKey:
    """A key that sshd has accepted in this connection. `type` also names a certificate."""

    type: str
    fingerprint: str


def used_keys(auth_info: str) -> tuple[UsedKey, ...]:
    """Returns the keys and the certificates that sshd has accepted. What has another form counts for nothing."""
    keys = []
    for line in auth_info.split("\n"):
        if found := _PUBLICKEY.fullmatch(line):
            try:
                keys.append(UsedKey(found[1], public_key.accepted_fingerprint(found[1], found[2])))
            except InvalidKeyError:
                continue
    return tuple(keys)
