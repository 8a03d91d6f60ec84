"""Describes the sshd that people reach with the command of a page: its address, its account and its host keys.

The identity service publishes it. The pages, `sshaft client-config` and `sshaft doctor` use the same texts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from sshaft.errors import InvalidKeyError
from sshaft.public_key import DEFAULT_TYPES, SK_TYPES, PublicKey, parse

USER_PATTERN = r"^[A-Za-z0-9._][A-Za-z0-9._-]{0,63}$"
HOST_PATTERN = r"^[A-Za-z0-9.:_][A-Za-z0-9.:_-]{0,252}$"
ALIAS = "mfa"
"""The name of the server in the `Host` block."""
HOST_KEY_TYPES = tuple(each for each in DEFAULT_TYPES if each not in SK_TYPES)
MAX_HOST_KEYS = 16
_SSHFP_TYPES = {"ssh-rsa": 1, "ssh-ed25519": 4}
_IDENTITY_FILE = re.compile(r"[~A-Za-z0-9/._+@-]+")


@dataclass(frozen=True, slots=True)
class SshServer:
    """No part of `user` and `host` needs quotes in a shell, in ssh_config or in known_hosts (`USER_PATTERN`)."""

    user: str
    host: str
    port: int = 22
    host_keys: tuple[PublicKey, ...] = ()

    def command(self, *words: str | None) -> str:
        """Returns the command that the person runs. No part of it needs quotes in a shell."""
        port = "" if self.port == 22 else f"-p {self.port} "
        return " ".join([f"ssh {port}{self.user}@{self.host}", *filter(None, words)])

    def short_command(self, *words: str | None) -> str:
        """Returns the command of a person whose ssh_config has the `Host` block."""
        return " ".join(["ssh", ALIAS, *filter(None, words)])

    def plink(self, *words: str | None) -> str:
        """Returns the same command for PuTTY's plink."""
        port = "" if self.port == 22 else f"-P {self.port} "
        return " ".join([f"plink -ssh {port}{self.user}@{self.host}", *filter(None, words)])

    def known_hosts(self) -> list[str]:
        """Returns a line of known_hosts for each host key. ssh looks up the name in lower case."""
        host = self.host.lower()
        name = host if self.port == 22 else f"[{host}]:{self.port}"
        return [f"{name} {key}" for key in self.host_keys]

    def config_block(self, identity_file: str) -> str:
        """Returns the `Host` block of ssh_config with which `ssh mfa CODE` reaches the server.

        `ControlPath none`: a connection that another ssh keeps open would not prove the key again. Raises `ValueError`
        for a name of a file that ssh_config would read as something else.
        """
        if not _IDENTITY_FILE.fullmatch(identity_file):
            raise ValueError("the name of the key file may hold letters, digits and ~ / . _ + @ - only")
        lines = [
            f"Host {ALIAS}",
            f"    HostName {self.host}",
            *([] if self.port == 22 else [f"    Port {self.port}"]),
            f"    User {self.user}",
            f"    IdentityFile {identity_file}",
            "    IdentitiesOnly yes",
            "    ControlPath none",
        ]
        return "\n".join(lines)

    def sshfp(self) -> list[str]:
        """Returns the DNS records of the host keys, with SHA-256 only (RFC 4255, RFC 6594, RFC 7479)."""
        return [
            f"{self.host} IN SSHFP {_SSHFP_TYPES.get(key.type, 3)} 2 {sha256(key.blob).hexdigest()}"
            for key in self.host_keys
        ]

    def as_json(self) -> dict[str, Any]:
        return {"user": self.user, "host": self.host, "port": self.port, "host_keys": [*map(str, self.host_keys)]}

    @classmethod
    def of_json(cls, data: object) -> Self:
        """Returns the server that an identity service publishes. Raises `ValueError` for any other value."""
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the data, not of the program
        user, host, port, keys = (data.get(name) for name in ("user", "host", "port", "host_keys"))
        if not (isinstance(user, str) and re.fullmatch(USER_PATTERN, user)):
            raise ValueError("user: not the name of an account")
        if not (isinstance(host, str) and re.fullmatch(HOST_PATTERN, host)):
            raise ValueError("host: not the name of a host")
        if isinstance(port, bool) or not (isinstance(port, int) and 0 < port < 65536):
            raise ValueError("port: not a port")
        if not (isinstance(keys, list) and all(isinstance(each, str) for each in keys)):
            raise ValueError("host_keys: not a list of texts")
        return cls(user, host, port, host_keys(keys))


def host_keys(texts: Iterable[str]) -> tuple[PublicKey, ...]:
    """Returns the host keys of these lines, each once. Raises `ValueError` for other text and other types of keys."""
    try:
        found = tuple(dict.fromkeys(parse(text, HOST_KEY_TYPES) for text in texts))
    except InvalidKeyError as error:
        raise ValueError(f"host key: {error}") from None
    if len(found) > MAX_HOST_KEYS:
        raise ValueError(f"more than {MAX_HOST_KEYS} host keys")
    return found
