"""Tests the opening of a UNIX socket where something stands already."""

import os
import socket
from pathlib import Path

import pytest

from sshaft.daemon.unix_socket import InUseError, listen_at, peer_uid


def test_socket_has_its_mode_and_takes_the_place_of_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "program.sock"
    listen_at(path, 0o600).close()
    with listen_at(path, 0o660), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert path.stat().st_mode & 0o777 == 0o660


def test_second_program_does_not_wait_for_a_busy_first(tmp_path: Path) -> None:
    path = tmp_path / "program.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        with pytest.raises(InUseError, match="another program listens there"):
            listen_at(path, 0o660)
        assert path.is_socket()


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, Path.mkdir])
def test_what_is_no_socket_stays(tmp_path: Path, make: object) -> None:
    path = tmp_path / "program.sock"
    assert callable(make)
    make(path)
    before = path.stat()
    with pytest.raises(OSError, match=r"in use|directory"):
        listen_at(path, 0o660)
    assert path.stat() == before


def test_peer_is_known_by_its_uid(tmp_path: Path) -> None:
    path = tmp_path / "program.sock"
    with listen_at(path, 0o600) as listening, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listening.setblocking(True)
        connection, _ = listening.accept()
        with connection:
            assert peer_uid(connection) == os.geteuid()
