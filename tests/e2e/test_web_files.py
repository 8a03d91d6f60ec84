"""Tests the files of `sshaft web` with a real sshd and its SFTP server."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from e2e.web_files import Files
from e2e.web_site import WebSite, web_site

from sshaft_demo.place import Place

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
MIB = 1024 * 1024
CONTENT = os.urandom(3 * MIB + 5)


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with Place() as place, web_site(place, limits={"upload_bytes": 4 * 1024 * MIB, "transfers_per_person": 3}) as site:
        yield site


@pytest.fixture(scope="module")
def terminal(site: WebSite) -> Files:
    """One terminal for most tests: a person cannot open many in a short time."""
    return Files.of(site)


@pytest.fixture
def files(terminal: Files) -> Files:
    return terminal.elsewhere()


def events(site: WebSite, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in site.place.log("web").splitlines() if line.startswith("{")]
    return [each for each in lines if each["event"] == name]


def memory(site: WebSite) -> int:
    """Returns the bytes of memory of the service, at their highest."""
    text = Path(f"/proc/{site.web.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def make_huge(files: Files, size: int) -> None:
    """Makes the file `huge`, which takes no space on the disk."""
    with (files.folder / "huge").open("wb") as file:
        file.truncate(size)


def test_folder_is_listed(files: Files) -> None:
    (files.folder / "notes.txt").write_bytes(b"12345")
    (files.folder / "sub").mkdir()
    (files.folder / "link").symlink_to("notes.txt")
    body = files.list().json()
    assert body["path"] == str(files.folder)
    found = {each["name"]: (each["type"], each["size"], each["target"]) for each in body["entries"]}
    assert found == {"sub": ("folder", None, None), "notes.txt": ("file", 5, None), "link": ("link", 5, "file")}
    assert not body["more"]


def test_home_folder_is_the_first_one(files: Files) -> None:
    passwd = (line.split(":") for line in (files.site.place.directory / "passwd").read_text().splitlines())
    homes = {fields[0]: fields[5] for fields in passwd}
    assert files.list("").json()["path"] == homes[files.site.place.person]


def test_file_is_downloaded_as_an_attachment(files: Files) -> None:
    (files.folder / "page.html").write_bytes(b"<script>alert(1)</script>")
    answer = files.get("page.html")
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["Content-Disposition"] == "attachment; filename=\"page.html\"; filename*=UTF-8''page.html"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("name", ["Žluť 漢字.txt", b"caf\xe9", "a\nb", "a\u202eb", "x" * 255, "a+b %41&c=d#e?", "..."])
def test_file_with_a_strange_name_is_listed_and_downloaded(files: Files, name: str | bytes) -> None:
    Path(os.fsdecode(os.fsencode(files.folder) + b"/" + os.fsencode(name))).write_bytes(b"content")
    (entry,) = files.list().json()["entries"]
    assert entry["name"].isprintable()
    url = f"{files.url()[: files.url().index('?')]}?path={files.list().json()['at']}/{entry['at']}"
    answer = files.browser.http.get(url, timeout=40)
    assert answer.content == b"content"
    assert answer.headers["Content-Disposition"].isprintable()


def test_download_goes_on_where_it_was_cut(files: Files) -> None:
    (files.folder / "file").write_bytes(CONTENT)
    os.utime(files.folder / "file", (1000, 1000))
    whole = files.get("file")
    assert whole.content == CONTENT
    rest = files.get("file", **{"Range": "bytes=1000000-", "If-Range": whole.headers["ETag"]})
    assert (rest.status_code, rest.content) == (206, CONTENT[1000000:])
    assert rest.headers["Content-Range"] == f"bytes 1000000-{len(CONTENT) - 1}/{len(CONTENT)}"
    os.utime(files.folder / "file", (2000, 2000))
    other = files.get("file", **{"Range": "bytes=1000000-", "If-Range": whole.headers["ETag"]})
    assert (other.status_code, other.content) == (200, CONTENT)


def test_range_after_the_end_is_refused(files: Files) -> None:
    (files.folder / "file").write_bytes(b"abc")
    answer = files.get("file", Range="bytes=3-")
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */3")


def test_head_of_a_download_has_no_body(files: Files) -> None:
    (files.folder / "file").write_bytes(b"abc")
    answer = files.browser.http.head(files.url("file"), timeout=40)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "3", b"")


def test_empty_file_is_downloaded(files: Files) -> None:
    (files.folder / "file").touch()
    assert (files.get("file").status_code, files.get("file").content) == (200, b"")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("missing", 404, "no_such_file"), ("folder", 409, "not_a_file"), ("fifo", 409, "not_a_file"),
     ("secret", 403, "permission_denied"), ("circle", 404, "no_such_file")],
)  # fmt: skip
def test_what_cannot_be_downloaded_is_refused_in_one_sentence(files: Files, kind: str, status: int, code: str) -> None:
    match kind:
        case "folder":
            (files.folder / kind).mkdir()
        case "fifo":
            os.mkfifo(files.folder / kind)
        case "circle":
            (files.folder / kind).symlink_to(kind)
        case "secret":
            if not files.site.place.accounts.separate:
                pytest.skip("needs another account")
            (files.folder / kind).touch(0o600)
    for answer in (files.get(kind), files.look(kind)):
        assert (answer.status_code, answer.json()["error"]) == (status, code)
        assert kind in answer.json()["message"]


def test_file_is_uploaded_in_chunks(files: Files) -> None:
    assert files.put("new", 0, len(CONTENT), CONTENT[:MIB]).json() == {"size": MIB}
    assert files.put("new", MIB, len(CONTENT), CONTENT[MIB:]).json() == {"size": len(CONTENT)}
    assert (files.folder / "new").read_bytes() == CONTENT
    assert os.listdir(files.folder) == ["new"]  # noqa: PTH208
    if files.site.place.accounts.separate:
        assert (files.folder / "new").stat().st_uid != 0


def test_upload_goes_on_after_the_network_was_lost(files: Files) -> None:
    files.put("new", 0, len(CONTENT), CONTENT[:MIB])
    cut(files, "new", MIB, CONTENT[MIB : 2 * MIB])
    assert not (files.folder / "new").exists()
    assert files.put("new", MIB, len(CONTENT), CONTENT[MIB:]).json() == {"size": len(CONTENT)}
    assert (files.folder / "new").read_bytes() == CONTENT


def test_upload_that_is_sent_again_ends_the_first_try(files: Files) -> None:
    """A lost network leaves the first request open at the server."""
    with requesting(files, files.url("new", offset=0, total=100, upload=files.upload), b"abc", length=100):
        time.sleep(0.3)
        start = time.monotonic()
        assert files.put("new", 0, 100, b"x" * 100).json() == {"size": 100}
        assert time.monotonic() - start < 5
    assert (files.folder / "new").read_bytes() == b"x" * 100


def test_last_chunk_may_be_sent_twice(files: Files) -> None:
    files.put("new", 0, 3, b"abc")
    assert files.put("new", 0, 3, b"abc").json() == {"size": 3}


def test_existing_file_is_replaced_only_on_demand(files: Files) -> None:
    (files.folder / "file").write_bytes(b"old")
    answer = files.put("file", 0, 3, b"new")
    assert (answer.status_code, answer.json()["error"]) == (409, "exists")
    assert (files.folder / "file").read_bytes() == b"old"
    assert files.put("file", 0, 3, b"new", replace=1).status_code == 200
    assert (files.folder / "file").read_bytes() == b"new"


@pytest.mark.root
def test_replaced_file_gives_another_group_no_rights(files: Files) -> None:
    """Only the members of a group can give it a file. Here root is the group, and alice is no member."""
    (files.folder / "file").touch()
    (files.folder / "file").chmod(0o664)
    assert files.put("file", 0, 3, b"new", replace=1).status_code == 200
    assert (files.folder / "file").stat().st_mode & 0o777 == 0o604


def test_cancelled_upload_is_removed(files: Files) -> None:
    files.put("new", 0, 6, b"abc")
    assert files.delete("new", 6).status_code == 204
    assert not list(files.folder.iterdir())


def test_unfinished_upload_is_removed_at_the_end_of_the_terminal(site: WebSite) -> None:
    files = Files.of(site)
    files.put("new", 0, 6, b"abc")
    assert len(list(files.folder.iterdir())) == 1
    assert files.browser.post(f"/api/terminals/{files.terminal}/close").status_code == 204
    assert files.page.wait_for_end() == 4002
    wait_until(lambda: not list(files.folder.iterdir()))


def test_wrong_offset_names_the_size(files: Files) -> None:
    files.put("new", 0, 6, b"abc")
    answer = files.put("new", 5, 6, b"f")
    assert (answer.status_code, answer.json()["error"], answer.json()["size"]) == (409, "wrong_offset", 3)


def test_upload_above_the_limit_is_refused(files: Files) -> None:
    answer = files.put("new", 0, 4 * 1024 * MIB + 1, b"x")
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


@pytest.mark.parametrize("name", ["..", ".", "a\nb", "\x1b[2J", "a\u202eb", "x" * 256])
def test_upload_of_a_deceiving_name_is_refused(files: Files, name: str) -> None:
    url = files.url("NAME", offset=0, total=1, upload=files.upload).replace("NAME", requests.utils.quote(name))
    answer = files.browser.http.put(url, data=b"x", headers={"Origin": files.browser.url}, timeout=40)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_name")
    assert answer.json()["message"].isprintable()
    assert not list(files.folder.iterdir())


@pytest.mark.parametrize(
    "query",
    ["", "path=a", "path=%00", "path=%2Fa&path=%2Fb&offset=0&total=1", "path=/a&total=1", "path=%ff&offset=x",
     "path=/a&offset=-1&total=1", "path=/a&offset=0&total=1e9"],
)  # fmt: skip
def test_upload_without_its_facts_is_refused(files: Files, query: str) -> None:
    url = f"{files.browser.url}/terminals/{files.terminal}/file?{query}&upload={files.upload}"
    answer = files.browser.http.put(url, data=b"x", headers={"Origin": files.browser.url}, timeout=40)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", ""])
def test_foreign_page_cannot_upload_or_remove(files: Files, origin: str) -> None:
    assert files.put("new", 0, 1, b"x", origin=origin).status_code == 403
    assert files.delete("new", 1, origin=origin).status_code == 403
    assert not list(files.folder.iterdir())


def test_another_person_finds_no_terminal(files: Files) -> None:
    (files.folder / "file").write_bytes(b"abc")
    other = Files(files.site, files.folder, files.site.browser("mallory"), files.terminal, files.page)
    answers = [other.list(), other.get("file"), other.look("file"), other.put("new", 0, 1, b"x"), other.delete("a", 1)]
    assert [each.status_code for each in answers] == [404] * 5
    unknown = Files(files.site, files.folder, other.browser, "unknown", files.page).list()
    assert answers[0].text == unknown.text
    assert not (files.folder / "new").exists()


def test_nobody_is_signed_in_without_a_cookie(files: Files) -> None:
    url = files.url("file")
    assert requests.get(url, timeout=40).status_code == 401
    assert requests.put(url, data=b"x", headers={"Origin": files.browser.url}, timeout=40).status_code == 401


def test_terminal_that_has_ended_has_no_files(site: WebSite) -> None:
    files = Files.of(site)
    files.browser.post(f"/api/terminals/{files.terminal}/close")
    assert files.list().status_code == 404


def test_transfers_of_one_person_have_a_limit(files: Files) -> None:
    make_huge(files, 1024 * MIB)
    slow = [files.browser.http.get(files.url("huge"), stream=True, timeout=40) for _ in range(3)]
    answer = files.get("huge")
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_transfers")
    assert files.put("new", 0, 1, b"x").status_code == 429
    assert files.list().status_code == 200
    for each in slow:
        each.close()
    wait_until(lambda: files.put("new", 0, 1, b"x").status_code == 200)


def test_several_files_are_downloaded_at_once_while_the_shell_goes_on(files: Files) -> None:
    for number in range(3):
        (files.folder / str(number)).write_bytes(CONTENT[number:])
    answers = [files.browser.http.get(files.url(str(number)), stream=True, timeout=40) for number in range(3)]
    files.page.type("echo it is $((40 + 2))\n")
    assert "it is 42" in files.page.wait_for("it is 42")
    assert [each.content for each in answers] == [CONTENT[number:] for number in range(3)]


@pytest.mark.slow
def test_memory_stays_flat_with_a_gigabyte_each_way(files: Files) -> None:
    size, chunk = 1024 * MIB, bytes(64 * MIB)
    make_huge(files, size)
    files.get("huge", Range="bytes=0-99999999")
    before = memory(files.site)
    with files.browser.http.get(files.url("huge"), stream=True, timeout=60) as answer:
        assert sum(len(block) for block in answer.iter_content(MIB)) == size
    for offset in range(0, size, len(chunk)):
        assert files.put("copy", offset, size, chunk).status_code == 200
    assert (files.folder / "copy").stat().st_size == size
    assert memory(files.site) - before < 16 * MIB


def test_slow_reader_does_not_fill_the_memory(files: Files) -> None:
    make_huge(files, 1024 * MIB)
    before = memory(files.site)
    with requesting(files, files.url("huge"), method="GET"):
        time.sleep(2)
        assert memory(files.site) - before < 16 * MIB


def test_reader_that_goes_away_closes_the_file(files: Files) -> None:
    make_huge(files, 1024 * MIB)
    with requesting(files, files.url("huge"), method="GET"):
        wait_until(lambda: is_open(files.folder / "huge"))
    wait_until(lambda: not is_open(files.folder / "huge"))
    wait_until(lambda: events(files.site, "file.downloaded")[-1]["folder"] == str(files.folder))
    assert not events(files.site, "file.downloaded")[-1]["complete"]


def test_sender_that_goes_away_closes_the_file(files: Files) -> None:
    url = files.url("new", offset=0, total=100, upload=files.upload)
    part = files.folder / f".new.{files.upload}.sshaft-part"
    with requesting(files, url, b"abc", length=100):
        wait_until(part.exists)
        assert is_open(part)
    wait_until(lambda: not is_open(part))


def test_end_of_the_terminal_ends_its_transfers(site: WebSite) -> None:
    files = Files.of(site)
    make_huge(files, 1024 * MIB)
    answer = files.browser.http.get(files.url("huge"), stream=True, timeout=40)
    files.browser.post(f"/api/terminals/{files.terminal}/close")
    with pytest.raises(requests.RequestException):
        for _ in answer.iter_content(MIB):
            pass


def test_file_that_becomes_shorter_ends_the_download(files: Files) -> None:
    make_huge(files, 256 * MIB)
    answer = files.browser.http.get(files.url("huge"), stream=True, timeout=40)
    os.truncate(files.folder / "huge", MIB)
    with pytest.raises(requests.RequestException):
        for _ in answer.iter_content(MIB):
            pass
    wait_until(lambda: events(files.site, "file.downloaded")[-1].get("reason") == "changed")


def test_transfers_are_in_the_log(files: Files) -> None:
    files.put("new", 0, 3, b"abc")
    evil = files.folder / "a\x1b[2J\nb\\"
    evil.write_bytes(b"abcd")
    files.get(evil.name)
    wait_until(lambda: events(files.site, "file.downloaded")[-1]["folder"] == str(files.folder))
    uploaded, downloaded = events(files.site, "file.uploaded")[-1], events(files.site, "file.downloaded")[-1]
    assert (uploaded["file"], uploaded["size"], uploaded["folder"]) == ("new", 3, str(files.folder))
    assert downloaded["file"] == "a\\x1b[2J\\x0ab\\\\"
    assert (downloaded["bytes"], downloaded["complete"], downloaded["start"]) == (4, True, 0)
    for each in (uploaded, downloaded):
        assert each["name"] == files.site.place.person
        assert (each["target"], each["account"]) == ("host", files.site.place.person)
        assert each["client_ip"] == "127.0.0.1"
        assert files.terminal not in json.dumps(each)


@pytest.mark.parametrize(
    ("sshd", "code"),
    [("", "no_sftp"), ("Subsystem sftp /nowhere/sftp-server\n", "no_sftp"),
     ("Subsystem sftp internal-sftp\nMaxSessions 1\n", "no_more_sessions")],
)  # fmt: skip
def test_host_without_a_working_sftp_is_named_in_one_sentence(sshd: str, code: str) -> None:
    with Place() as place, web_site(place, f"{sshd}PubkeyAuthentication yes\n") as site:
        files = Files.of(site)
        answer = files.list()
        assert answer.json()["error"] == code
        assert answer.json()["message"].endswith(".")
        files.page.type("echo it is $((40 + 2))\n")
        assert "it is 42" in files.page.wait_for("it is 42"), "the terminal goes on"


@pytest.mark.skipif(not SFTP_SERVER.exists(), reason="this sshd has its SFTP server elsewhere")
def test_sftp_server_that_the_shell_starts_works_too() -> None:
    with Place() as place, ExitStack() as stack:
        # sshd gives a session no environment of its own, and the SFTP server looks its account up.
        accounts = " ".join(f"{name}={value}" for name, value in place.environment().items() if name != "PATH")
        sshd = f"Subsystem sftp {SFTP_SERVER}\nSetEnv {accounts}\nPubkeyAuthentication yes\n"
        files = Files.of(stack.enter_context(web_site(place, sshd)))
        assert files.put("new", 0, len(CONTENT), CONTENT).status_code == 200
        assert files.get("new").content == CONTENT
        assert [each["name"] for each in files.list().json()["entries"]] == ["new"]


@contextmanager
def requesting(files: Files, url: str, body: bytes = b"", length: int = 0, method: str = "PUT") -> Iterator[None]:
    """Sends a request by hand, and neither reads the answer nor sends the rest."""
    cookies = "; ".join(f"{each.name}={each.value}" for each in files.browser.http.cookies)
    origin = files.browser.url
    path = url.removeprefix(origin)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nCookie: {cookies}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", files.site.web.port)) as connection:
        connection.sendall(head.encode() + body)
        yield


def cut(files: Files, name: str, offset: int, body: bytes) -> None:
    """Sends a part of a chunk, then closes the connection."""
    url = files.url(name, offset=offset, total=len(CONTENT), upload=files.upload)
    with requesting(files, url, body, length=len(CONTENT) - offset):
        time.sleep(0.3)


def is_open(path: Path) -> bool:
    """Whether a process has the file open."""
    for each in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if each.readlink() == path:
                return True
    return False


def wait_until(holds: Any, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(IndexError):
            if holds():
                return
        assert time.monotonic() < end
        time.sleep(0.1)
