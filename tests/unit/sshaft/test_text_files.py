"""Tests that text is read as the editors, shells and spreadsheets of people write it."""

from pathlib import Path

import pytest

from sshaft import text_files

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-be"])
def test_text_of_every_common_program_is_the_same_text(encoding: str, tmp_path: Path) -> None:
    """Case bom_utf16: Notepad writes a byte order mark, and the `>` of Windows PowerShell writes UTF-16."""
    file = tmp_path / "text"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file.write_bytes(f"{mark}Grüße\r\nsecond\rthird\n".encode(encoding))
    assert text_files.read(file) == "Grüße\nsecond\nthird\n"


@pytest.mark.parametrize("data", [b"Gr\xfc\xdfe", b"a\0b", "abc".encode("utf-16-le"), b"\xff\xfea"])
def test_data_that_is_no_text_is_refused_with_advice(data: bytes) -> None:
    with pytest.raises(text_files.NotTextError, match="save it as UTF-8"):
        text_files.decode(data)


def test_comment_in_another_encoding_may_be_replaced() -> None:
    assert text_files.decode(b"key Gr\xfc\xdfe", errors="replace") == "key Gr\ufffd\ufffde"
