"""Parses the fields of a message into a frozen value. A missing field counts as empty."""

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from sshaft import public_key
from sshaft.errors import InvalidKeyError
from sshaft.public_key import PublicKey

_REQUEST_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class KeysQuestion:
    """sshaft-keys asks for the line of a key that sshd was offered."""

    key_type: str
    key: str
    """Base64, as in sshd's `%k`."""
    fingerprint: str
    request_id: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        """Returns the question. A request id that is not 32 hexadecimal digits is replaced by a new one."""
        request_id = fields.get("request_id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(16)
        return cls(fields.get("type", ""), fields.get("key", ""), fields.get("fingerprint", ""), request_id)


@dataclass(frozen=True)
class LoginRequest:
    """sshaft-login brings a ticket and the key that signed. Each kind of request is a subclass."""

    ticket: str
    key_type: str
    key: str
    """Base64, as in the file that sshd's ExposeAuthInfo writes."""
    client_ip: str
    code: str | None
    confirmed: bool
    """The person was shown what is approved and said yes."""
    choice: int | None = None
    """The number of the login that the person has chosen from the list, from 1."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        """Returns the request. An empty code counts as none."""
        return cls(
            ticket=fields.get("ticket", ""),
            key_type=fields.get("key_type", ""),
            key=fields.get("key", ""),
            client_ip=fields.get("client_ip", ""),
            code=fields.get("code") or None,
            confirmed=fields.get("confirmed") == "yes",
            choice=_choice(fields.get("choice", "")),
        )

    def signed_key(self, allowed_types: Collection[str]) -> PublicKey | None:
        """Returns the key that signed, or None for a text that is no key of an allowed type."""
        try:
            return public_key.from_blob(self.key_type, self.key, allowed_types)
        except InvalidKeyError:
            return None


def _choice(text: str) -> int | None:
    """Returns the number in the text. 0, which is no choice, stands for a text that is no number from 1 to 9."""
    if not text:
        return None
    return int(text) if re.fullmatch("[1-9]", text) else 0


class AcceptRequest(LoginRequest):
    """The person passes the login."""


class RejectRequest(LoginRequest):
    """The person denies the login."""


class EnrolRequest(LoginRequest):
    """The person presents an unregistered key with an enrolment code."""


LOGIN_REQUESTS = {"accept": AcceptRequest, "reject": RejectRequest, "enrol": EnrolRequest}
"""By the kind of the message."""
