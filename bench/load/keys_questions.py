"""Sends questions to an agent's keys socket, as many sshds at once would. Runs as the account of the keys command:

    python3 -IS keys_questions.py PACKAGES SOCKET --seconds 5 (--rate 1000 | --parallel 200) [--type TYPE --key BASE64]

Without --key every question is about another key that nobody has. With --from N the keys are those of
`database_rows.blob_of`, from number N on. Prints one line of JSON, with times in milliseconds.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import socket
import statistics
import sys
import time
from typing import Any

sys.path.append(sys.argv[1])
from sshaft import messages

ED25519 = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"


class Questions:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.times: list[float] = []
        self.failed = 0
        self.lines = 0
        self.number = options.first

    def question(self) -> bytes:
        blob = base64.b64decode(self.options.key) if self.options.key else ED25519 + self.point()
        fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        fields = {
            "fingerprint": f"SHA256:{fingerprint}",
            "type": self.options.type,
            "key": base64.b64encode(blob).decode(),
            "request_id": os.urandom(16).hex(),
        }
        return messages.encode("keys", fields)

    def point(self) -> bytes:
        if self.number is None:
            return os.urandom(32)
        self.number += 1
        return hashlib.sha256(f"bench {self.number - 1}".encode()).digest()

    async def ask(self) -> None:
        loop = asyncio.get_running_loop()
        question = self.question()
        began = time.perf_counter()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, self.options.socket)
                await loop.sock_sendall(connection, question)
                data = b""
                while not data.endswith(messages.END):
                    part = await loop.sock_recv(connection, 65536)
                    if not part:
                        raise ConnectionResetError
                    data += part
            except OSError:
                self.failed += 1
                return
        self.times.append(time.perf_counter() - began)
        kind, fields = messages.decode(data)
        self.failed += kind != "keys"
        self.lines += bool(fields.get("lines"))

    async def at_a_rate(self, end: float) -> None:
        """Sends at an even rate, also while earlier questions have no answer."""
        began, sent = time.monotonic(), 0
        open_questions: set[asyncio.Task[None]] = set()
        while (now := time.monotonic()) < end:
            for _ in range(int((now - began) * self.options.rate) - sent):
                task = asyncio.create_task(self.ask())
                open_questions.add(task)
                task.add_done_callback(open_questions.discard)
                sent += 1
            await asyncio.sleep(0.002)
        if open_questions:
            await asyncio.wait(open_questions, timeout=10)

    async def in_parallel(self, end: float) -> None:
        """Keeps a number of questions open: each answer starts the next question."""

        async def ask_until_end() -> None:
            while time.monotonic() < end:
                await self.ask()

        await asyncio.gather(*(ask_until_end() for _ in range(self.options.parallel)))

    async def run(self) -> dict[str, Any]:
        end = time.monotonic() + self.options.seconds
        began = time.monotonic()
        await (self.at_a_rate(end) if self.options.rate else self.in_parallel(end))
        cuts = statistics.quantiles(self.times, n=100) if len(self.times) > 1 else [0.0] * 99
        return {
            "answered": len(self.times),
            "a_second": round(len(self.times) / (time.monotonic() - began), 1),
            "failed": self.failed,
            "lines": self.lines,
            "p50_ms": round(cuts[49] * 1000, 2),
            "p99_ms": round(cuts[98] * 1000, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages")
    parser.add_argument("socket")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--type", default="ssh-ed25519")
    parser.add_argument("--key")
    parser.add_argument("--from", dest="first", type=int)
    print(json.dumps(asyncio.run(Questions(parser.parse_args()).run())))


if __name__ == "__main__":
    main()
