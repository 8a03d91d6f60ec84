import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft.errors import ConfigurationError
from sshaft.host.nsswitch import Source, sources, with_ours, without_ours

FILES, SYSTEMD, OURS = Source("files"), Source("systemd"), Source("sshaft")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"passwd: files systemd\n", (FILES, SYSTEMD)),
        (b"  passwd :files\tsystemd # sss\r\ngroup: files\n", (FILES, SYSTEMD)),
        (b"#passwd: sss\ngroup: sss\n", (FILES,)),
        (b"passwd: sss\npasswd: files\n", (FILES,)),
        (b"passwd: files [SUCCESS=return] systemd", (FILES, SYSTEMD)),
        (b"passwd: files [NOTFOUND=return] systemd", (Source("files", is_end=True), SYSTEMD)),
        (b"passwd: files[unavail=continue notfound=Return]systemd", (Source("files", is_end=True), SYSTEMD)),
        (b"passwd: files systemd [!UNAVAIL=return]", (FILES, Source("systemd", is_end=True))),
        (b"passwd: files [!NOTFOUND=return] systemd", (FILES, SYSTEMD)),
    ],
)
def test_sources_are_those_that_libc_asks(text: bytes, found: tuple[Source, ...]) -> None:
    assert sources(text) == found


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (b"passwd: files sshaft sss\n", b"passwd: files sss\n"),
        (b"passwd: files sshaft [NOTFOUND=return] sss\n", b"passwd: files sss\n"),
        (b"passwd:sshaft files\n", b"passwd: files\n"),
        (b"passwd: files sshaft\r\n", b"passwd: files\r\n"),
        (b"passwd: sshaft2 my-sshaft # sshaft\ngroup: sshaft", b"passwd: sshaft2 my-sshaft # sshaft\ngroup: sshaft"),
    ],
)  # fmt: skip
def test_only_our_source_of_accounts_is_taken_out(text: bytes, left: bytes) -> None:
    assert without_ours(text) == left


SPACE = st.text(" \t", max_size=3)
WORDS = st.lists(st.sampled_from(["files", "systemd", "sss", "[SUCCESS=return]", "[UNAVAIL=return]"]), min_size=1)
LINES = st.lists(st.sampled_from(["", "# passwd: x", "group: files sshaft", "hosts: files"]))


@given(SPACE, WORDS, st.sampled_from(["", " # sshaft", "\t#"]), LINES, LINES, st.sampled_from(["\n", "\r\n"]))
def test_what_is_put_in_is_taken_out_to_the_byte(
    space: str, words: list[str], comment: str, before: list[str], after: list[str], end: str
) -> None:
    line = f"{space}passwd:{space}{(space or ' ').join(words)}{space}{comment}"
    text = end.join([*before, line, *after]).encode()
    changed = with_ours(text)
    assert without_ours(changed) == text
    assert sources(changed) == (*sources(text), OURS)


@pytest.mark.parametrize("text", [b"", b"passwd: files\npasswd: files\n", b"passwd: files [NOTFOUND=return]\n"])
def test_line_behind_which_ours_would_not_be_asked_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("/etc/nsswitch.conf")):
        with_ours(text)
