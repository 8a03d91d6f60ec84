"""Reads the option HOST:PORT of the command line."""

from typing import Any

import click

_MAX_PORT = 65535


class HostPort(click.ParamType[tuple[str, int]]):
    """Converts `HOST:PORT` and `[::1]:PORT` to a pair; the host has no brackets."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
            self.fail("must be HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


HOST_PORT = HostPort()
