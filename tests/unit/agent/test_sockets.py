"""Tests paths, owners and modes of the agent's sockets."""

import io
import json
import os
import pwd
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from sshaft.errors import ConfigurationError
from sshaft_agent import sockets
from sshaft_agent.server import Server
from sshaft_agent.sockets import account, listen_for, make_directory

OWN = account(None)
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for separate accounts")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    make_directory(made := tmp_path / "sshaft")
    return made


def test_every_account_can_pass_the_runtime_directory_and_only_the_agent_can_write(directory: Path) -> None:
    assert mode(directory) == 0o755
    make_directory(directory)  # a second call changes nothing


def test_socket_for_the_agents_own_account_is_closed_to_others(directory: Path) -> None:
    path = sockets.keys_path(directory)
    with listen_for(OWN, path):
        assert mode(path) == 0o600
        assert mode(path.parent) == 0o700


def test_status_socket_is_open_to_root_and_the_agents_group(directory: Path) -> None:
    with listen_for(None, sockets.status_path(directory)):
        assert mode(sockets.status_path(directory)) == 0o660


async def test_refusals_are_logged_once_a_second(events: io.StringIO, clock: Any) -> None:
    """Finding S7: a flood of refused connections filled the log."""
    server = Server([], clock)
    for _ in range(5):
        server._log_refusal("peer.refused", uid=65534)  # noqa: SLF001
    clock.move(1)
    server._log_refusal("peer.refused", uid=1)  # noqa: SLF001
    logged = [json.loads(line) for line in events.getvalue().splitlines()]
    assert [(event["uid"], event.get("before")) for event in logged] == [(65534, None), (1, 4)]


def test_umask_changes_no_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = sockets.login_path(tmp_path)
        with listen_for(OWN, path), listen_for(None, sockets.status_path(tmp_path)):
            assert mode(path) == 0o600
            assert mode(sockets.status_path(tmp_path)) == 0o660
    finally:
        os.umask(before)


def test_open_directory_of_the_agent_is_closed(directory: Path) -> None:
    path = sockets.keys_path(directory)
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with listen_for(OWN, path):
        assert mode(path.parent) == 0o700


@pytest.mark.root
@root
def test_another_user_can_enter_the_directory_of_its_socket_and_not_write_to_it(directory: Path) -> None:
    path, user = sockets.keys_path(directory), account("daemon")
    with listen_for(user, path):
        assert (mode(path), path.stat().st_uid, path.stat().st_gid) == (0o660, 0, user.gid)
        assert (mode(path.parent), path.parent.stat().st_uid, path.parent.stat().st_gid) == (0o710, 0, user.gid)


@pytest.mark.root
@root
def test_directory_of_another_account_is_refused(directory: Path, tmp_path: Path) -> None:
    path = sockets.keys_path(directory)
    path.parent.mkdir(mode=0o700)
    os.chown(path.parent, 1, 1)
    with pytest.raises(ConfigurationError, match="belongs to somebody else"):
        listen_for(OWN, path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    os.chown(foreign, 1, 1)
    with pytest.raises(ConfigurationError, match="somebody else may write there"):
        make_directory(foreign)


@pytest.mark.root
@root
def test_error_says_how_to_add_the_agent_to_the_group_of_its_user(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    tmp_path.chmod(0o755)
    os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
    for parent in tmp_path.parents[:-2]:
        parent.chmod(0o755)
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(nobody.pw_gid)
    os.seteuid(nobody.pw_uid)
    try:
        with pytest.raises(ConfigurationError, match=r"not in the group of daemon .*usermod -aG daemon nobody"):
            listen_for(account("daemon"), tmp_path / "keys" / "agent.sock")
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize("loose", [0o777, 0o775, 0o757])
def test_runtime_directory_that_others_may_write_is_refused(tmp_path: Path, loose: int) -> None:
    tmp_path.chmod(loose)
    with pytest.raises(ConfigurationError, match="somebody else may write there"):
        make_directory(tmp_path)


def test_sticky_runtime_directory_is_accepted(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    make_directory(tmp_path)


@pytest.mark.parametrize("name", ["sshaft", "./x", "", ".", "/tmp/a b", "/tmp/$(id)", '/tmp/"', "/tmp/a\nb", "/tmp/é"])
def test_runtime_directory_with_unsafe_characters_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must be an absolute path of letters"):
        make_directory(Path(name))


def test_error_says_how_to_make_the_runtime_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No such file.*install -d -m 0755 -o"):
        make_directory(tmp_path / "a" / "b")


@pytest.mark.parametrize("kind", ["link to a directory", "dangling link", "file"])
def test_file_or_link_in_place_of_a_directory_is_refused(directory: Path, tmp_path: Path, kind: str) -> None:
    place = directory / "keys"
    match kind:
        case "link to a directory":
            (tmp_path / "elsewhere").mkdir()
            place.symlink_to(tmp_path / "elsewhere")
        case "dangling link":
            place.symlink_to(tmp_path / "nowhere")
        case "file":
            place.touch()
    with pytest.raises(ConfigurationError):
        listen_for(OWN, sockets.keys_path(directory))
    assert not any(tmp_path.glob("**/agent.sock"))


def test_stale_socket_is_removed(directory: Path) -> None:
    path = sockets.keys_path(directory)
    listen_for(OWN, path).close()
    assert path.exists()
    with listen_for(OWN, path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_socket_of_a_running_agent_is_left_alone(directory: Path) -> None:
    path = sockets.keys_path(directory)
    with listen_for(OWN, path):
        before = path.stat().st_ino
        with pytest.raises(ConfigurationError, match="another agent is running there"):
            listen_for(OWN, path)
        assert path.stat().st_ino == before


def test_socket_of_a_busy_agent_is_left_alone(directory: Path) -> None:
    path = sockets.keys_path(directory)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(ConfigurationError, match="another agent is running there"):
            listen_for(OWN, path)
        assert path.exists()
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["directory", "dangling link"])
def test_directory_or_link_in_place_of_a_socket_is_one_line(directory: Path, kind: str) -> None:
    path = sockets.status_path(directory)
    path.mkdir() if kind == "directory" else path.symlink_to("/nowhere/x")
    with pytest.raises(ConfigurationError) as error:
        listen_for(None, path)
    assert str(error.value).startswith(f"{path}: ")
    assert "None" not in str(error.value)


def test_path_too_long_for_a_socket_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        listen_for(OWN, tmp_path / ("x" * 120) / "agent.sock")
    assert "None" not in str(error.value)


def test_peer_is_known_by_its_uid(directory: Path) -> None:
    path = sockets.status_path(directory)
    with listen_for(None, path) as listening, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listening.setblocking(True)
        connection, _ = listening.accept()
        with connection:
            assert sockets.peer_uid(connection) == os.geteuid()


def test_account_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no account named 'nobody-here'"):
        account("nobody-here")


def test_accounts_are_found_by_name() -> None:
    assert account(pwd.getpwuid(os.geteuid()).pw_name) == OWN
    assert (OWN.uid, OWN.gid) == (os.geteuid(), pwd.getpwuid(os.geteuid()).pw_gid)
