"""Tests paths, owners and modes of the agent's sockets."""

import io
import json
import os
import pwd
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sshaft.errors import ConfigurationError
from sshaft_agent import sockets
from sshaft_agent.server import Server
from sshaft_agent.sockets import Account, account, listen_for, make_directory


def refusal(message: str) -> Any:
    """Returns a context in which the whole message of the error is `message`."""
    return pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def ordinary_user(place: Path) -> Iterator[None]:
    """Gives `place` to an ordinary user, and lets root be this user."""
    if os.geteuid() != 0:
        yield
        return
    user, groups = pwd.getpwnam("nobody"), os.getgroups()
    os.chown(place, user.pw_uid, user.pw_gid)
    os.setgroups([1])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture(params=["an ordinary user", pytest.param("root", marks=pytest.mark.root)])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory of this process, which is an ordinary user or root."""
    with TemporaryDirectory() as name:
        if request.param == "root":
            yield Path(name)
        else:
            with ordinary_user(Path(name)):
                yield Path(name)


@pytest.fixture
def directory(place: Path) -> Path:
    make_directory(made := place / "sshaft")
    return made


def friend() -> Account:
    """Returns another account, in whose group this process is."""
    group = 1 if os.geteuid() == 0 else [*os.getgroups(), os.getegid()][0]
    return Account("friend", os.geteuid() + 1, group)


def test_every_account_can_pass_the_runtime_directory_and_only_the_agent_can_write(directory: Path) -> None:
    assert mode(directory) == 0o755
    make_directory(directory)  # a second call changes nothing


def test_socket_for_the_agents_own_account_is_closed_to_others(directory: Path) -> None:
    path = sockets.keys_path(directory)
    with listen_for(account(None), path):
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


def test_umask_changes_no_mode(place: Path) -> None:
    before = os.umask(0o077)
    try:
        path = sockets.login_path(place)
        with listen_for(account(None), path), listen_for(None, sockets.status_path(place)):
            assert mode(path) == 0o600
            assert mode(sockets.status_path(place)) == 0o660
    finally:
        os.umask(before)


def test_open_directory_of_the_agent_is_closed(directory: Path) -> None:
    path = sockets.keys_path(directory)
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with listen_for(account(None), path):
        assert mode(path.parent) == 0o700


def test_another_user_can_enter_the_directory_of_its_socket_and_not_write_to_it(directory: Path) -> None:
    path, user = sockets.keys_path(directory), friend()
    with listen_for(user, path):
        assert (mode(path), path.stat().st_uid, path.stat().st_gid) == (0o660, os.geteuid(), user.gid)
        folder = path.parent.stat()
        assert (mode(path.parent), folder.st_uid, folder.st_gid) == (0o710, os.geteuid(), user.gid)


def test_directory_of_a_socket_that_belongs_to_root_is_refused(place: Path) -> None:
    refused = refusal("/usr: belongs to somebody else; remove it and start the agent again")
    with ordinary_user(place), refused:
        listen_for(account(None), Path("/usr/agent.sock"))


@pytest.mark.root
def test_directory_of_another_account_is_refused(tmp_path: Path) -> None:
    make_directory(tmp_path)
    path = sockets.keys_path(tmp_path)
    path.parent.mkdir(mode=0o700)
    os.chown(path.parent, 1, 1)
    with pytest.raises(ConfigurationError, match="belongs to somebody else"):
        listen_for(account(None), path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    os.chown(foreign, 1, 1)
    with pytest.raises(ConfigurationError, match="somebody else may write there"):
        make_directory(foreign)


def test_runtime_directory_may_belong_to_root(place: Path) -> None:
    with ordinary_user(place):
        make_directory(Path("/"))


def test_accept_on_a_listening_socket_does_not_wait(place: Path) -> None:
    with listen_for(account(None), sockets.keys_path(place)) as listening:
        assert not listening.getblocking()


def test_default_paths_are_those_of_sshd_config() -> None:
    keys = sockets.keys_path(sockets.DEFAULT_DIRECTORY)
    assert f" --agent {keys} " in (Path(__file__).parents[3] / "sshd_config").read_text()
    assert sockets.login_path(sockets.DEFAULT_DIRECTORY) == Path("/run/sshaft/login/agent.sock")
    assert sockets.status_path(sockets.DEFAULT_DIRECTORY) == Path("/run/sshaft/status.sock")


def test_error_says_how_to_add_the_agent_to_the_group_of_its_user(place: Path) -> None:
    stranger = account("bin")
    with ordinary_user(place):
        us = account(None).name
        what = f"the agent's account {us} is not in the group of bin (gid {stranger.gid}): usermod -aG bin {us}"
        with refusal(f"{place}/keys: {what}"):
            listen_for(stranger, place / "keys" / "agent.sock")


@pytest.mark.parametrize("loose", [0o777, 0o775, 0o757])
def test_runtime_directory_that_others_may_write_is_refused(place: Path, loose: int) -> None:
    place.chmod(loose)
    with refusal(f"{place}: somebody else may write there; it must belong to us or to root"):
        make_directory(place)


def test_sticky_runtime_directory_is_accepted(place: Path) -> None:
    place.chmod(0o1777)
    make_directory(place)


@pytest.mark.parametrize("name", ["sshaft", "./x", "", ".", "/tmp/a b", "/tmp/$(id)", '/tmp/"', "/tmp/a\nb", "/tmp/é"])
def test_runtime_directory_with_unsafe_characters_is_refused(name: str) -> None:
    with refusal(f"{Path(name)}: must be an absolute path of letters, digits and ._@+/:-"):
        make_directory(Path(name))


def test_error_says_how_to_make_the_runtime_directory(place: Path) -> None:
    path = place / "a" / "b"
    what = "No such file or directory; make it for the agent's account"
    with refusal(f"{path}: {what}: install -d -m 0755 -o {account(None).name} {path}"):
        make_directory(path)


@pytest.mark.parametrize("kind", ["link to a directory", "dangling link", "file"])
def test_file_or_link_in_place_of_a_directory_is_refused(directory: Path, kind: str) -> None:
    where = directory / "keys"
    match kind:
        case "link to a directory":
            (directory.parent / "elsewhere").mkdir()
            where.symlink_to(directory.parent / "elsewhere")
        case "dangling link":
            where.symlink_to(directory.parent / "nowhere")
        case "file":
            where.touch()
    with pytest.raises(ConfigurationError):
        listen_for(account(None), sockets.keys_path(directory))
    assert not any(directory.parent.glob("**/agent.sock"))


def test_stale_socket_is_removed(directory: Path) -> None:
    path = sockets.keys_path(directory)
    listen_for(account(None), path).close()
    assert path.exists()
    with listen_for(account(None), path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_socket_of_a_running_agent_is_left_alone(directory: Path) -> None:
    path = sockets.keys_path(directory)
    with listen_for(account(None), path):
        before = path.stat().st_ino
        with refusal(f"{path}: another agent is running there (see `sshaft agent status`)"):
            listen_for(account(None), path)
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
        with refusal(f"{path}: another agent is running there (see `sshaft agent status`)"):
            listen_for(account(None), path)
        assert path.exists()
        for client in clients:
            client.close()


@pytest.mark.parametrize(("kind", "why"), [("directory", "Is a directory"), ("link", "Address already in use")])
def test_directory_or_link_in_place_of_a_socket_is_one_line(directory: Path, kind: str, why: str) -> None:
    path = sockets.status_path(directory)
    path.mkdir() if kind == "directory" else path.symlink_to("/nowhere/x")
    with refusal(f"{path}: {why}"):
        listen_for(None, path)


def test_path_too_long_for_a_socket_is_one_line(place: Path) -> None:
    path = place / ("x" * 120) / "agent.sock"
    with refusal(f"{path}: AF_UNIX path too long"):
        listen_for(account(None), path)


def test_account_that_does_not_exist_is_named() -> None:
    with refusal("no account named 'nobody-here' on this host"):
        account("nobody-here")


@pytest.mark.root
def test_account_without_a_name_has_its_uid() -> None:
    os.setegid(54322)
    os.seteuid(54321)
    try:
        assert account(None) == Account("54321", 54321, 54322)
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_accounts_are_found_by_name() -> None:
    entry, own = pwd.getpwuid(os.geteuid()), account(None)
    assert account(entry.pw_name) == own == Account(entry.pw_name, os.geteuid(), entry.pw_gid)
