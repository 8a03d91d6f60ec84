"""Tests what accounts.json may say, and what a request may ask for."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft import messages
from sshaft_accounts.policy import RESERVED, Policy, PolicyError, from_members, read, refusal
from sshaft_accounts.requests import Adopt, Create, Groups, Lock, Remove, RequestError, Unlock, clean_gecos, parse
from sshaft_agent.host_login.first_login import free

WIDE = Policy(uid_first=1000, uid_last=2**31 - 1)


@pytest.mark.parametrize(
    "uid",
    [0, 999, 60001, 60513, 61184, 65519, 65534, 65535, 524288, 1879048191, 2**31, 2**32 - 1, 2**32 + 70000],
)
def test_reserved_uid_is_refused_also_if_the_range_has_it(uid: int) -> None:
    assert "uid" in refusal(WIDE, Create("quin", uid))


@pytest.mark.parametrize("uid", [1000, 60000, 60514, 61183, 65520, 65533, 65536, 524287, 1879048192, 2**31 - 1])
def test_uid_beside_a_reserved_range_is_allowed(uid: int) -> None:
    assert refusal(WIDE, Create("quin", uid)) == ""


@pytest.mark.parametrize(("uid", "allowed"), [(69999, False), (70000, True), (99999, True), (100000, False)])
def test_uid_must_be_in_the_range(uid: int, allowed: bool) -> None:
    assert (refusal(Policy(), Create("quin", uid)) == "") is allowed


def test_uid_of_a_user_namespace_is_refused() -> None:
    ranges = [(70010, 70019)]
    assert [bool(refusal(Policy(), Create("quin", uid), ranges)) for uid in (70009, 70010, 70019, 70020)] == [
        False,
        True,
        True,
        False,
    ]


def test_names_of_the_policy_can_only_be_stricter() -> None:
    assert refusal(Policy(names="x-.*"), Create("quin", 70000))
    assert not refusal(Policy(names="x-.*"), Create("x-quin", 70000))
    for name in ("-o", "root:x", "a\n", "A", "", "a" * 33, "a."):
        assert refusal(Policy(names="(?s).*"), Create(name, 70000))


def test_shell_must_be_one_of_the_policy() -> None:
    policy = Policy(shells=("/bin/zsh",))
    for shell in ("", "/bin/bash", "/bin/zsh"):
        assert refusal(policy, Create("quin", 70000, shell=shell)) == ""
    for shell in ("/bin/sh", "/bin/zsh ", "zsh", "/bin/zsh\n", "/bin/zsh,/bin/bash"):
        assert refusal(policy, Create("quin", 70000, shell=shell)) == "shell: not one of accounts.json"


@pytest.mark.parametrize("name", ["sshaft", "-o", "a:b", "", "a\n", "../a", "John"])
def test_account_of_the_agent_and_a_strange_name_are_not_adopted(name: str) -> None:
    assert refusal(Policy(), Adopt("quin")) == ""
    assert refusal(Policy(), Adopt(name)) == "user: this name is not allowed"


def test_stricter_policy_still_lets_accounts_be_locked_and_removed_and_lose_groups() -> None:
    strict = Policy(names="x-.*", groups=())
    for request in (Lock("quin"), Remove("quin"), Groups("quin", remove=("ops",))):
        assert refusal(strict, request) == ""
    assert refusal(strict, Groups("quin", add=("ops",)))


@pytest.mark.parametrize(
    "members",
    [
        [],
        {"uid_fist": 70000},
        {"uid_first": "70000"},
        {"uid_first": True},
        {"uid_first": 999},
        {"uid_first": 80000, "uid_last": 70000},
        {"uid_last": 2**31},
        {"names": "("},
        {"home": "/home/user"},
        {"home": "home/{user}"},
        {"home": "/home/../{user}"},
        {"home": "/home:/{user}"},
        {"home": "/{user}/{user}"},
        {"home": "/home/{user}\n"},
        {"shell": "bash"},
        {"shell": "/bin/sh\n"},
        {"shells": "/bin/sh"},
        {"shells": ["/bin/sh", 1]},
        {"shells": ["sh"]},
        {"groups": "ops"},
        {"groups": [1]},
        {"groups": ["root"]},
        {"groups": ["-a"]},
        {"groups": ["a,b"]},
    ],
)
def test_wrong_member_is_an_error(members: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_members(members)


def test_policy_has_defaults_for_every_member(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text("{}")
    path.chmod(0o600)
    assert read(path) == Policy()


@pytest.mark.parametrize("text", ["", "{", "[" * 100000, '{"uid_first": NaN}', "\xff"])
def test_file_that_is_no_policy_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(text, "latin-1")
    path.chmod(0o600)
    with pytest.raises(PolicyError):
        read(path)


def test_file_or_folder_that_others_may_write_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    with pytest.raises(PolicyError):
        read(path)
    path.write_text(json.dumps({}))
    path.chmod(0o620)
    with pytest.raises(PolicyError):
        read(path)
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(PolicyError):
        read(path)


# --- messages


@pytest.mark.parametrize(
    ("kind", "fields", "request_"),
    [
        ("create", {"user": "a", "uid": "7"}, Create("a", 7)),
        ("create", {"user": "a", "uid": "7", "gecos": "B", "home": "/h"}, Create("a", 7, "B", "/h")),
        ("groups", {"user": "a", "add": "x,y", "remove": "z"}, Groups("a", ("x", "y"), ("z",))),
        (
            "create",
            {"user": "a", "uid": "7", "shell": "/s", "expires": "2030-01-31"},
            Create("a", 7, "", "", "/s", "21945"),
        ),
        ("lock", {"user": "a"}, Lock("a")),
        ("lock", {"user": "a", "sessions": "end"}, Lock("a")),
        ("lock", {"user": "a", "sessions": "keep"}, Lock("a", keep_sessions=True)),
        ("unlock", {"user": "a"}, Unlock("a")),
        ("unlock", {"user": "a", "expires": ""}, Unlock("a")),
        ("unlock", {"user": "a", "expires": "never"}, Unlock("a", "")),
        ("unlock", {"user": "a", "expires": "1970-01-02"}, Unlock("a", "1")),
        ("remove", {"user": "a"}, Remove("a")),
        ("adopt", {"user": "a"}, Adopt("a")),
    ],
)
def test_message_is_a_request(kind: str, fields: dict[str, str], request_: object) -> None:
    assert parse(kind, fields) == request_


@pytest.mark.parametrize("kind", ["create", "groups", "lock", "unlock", "remove", "adopt", "destroy"])
@pytest.mark.parametrize("fields", [{}, {"uid": "7"}, {"user": "a", "uid": "7", "gid": "0"}, {"user": "a", "x": ""}])
def test_missing_or_unknown_field_is_refused(kind: str, fields: dict[str, str]) -> None:
    with pytest.raises(RequestError):
        parse(kind, fields)


@pytest.mark.parametrize(
    ("kind", "field", "text"),
    [
        ("lock", "sessions", ""),
        ("lock", "sessions", "END"),
        *[
            (kind, "expires", text)
            for kind in ("create", "unlock")
            for text in ("1", "20300131", "2030-W01-1", "2030-02-30", "2030-01-31 ", "1970-01-01", "-1", "0000-00-00")
        ],
        ("create", "expires", "never"),
        ("create", "expires", "\u0662\u0660\u0663\u0660-01-01"),  # Arabic digits
    ],
)
def test_field_of_another_form_is_refused(kind: str, field: str, text: str) -> None:
    with pytest.raises(RequestError, match=f"^{field}: "):
        parse(kind, {"user": "a", **({"uid": "7"} if kind == "create" else {}), field: text})


@given(
    st.sampled_from(["create", "groups", "lock", "unlock", "adopt", "x"]),
    st.dictionaries(
        st.sampled_from(["user", "uid", "gecos", "home", "shell", "expires", "sessions", "add", "a"]), st.text()
    ),
)
def test_no_message_is_more_than_its_policy_allows(kind: str, fields: dict[str, str]) -> None:
    try:
        request = parse(*messages.decode(messages.encode(kind, fields)))
    except RequestError:
        return
    if isinstance(request, Create) and not refusal(Policy(), request):
        assert f"{request.user}".isascii()
        assert 70000 <= request.uid <= 99999


@given(st.text())
def test_gecos_has_one_line_and_no_sign_with_a_meaning(text: str) -> None:
    cleaned = clean_gecos(text)
    assert not set(cleaned) & set(':,=&\\"\n\r\t\x1b\x00\u202e')
    assert cleaned.isprintable()
    assert len(cleaned) <= 100
    assert clean_gecos(cleaned) == cleaned


def test_gecos_keeps_the_names_of_people() -> None:
    assert clean_gecos("  Zoe\u0308 O'Neil-Smith Jr.\n") == "Zoë O'Neil-Smith Jr."


def test_both_programs_leave_the_same_uids_to_the_system() -> None:
    """Each checks for itself, because the agent may be in the hands of somebody else."""
    assert [range(first, last + 1) for first, last in RESERVED] == list(free.RESERVED)
