"""Tests that the doctor reads PAM stacks, and decides by them, as libpam does."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshaft_agent.host_login.commands import libpam
from sshaft_doctor.host_login import pam_stack
from sshaft_doctor.host_login.pam_stack import RESULTS, Line

pytestmark = pytest.mark.slow

_USED = ("success", "auth_err", "authinfo_unavail", "user_unknown", "new_authtok_reqd", "ignore", "module_unknown")
_CONTROLS = st.one_of(
    st.sampled_from(["required", "requisite", "sufficient", "optional"]),
    st.dictionaries(
        st.sampled_from([*_USED, "default"]),
        st.sampled_from(["ok", "done", "bad", "die", "ignore", "reset", "1", "2", "3"]),
        min_size=1,
    ).map(lambda actions: f"[{' '.join(f'{name}={action}' for name, action in actions.items())}]"),
)
_MODULES = st.tuples(_CONTROLS, st.sampled_from(_USED)).map(lambda two: f"auth {two[0]} pam_debug.so auth={two[1]}\n")
# At an @include of a missing file, libpam starts no login at all.
_INCLUDES = st.sampled_from(["first", "second", "nowhere"]).flatmap(
    lambda name: st.sampled_from(
        [f"auth include {name}\n", f"auth substack {name}\n", f"@include {name}\n".replace("nowhere", "first")]
    )
)
_FILES = st.lists(st.one_of(_MODULES, _MODULES, _INCLUDES), max_size=6).map("".join)


def result_of(line: Line) -> str:
    return line.argument("auth") or "perm_denied"


def status_by_libpam(folder: Path) -> str:
    """Returns the result of the service `sshd` in this folder."""
    with libpam.login_of("sshd", folder, "alice", lambda *_: None) as login:
        return RESULTS[login.authenticate()]


def write(folder: Path, **files: str) -> None:
    """Writes service files. libpam before 1.6 looks for others in /etc/pam.d, so their names are whole paths."""
    for name, text in {"other": "auth required pam_debug.so auth=auth_err\n", **files}.items():
        (folder / name).write_text(re.sub(r"(include|substack) (\w+)", rf"\1 {folder}/\2", text))


@settings(max_examples=300)
@given(top=st.lists(st.one_of(_MODULES, _INCLUDES), min_size=1, max_size=7).map("".join), first=_FILES,
       second=st.lists(_MODULES, max_size=5).map("".join))  # fmt: skip
def test_stack_has_the_result_that_libpam_gives_it(
    tmp_path_factory: pytest.TempPathFactory, top: str, first: str, second: str
) -> None:
    folder = tmp_path_factory.mktemp("pam")
    write(folder, sshd=top, first=first.replace("first", "second"), second=second)
    lines = pam_stack.read("sshd", [folder]).of("auth")
    status = pam_stack.status_of(lines, result_of)
    assert status == status_by_libpam(folder), top
    found = pam_stack.way_in(lines, lambda line: [result_of(line)])
    assert (found is not None) == (status == "success")
