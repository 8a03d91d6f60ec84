"""Tests what `sshaft host check` shows of a name that the host does not know."""

from pathlib import Path

import pytest
from fakes.unix_server import UnixServer

from sshaft import messages
from sshaft_agent.host_login.commands import first_login

RESERVED = {"uid": "70000", "gid": "70000", "home": "/home/\x1b[2J", "shell": "/bin/bash"}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (messages.encode("name", RESERVED), "an approval makes it: 70000 /home/\\x1b[2J /bin/bash\n"),
        (messages.encode("none", {}), "the agent reserves no uid for it, so sshd turns the name away:\n"),
        (b"", ""),
    ],
)
def test_answer_of_the_agent_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes, text: str
) -> None:
    with UnixServer(tmp_path / "names.sock", answer) as server:
        first_login.show_new_name("newbie", tmp_path / "names.sock")
    said = capsys.readouterr().out
    assert text in said
    assert (said == "") == (text == "")
    assert "\x1b" not in said
    assert server.asked == [("name", {"user": "newbie", "rhost": ""})]


def test_agent_is_not_asked_for_an_account_of_the_host(tmp_path: Path) -> None:
    with UnixServer(tmp_path / "names.sock", b"") as server:
        first_login.show_new_name("root", tmp_path / "names.sock")
    assert server.asked == []
