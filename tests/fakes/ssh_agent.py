"""Runs an ssh-agent with one simulated security key, so that a real ssh logs in with an `sk-` key without a device.

The protocol is draft-ietf-sshm-ssh-agent.
"""

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fakes.public_keys import string
from fakes.security_key import SecurityKey

FAILURE, IDENTITIES, SIGN_RESPONSE = 5, 12, 14


@dataclass
class SshAgent:
    """`flags`: what the device says of its user, see `SecurityKey.signed`."""

    path: Path
    key: SecurityKey
    flags: int = 1

    def __enter__(self) -> Self:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    @property
    def options(self) -> tuple[str, ...]:
        """For ssh."""
        return ("-o", f"IdentityAgent={self.path}", "-o", "IdentityFile=none")

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader, contextlib.suppress(OSError):
            while len(head := reader.read(4)) == 4:
                answer = self._answer(reader.read(struct.unpack(">I", head)[0]))
                connection.sendall(string(answer))

    def _answer(self, question: bytes) -> bytes:
        match question[0]:
            case 11:  # REQUEST_IDENTITIES
                return struct.pack(">BI", IDENTITIES, 1) + string(self.key.blob) + string(b"security key")
            case 13:  # SIGN_REQUEST: the key, the data, flags
                size = struct.unpack_from(">I", question, 1)[0]
                asked, rest = question[5 : 5 + size], question[5 + size :]
                message = rest[4 : 4 + struct.unpack_from(">I", rest)[0]]
                if asked == self.key.blob:
                    return bytes([SIGN_RESPONSE]) + string(self.key.signed(message, self.flags))
        return bytes([FAILURE])
