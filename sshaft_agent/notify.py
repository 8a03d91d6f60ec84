"""Tells systemd the state of the agent, if systemd started the agent (sd_notify(3))."""

import os
import socket
import time


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
            pass  # the agent works without a service manager that listens


def reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
