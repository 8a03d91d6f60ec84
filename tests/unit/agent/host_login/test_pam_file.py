"""Tests the lines that `sshaft host enable` puts into a PAM service file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft.errors import ConfigurationError
from sshaft_agent.host_login.commands import pam_file
from sshaft_agent.host_login.commands.pam_file import Arguments

DEBIAN = b"# PAM for sshd\n\n@include common-auth\naccount required pam_nologin.so\n@include common-account\n"
RED_HAT = (
    b"#%PAM-1.0\nauth       substack     password-auth\nauth  include postlogin\naccount required pam_sepermit.so\n"
)
LINE = b"auth [success=done ignore=ignore default=die] pam_sshaft.so timeout=280\n"
ACCOUNT = b"account [success=ok ignore=ignore default=bad] pam_sshaft.so\n"
SESSION = b"session optional pam_sshaft.so\n"


def written(text: bytes, *, require_approval: bool = False) -> bytes:
    return pam_file.with_module(text, Arguments(280), require_approval=require_approval)


def block(lines: bytes) -> bytes:
    return b"# sshaft: begin. `sshaft host disable` removes these lines.\n" + lines + b"# sshaft: end\n"


@pytest.mark.parametrize(
    ("text", "before"),
    [
        (DEBIAN, b"# PAM for sshd\n\n"),
        (RED_HAT, b"#%PAM-1.0\n"),
        (b"AUTH required pam_unix.so\n", b""),
        (b"  -auth required pam_unix.so", b""),
        (b"session required a.so\nauth required pam_unix.so\n", b"session required a.so\n"),
        (b"account required a.so\nauth required pam_unix.so\n", b""),
        (
            b"session required a.so \\\nauth required b.so\nauth x c.so\n",
            b"session required a.so \\\nauth required b.so\n",
        ),
        (b"# no rule \\\nauth required b.so\n", b"# no rule \\\n"),
        (b"auth \\\n required b.so\n", b""),
    ],
    ids=["Debian", "Red Hat", "capitals", "silent", "session", "account first", "continued", "comment", "two lines"],
)
def test_module_stands_before_the_first_rule(text: bytes, before: bytes) -> None:
    assert written(text) == before + block(LINE + SESSION) + text[len(before) :]
    assert written(text, require_approval=True) == before + block(LINE + ACCOUNT + SESSION) + text[len(before) :]


@given(
    st.lists(
        st.sampled_from([b"auth required a.so", b"@include x", b"account a b", b"#", b"\\", b"\r\n", b"\n", b"\xff"])
    )
)
def test_other_bytes_stay(parts: list[bytes]) -> None:
    text = b"".join(parts)
    try:
        changed = written(text, require_approval=True)
    except ConfigurationError:
        return
    assert pam_file.has_module(changed)
    assert pam_file.without_module(changed) == text


@pytest.mark.parametrize("text", [b"", b"# auth required pam_unix.so\n", b"session required pam_unix.so\n"])
def test_file_that_lets_nobody_in_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match="no auth line"):
        written(text)


@pytest.mark.parametrize(
    "text",
    [
        b"auth required pam_sshaft.so\n",
        b"auth \\\n required /lib/security/pam_sshaft.so\n",
        written(DEBIAN) + b"account required pam_sshaft.so\n",
        written(DEBIAN).replace(b"# sshaft: end", b""),
        written(DEBIAN).replace(b"# sshaft: begin", b""),
    ],
    ids=["alone", "continued", "a second", "no end", "no begin"],
)
def test_lines_that_another_hand_has_written_are_refused(text: bytes) -> None:
    assert pam_file.has_module(text)
    with pytest.raises(ConfigurationError, match=r"take it out by hand: (?:auth|account) .*pam_sshaft\.so"):
        pam_file.without_module(text)


def test_marks_without_lines_are_no_module() -> None:
    left = b"# sshaft: begin\n" + DEBIAN
    assert not pam_file.has_module(left)
    assert pam_file.without_module(left) == left


def test_comment_about_the_module_is_no_module() -> None:
    text = DEBIAN + b"# auth required pam_sshaft.so\n"
    assert not pam_file.has_module(text)
    assert pam_file.without_module(text) == text


def test_arguments_follow_the_module() -> None:
    arguments = Arguments(100, "/run/x/agent.sock", ("admin", "ops"))
    text = pam_file.with_module(DEBIAN, arguments, require_approval=True)
    assert b"pam_sshaft.so socket=/run/x/agent.sock timeout=100 break_glass=admin,ops\n" in text
    assert b"default=bad] pam_sshaft.so socket=/run/x/agent.sock break_glass=admin,ops\n" in text
