"""Tests how text is quoted for each shell. A real POSIX shell reads it back; the others are tested by their rules."""

import re
import string
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_identity.pages.shells import Shell, quoted, sign_command

PRINTABLE = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=30)


@given(st.lists(PRINTABLE.filter(lambda text: "\0" not in text), min_size=1, max_size=20))
def test_posix_shell_reads_the_text_back(texts: list[str]) -> None:
    line = "printf '%s\\n' " + " ".join(quoted(text, Shell.POSIX) for text in texts)
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=20)
    assert done.stdout.decode().split("\n")[:-1] == texts


@given(PRINTABLE)
def test_powershell_reads_the_text_back(text: str) -> None:
    """PowerShell, about_Quoting_Rules: two quotes within single quotes are one. Curly quotes count as straight ones."""
    line = quoted(text, Shell.POWERSHELL)
    assert (line[0], line[-1]) == ("'", "'")
    inner = line[1:-1]
    assert re.fullmatch("(?:[^'\u2018\u2019\u201a\u201b]|(['\u2018\u2019\u201a\u201b])\\1)*", inner)
    assert re.sub("(['\u2018\u2019\u201a\u201b])\\1", r"\1", inner) == text


@given(st.text(string.ascii_letters + "&|<>()^ '@.+-", max_size=30))
def test_cmd_reads_the_text_back(text: str) -> None:
    """cmd.exe, `help cmd`: a caret takes its meaning from the next character."""
    line = quoted(text, Shell.CMD)
    assert re.sub(r"\^(.)", r"\1", line) == text
    assert not re.search(r"(?<!\^)(?:\^\^)*[&|<>()]", line)


@pytest.mark.parametrize("text", ["%PATH%", 'a"b', "hello!"])
def test_cmd_gets_no_text_that_it_would_change(text: str) -> None:
    with pytest.raises(ValueError, match="cmd"):
        quoted(text, Shell.CMD)


@pytest.mark.parametrize("shell", Shell)
@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x1b[2J", "a\0", "\u202eb"])
def test_no_shell_gets_a_control_character(shell: Shell, text: str) -> None:
    with pytest.raises(ValueError, match="control"):
        quoted(text, shell)


@pytest.mark.parametrize(
    ("shell", "command"),
    [
        (Shell.POSIX, "echo 'ns alice 0c' | ssh-keygen -Y sign -n ns -f ~/.ssh/id_ed25519"),
        (Shell.POWERSHELL, "'ns alice 0c' | ssh-keygen -Y sign -n ns -f \"$HOME\\.ssh\\id_ed25519\""),
        (Shell.CMD, 'echo ns alice 0c| ssh-keygen -Y sign -n ns -f "%USERPROFILE%\\.ssh\\id_ed25519"'),
    ],
)
def test_command_that_signs(shell: Shell, command: str) -> None:
    assert sign_command("ns alice 0c", "ns", shell) == command
