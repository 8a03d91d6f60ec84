"""Simulates a network on loopback: a proxy that adds a round-trip time, or TLS.

    python3 bench/load/proxy.py PORT TARGET [--round-trip MS] [--tls CERTIFICATE KEY] [--count FILE]

The proxy forwards all data half a round trip later, in both directions. It prints a line when it listens, and writes
the numbers of connections and bytes into FILE.
"""

import argparse
import asyncio
import json
import ssl
from collections import Counter
from pathlib import Path

HOST = "127.0.0.1"


class Proxy:
    def __init__(self, options: argparse.Namespace) -> None:
        self.target = options.target
        self.delay = options.round_trip / 2000
        self.count = options.count
        self.counted: Counter[str] = Counter(connections=0, there=0, back=0)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counted["connections"] += 1
        behind_reader, behind_writer = await asyncio.open_connection(HOST, self.target)
        there = self.carry(reader, behind_writer, "there")
        await asyncio.gather(there, self.carry(behind_reader, writer, "back"), return_exceptions=True)
        if self.count:
            self.count.write_text(json.dumps(self.counted))

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65536):
            self.counted[direction] += len(data)
            if self.count:
                self.count.write_text(json.dumps(self.counted))
            if self.delay:
                loop.call_later(self.delay, writer.write, data)
            else:
                writer.write(data)
        await asyncio.sleep(self.delay)
        writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--round-trip", type=float, default=0, metavar="MS")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    parser.add_argument("--count", type=Path)
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options.tls)
    proxy = Proxy(options)
    server = await asyncio.start_server(proxy.connected, HOST, options.port, ssl=context)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
