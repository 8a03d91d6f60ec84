"""Tests that names of files are read from URLs and shown, sent and made safely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_web.files import names

UPLOAD = "0123456789abcdef" * 2


@given(st.binary(max_size=300).filter(lambda path: b"\0" not in path))
def test_every_path_survives_the_url(path: bytes) -> None:
    text = names.quoted(path)
    assert text.isascii()
    assert not set(text) & set("&+#?\" '<>")
    assert names.unquoted(text) == path


@given(st.binary(max_size=300))
def test_every_name_is_shown_as_one_printable_line(name: bytes) -> None:
    assert names.shown(name).isprintable()


@given(st.binary(max_size=300))
def test_every_name_makes_a_header_that_is_safe(name: bytes) -> None:
    header = names.content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert header.startswith('attachment; filename="')
    assert "\\" not in header
    assert "/" not in header


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        (b"plain.txt", "plain.txt", "plain.txt"),
        ("Žluť.txt".encode(), "_lu_.txt", "%C5%BDlu%C5%A5.txt"),
        (b'a"b%41;c', "a_b_41;c", "a%22b%2541%3Bc"),
        (b"line\r\nSet-Cookie: a=b", "line__Set-Cookie_ a=b", "line__Set-Cookie%3A%20a%3Db"),
        ("invoice\u202efdp.exe".encode(), "invoice_fdp.exe", "invoice_fdp.exe"),
        (b"..\\..\\x", ".._.._x", ".._.._x"),
        (b"caf\xe9", "caf_", "caf_"),
        (b"", "_", "_"),
    ],
)
def test_a_file_is_saved_under_the_name_that_was_shown(name: bytes, plain: str, encoded: str) -> None:
    assert names.content_disposition(name) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


@pytest.mark.parametrize("text", ["a%00b", "%00", "a" * 4097])
def test_a_path_that_no_file_has_is_refused(text: str) -> None:
    assert names.unquoted(text) is None


def test_a_plus_sign_is_no_blank() -> None:
    assert names.unquoted("c++%20notes") == b"c++ notes"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", b"x" * 1025])
def test_a_name_that_is_none_is_not_listed(name: bytes) -> None:
    assert not names.is_foreign_name(name)


@pytest.mark.parametrize("name", [b"a", b"...", b"\xff", b"\n", b"-rf", b"a\\b", b"x" * 1024])
def test_a_strange_name_that_a_host_can_have_is_listed(name: bytes) -> None:
    assert names.is_foreign_name(name)


@pytest.mark.parametrize(
    "name",
    [b"", b".", b"..", b"a/b", b"a\0b", b"a\nb", b"\x1b]0;x", b"a\x7f", "a\u2028b".encode(), "a\u202eb".encode(),
     "a\u2066b".encode(), "a\u0085b".encode(), b"\xff", b"x" * 256],
)  # fmt: skip
def test_a_name_that_could_deceive_is_not_uploaded(name: bytes) -> None:
    assert not names.is_uploadable(name)


@pytest.mark.parametrize(
    "name",
    ["notes.txt", ".bashrc", "a b", "-rf", "Žluť", "שלום", "a\\b", "3.45\u202fPM.png", "👩\u200d💻", "x" * 255],
)
def test_an_ordinary_name_is_uploaded(name: str) -> None:
    assert names.is_uploadable(name.encode())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_the_name_of_a_part_is_hidden_and_fits(name: str) -> None:
    part = names.part_name(name.encode()[:255], UPLOAD)
    assert len(part) <= 255
    assert part.startswith(b".")
    assert part.endswith(f".{UPLOAD}.sshaft-part".encode())
    part.decode()


@pytest.mark.parametrize("text", ["", "../x", UPLOAD.upper(), UPLOAD[:-1], UPLOAD + "0", UPLOAD + "\n"])
def test_the_number_of_an_upload_is_32_hexadecimal_digits(text: str) -> None:
    assert names.is_upload(UPLOAD)
    assert not names.is_upload(text)


@pytest.mark.parametrize(
    ("folder", "path"), [(b"/", b"/a"), (b"/home/x", b"/home/x/a"), (b"/home/x/", b"/home/x/a"), (b"", b"/a")]
)
def test_a_name_is_joined_to_its_folder(folder: bytes, path: bytes) -> None:
    assert names.joined(folder, b"a") == path
