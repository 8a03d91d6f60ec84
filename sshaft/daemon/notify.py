"""Tells systemd the state of a program, if systemd started the program (sd_notify(3))."""

import os
import socket
import time

from sshaft.text import printable


def notify(*states: str) -> None:
    """Sends states such as `READY=1` to systemd. Does nothing without NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.sendall("\n".join(states).encode())
        except OSError:
            pass  # the program works without a service manager that listens


def reloading() -> None:
    """Says that the program reads its configuration again."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def reloaded(refusal: str | None) -> None:
    """Says how the reload ended. `refusal` is the reason why the old configuration stays in use, or None.

    `systemctl status` shows it.
    """
    status = "" if refusal is None else f"A new configuration was refused, and the old one is in use: {refusal}"
    notify("READY=1", f"STATUS={printable(status, 500)}")
