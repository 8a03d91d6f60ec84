"""sd_notify(3): tells systemd how the agent is, where systemd started it."""

import os
import socket
import time


def notify(*states: str) -> None:
    """Send `READY=1`, `STOPPING=1` and the like; does nothing elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.sendall("\n".join(states).encode())
        except OSError:
            pass  # a service manager that does not listen is not our trouble


def reloading() -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
