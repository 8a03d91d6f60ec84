"""Tests that text files are read as people write them, and that files are replaced as a whole."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from sshaft import files


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_new_file_has_its_mode_whatever_the_umask_is(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        files.replace(tmp_path / "f", b"new", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "f").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode
    assert names(tmp_path) == ["f"]


def test_file_is_for_its_owner_only_while_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o644)
    with files.replacing(tmp_path / "f") as file:
        file.write(b"new")
        assert stat.S_IMODE((tmp_path / "f.new").stat().st_mode) == 0o600
        assert (tmp_path / "f").read_bytes() == b"old"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with suppress(KeyboardInterrupt), files.replacing(tmp_path / "f") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_reader_that_has_the_old_file_open_reads_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with (tmp_path / "f").open("rb") as reader:
        files.replace(tmp_path / "f", b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("name", ["f", "f.new"])
def test_symbolic_link_is_replaced_and_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "target").write_bytes(b"a stranger's")
    (tmp_path / name).symlink_to(tmp_path / "target")
    files.replace(tmp_path / "f", b"new")
    assert (tmp_path / "target").read_bytes() == b"a stranger's"
    assert not (tmp_path / "f").is_symlink()
    assert names(tmp_path) == ["f", "target"]


@pytest.mark.root
@pytest.mark.parametrize(("keep_owner", "owner"), [(True, (1234, 2345)), (False, (os.geteuid(), os.getegid()))])
def test_owner_of_the_old_file_is_kept_only_on_demand(tmp_path: Path, keep_owner: bool, owner: tuple[int, int]) -> None:
    (tmp_path / "f").write_bytes(b"old")
    os.chown(tmp_path / "f", 1234, 2345)
    files.replace(tmp_path / "f", b"new", keep_owner=keep_owner)
    status = (tmp_path / "f").stat()
    assert (status.st_uid, status.st_gid) == owner


def test_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.replace(tmp_path / "no" / "f", b"new", keep_owner=True)


# --- text


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-be"])
def test_text_of_every_common_program_is_the_same_text(encoding: str, tmp_path: Path) -> None:
    """Case bom_utf16: Notepad writes a byte order mark, and the `>` of Windows PowerShell writes UTF-16."""
    file = tmp_path / "text"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file.write_bytes(f"{mark}Grüße\r\nsecond\rthird\n".encode(encoding))
    assert files.read_text(file) == "Grüße\nsecond\nthird\n"


@pytest.mark.parametrize("data", [b"Gr\xfc\xdfe", b"a\0b", "abc".encode("utf-16-le"), b"\xff\xfea"])
def test_data_that_is_no_text_is_refused_with_advice(data: bytes) -> None:
    with pytest.raises(files.NotTextError, match="save it as UTF-8"):
        files.decode_text(data)


def test_comment_in_another_encoding_may_be_replaced() -> None:
    assert files.decode_text(b"key Gr\xfc\xdfe", errors="replace") == "key Gr\ufffd\ufffde"
