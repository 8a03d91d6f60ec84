"""Tests sd_notify with real datagram sockets."""

import socket
from pathlib import Path

import pytest

from sshaft.daemon.notify import notify, reloaded, reloading


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_gets_all_states_in_one_datagram(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name if kind == "path" else "\0" + name)
        manager.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", name if kind == "path" else "@" + name)
        notify("READY=1", "STATUS=x")
        assert manager.recv(100) == b"READY=1\nSTATUS=x"
        reloading()
        first, second = manager.recv(100).decode().split("\n")
        assert first == "RELOADING=1"
        assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
        reloaded("bad\nREADY=0")
        assert manager.recv(500).decode().split("\n")[0] == "READY=1"
        reloaded(None)
        assert manager.recv(100) == b"READY=1\nSTATUS="


@pytest.mark.parametrize(
    "address", [None, "", "relative", "vsock:2:1234", "/nowhere/notify", "@nobody", "/" + "x" * 200]
)
def test_notify_does_nothing_without_a_service_manager(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
