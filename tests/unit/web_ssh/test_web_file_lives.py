"""Tests what the files of a terminal have to do with its life: before it is open, while time passes, at its end."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import requests
from fakes.shell_host import ShellHost, echo
from service.web_service import WebService, web_service

from sshaft_demo.web_client import TerminalPage, WebBrowser

pytestmark = pytest.mark.slow

LIMITS = {"idle_seconds": 600, "keep_seconds": 60, "transfers_per_person": 2, "transfers": 3}
MIB = 1024 * 1024
UPLOAD = "0123456789abcdef" * 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small").write_bytes(b"content")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(512 * MIB)
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[WebService]:
    with web_service(ShellHost(folder=folder), limits=LIMITS) as service:
        yield service


def opened(service: WebService) -> tuple[WebBrowser, str, TerminalPage]:
    browser = service.browser()
    terminal = browser.open()
    page = browser.attach(terminal)
    page.wait_until("open")
    return browser, terminal, page


def get(browser: WebBrowser, terminal: str, path: str, **more: Any) -> requests.Response:
    return browser.http.get(f"{browser.url}/terminals/{terminal}/file?path={path}", timeout=20, **more)


def put(browser: WebBrowser, terminal: str, body: bytes, offset: int, total: int) -> requests.Response:
    url = f"{browser.url}/terminals/{terminal}/file?path=/new&offset={offset}&total={total}&upload={UPLOAD}"
    return browser.http.put(url, data=body, headers={"Origin": browser.url}, timeout=20)


def read(answer: requests.Response, size: int) -> int:
    """Reads so many bytes of the body."""
    return len(answer.raw.read(size))


def test_terminal_that_still_logs_in_has_no_files(folder: Path) -> None:
    with web_service(ShellHost(folder=folder, rounds=((("Password:", False),),)), limits=LIMITS) as service:
        browser = service.browser()
        terminal = browser.open()
        page = browser.attach(terminal)
        page.wait_for("Password:")
        answer = get(browser, terminal, "/small")
        assert (answer.status_code, answer.json()["error"]) == (409, "not_open")
        page.type("secret\n")
        page.wait_until("open")
        assert get(browser, terminal, "/small").content == b"content"


def test_host_without_sftp_is_named_in_one_sentence() -> None:
    with web_service(limits=LIMITS) as service:
        browser, terminal, page = opened(service)
        answer = browser.http.get(f"{browser.url}/api/terminals/{terminal}/files?path=", timeout=20)
        assert (answer.status_code, answer.json()["error"]) == (501, "no_sftp")
        assert answer.json()["message"].startswith("This host offers no file transfer: its sshd has no working sftp")
        page.type("a")
        assert "a" in page.wait_for("a"), "the terminal goes on"


def test_download_keeps_the_terminal_open_without_a_page(service: WebService) -> None:
    browser, terminal, page = opened(service)
    answer = get(browser, terminal, "/huge", stream=True)
    page.close()
    service.wait(lambda: not next(iter(service.state.terminals)).is_connected)
    for _ in range(20):
        service.pass_time(59)
        assert read(answer, 16 * MIB) == 16 * MIB
    assert len(service.state.terminals) == 1
    answer.close()
    service.wait(lambda: len(service.state.transfers) == 0)
    service.pass_time(60)
    service.wait(lambda: len(service.state.terminals) == 0)


def test_upload_counts_as_use_of_the_terminal(service: WebService) -> None:
    browser, terminal, page = opened(service)
    for offset in range(4):
        service.pass_time(599)
        assert put(browser, terminal, b"x", offset, 100).status_code == 200
    assert page.state == "open"


def left(folder: Path) -> list[str]:
    """Returns the names of unfinished uploads."""
    return [each.name for each in folder.iterdir() if each.name.endswith(".sshaft-part")]


async def ends_with_the_first_key(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    await process.stdin.read(1)


@pytest.mark.parametrize("way", ["closed", "left", "signed out", "exited"])
def test_unfinished_upload_is_removed_when_its_terminal_ends(service: WebService, folder: Path, way: str) -> None:
    service.host.shell = ends_with_the_first_key if way == "exited" else echo
    browser, terminal, page = opened(service)
    assert put(browser, terminal, b"x", 0, 100).status_code == 200
    assert left(folder) == [f".new.{UPLOAD}.sshaft-part"]
    if way == "closed":
        browser.post(f"/api/terminals/{terminal}/close")
    elif way == "signed out":
        browser.post("/sign-out")
    elif way == "exited":
        page.type("x")
    else:
        page.close()
        service.wait(lambda: not next(iter(service.state.terminals)).is_connected)
        service.pass_time(59)
        assert left(folder), "the tab can come back, and go on"
        service.pass_time(1)
    service.wait(lambda: service.host.connections == 0 and len(service.state.terminals) == 0)
    assert left(folder) == []


def test_unfinished_upload_is_removed_when_it_is_idle_while_its_terminal_is_used(
    service: WebService, folder: Path
) -> None:
    browser, terminal, page = opened(service)
    assert put(browser, terminal, b"x", 0, 100).status_code == 200
    service.pass_time(599)
    page.type("x")
    page.wait_for("x")
    assert left(folder)
    service.pass_time(1)
    assert left(folder) == []
    assert page.state == "open"
    assert put(browser, terminal, b"x", 1, 100).json()["size"] == 0
    assert put(browser, terminal, b"x" * 100, 0, 100).json() == {"size": 100}
    service.pass_time(599)
    browser.post(f"/api/terminals/{terminal}/close")
    assert (folder / "new").read_bytes() == b"x" * 100


def test_unfinished_upload_stays_when_the_host_breaks_the_connection(service: WebService, folder: Path) -> None:
    browser, terminal, page = opened(service)
    assert put(browser, terminal, b"x", 0, 100).status_code == 200
    service.host.drop_connections()
    assert page.wait_for_end() == 4002
    service.wait(lambda: len(service.state.terminals) == 0)
    assert left(folder), "nobody can remove it"


def test_end_waits_only_a_moment_for_a_host_that_does_not_remove_uploads(service: WebService) -> None:
    browser, terminal, page = opened(service)
    assert put(browser, terminal, b"x", 0, 100).status_code == 200
    service.host.is_frozen = True
    browser.post("/sign-out")
    assert page.wait_for_end() == 4001
    page.close()
    assert service.host.connections == 1
    service.wait(lambda: service.host.connections == 0)
    service.host.is_frozen = False


def test_reader_who_stands_still_does_not_keep_the_terminal(service: WebService) -> None:
    browser, terminal, page = opened(service)
    answer = get(browser, terminal, "/huge", stream=True)
    read(answer, MIB)
    service.pass_time(599)
    service.pass_time(601)
    assert page.wait_for_end() == 4002
    service.wait(lambda: len(service.state.transfers) == 0)


def test_sign_out_ends_transfers(service: WebService) -> None:
    browser, terminal, _page = opened(service)
    answer = get(browser, terminal, "/huge", stream=True)
    read(answer, MIB)
    browser.post("/sign-out")
    with pytest.raises(requests.RequestException):
        for _ in answer.iter_content(MIB):
            pass
    assert get(browser, terminal, "/small").status_code == 401
    service.wait(lambda: len(service.state.transfers) == 0)


def test_all_people_together_have_a_limit_of_transfers(service: WebService) -> None:
    people = [opened(service) for _ in range(2)]
    running = [get(browser, terminal, "/huge", stream=True) for browser, terminal, _ in [people[0], *people]]
    assert [each.status_code for each in running] == [200] * 3
    assert get(people[1][0], people[1][1], "/small").status_code == 429
    for each in running:
        each.close()
    service.wait(lambda: len(service.state.transfers) == 0)
    assert get(people[1][0], people[1][1], "/small").content == b"content"


def test_failed_request_frees_its_place(service: WebService) -> None:
    browser, terminal, _page = opened(service)
    for _ in range(5):
        assert get(browser, terminal, "/missing").status_code == 404
        assert put(browser, terminal, b"too much", 0, 3).status_code == 400
    assert len(service.state.transfers) == 0


def test_session_of_sftp_is_opened_again_after_it_ended(service: WebService) -> None:
    browser, terminal, _page = opened(service)
    assert get(browser, terminal, "/small").status_code == 200
    (open_terminal,) = service.state.terminals

    async def end() -> None:
        assert open_terminal.files is not None
        open_terminal.files.sftp.close()

    service.run(end)
    assert get(browser, terminal, "/small").content == b"content"


def test_file_of_the_service_itself_cannot_be_reached(service: WebService) -> None:
    """Every path is one of the host. Here its root is `folder`, and this is the only check of such paths."""
    browser, terminal, _page = opened(service)
    for path in (
        os.fspath(Path(__file__)),
        "/../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "/proc/self/environ",
    ):
        assert get(browser, terminal, path).status_code == 404
