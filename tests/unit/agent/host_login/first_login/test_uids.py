"""Tests the uid of a new account by a file that hosts share."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.agent.host_login.test_first_login import PLACEHOLDER, Host, accepted, bound

from sshaft_agent.host_login.first_login import uids

FIRST = 70000


@pytest.fixture
def filed(host: Host) -> Host:
    """A host whose file has the uid of newbie, and of a colleague."""
    host.create = {"uid": {"file": str(host.directory / "uids.json")}}
    host.login.close()
    write(host, {"newbie": 70500, "colleague": 70501})
    host.login = host.new()
    return host


def write(host: Host, members: Any) -> Path:
    """Replaces the file, as configuration management does."""
    part = host.directory / "uids.new"
    part.write_text(members if isinstance(members, str) else json.dumps(members))
    part.chmod(0o644)
    return part.rename(host.directory / "uids.json")


def test_person_has_the_uid_of_the_file_at_the_first_login(filed: Host) -> None:
    assert filed.ask() == ("name", PLACEHOLDER | {"uid": "70500", "gid": "70500"})
    filed.run(accepted)
    assert (filed.accounts["newbie"].uid, bound(filed)) == (70500, [("newbie", "subject-1")])


def test_name_that_is_not_in_the_file_gets_no_uid(filed: Host) -> None:
    assert filed.ask(user="stranger") == ("none", {})
    write(filed, {"stranger": 70600})
    assert filed.ask(user="stranger")[1]["uid"] == "70600"


@pytest.mark.parametrize("uid", [0, 999, 1000, 69999, 100000, 65534, -70500, 2**40])
def test_uid_outside_of_the_range_is_nobodys(filed: Host, uid: int) -> None:
    write(filed, {"newbie": uid})
    assert filed.ask() == ("none", {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "newbie 70500",
        '{"newbie": "70500"}',
        '{"newbie": 70500.0}',
        '{"newbie": true}',
        '{"newbie": null}',
        '{"newbie": 70500, "newbie": 70501}',
        '{"newbie": 70500, "other": 70500}',
        '{"newbie": 70500, "other": "x"}',
    ],
)
def test_file_with_a_fault_gives_no_uid(filed: Host, text: str) -> None:
    write(filed, text)
    assert filed.ask() == ("none", {})
    write(filed, {"newbie": 70500})
    assert filed.ask()[0] == "name"


def test_file_that_others_can_write_to_gives_no_uid(filed: Host) -> None:
    file = write(filed, {"newbie": 70500})
    file.chmod(0o666)
    assert filed.ask() == ("none", {})
    file.chmod(0o644)
    assert filed.ask()[0] == "name"
    file.unlink()
    assert filed.ask() == ("none", {}), "the share is away"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file of another account")
def test_file_of_another_account_gives_no_uid(filed: Host) -> None:
    os.chown(write(filed, {"newbie": 70500}), 65533, 65533)
    assert filed.ask() == ("none", {})


def test_other_uid_in_the_file_counts_after_the_reservation(filed: Host) -> None:
    """An sshd may have the first one until then."""
    assert filed.ask()[1]["uid"] == "70500"
    write(filed, {"newbie": 70600})
    assert filed.ask() == ("none", {})
    filed.later()
    assert filed.ask()[1]["uid"] == "70600"


def test_uid_that_another_name_has_is_not_given(filed: Host) -> None:
    """A stranger may have the reservation for it, or an account may have been made with it."""
    assert filed.ask(user="colleague")[1]["uid"] == "70501"
    write(filed, {"newbie": 70501})
    assert filed.ask() == ("none", {})
    filed.later()
    assert filed.ask() == ("none", {}), "it has not rested yet"
    filed.now += 3601
    assert filed.ask()[1]["uid"] == "70501"


def test_uid_of_an_account_that_was_made_is_never_given_to_another_name(filed: Host) -> None:
    filed.ask()
    filed.run(accepted)
    del filed.accounts["newbie"]
    write(filed, {"colleague": 70500})
    filed.later()
    filed.now += 10 * 86400
    assert filed.ask(user="colleague") == ("none", {})


def test_names_of_the_file_have_uids_though_strangers_invent_names(filed: Host) -> None:
    for i in range(20):
        assert filed.ask(user=f"invented{i}") == ("none", {})
    assert filed.ask()[1]["uid"] == "70500"


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.booleans(), st.floats(), st.text(), st.none())))
def test_only_distinct_numbers_are_uids(members: dict[str, Any]) -> None:
    is_right = all(type(value) is int for value in members.values()) and len(set(members.values())) == len(members)
    if is_right:
        assert uids.uids(members) == members
    else:
        with pytest.raises(ValueError, match="in the file"):
            uids.uids(members)
