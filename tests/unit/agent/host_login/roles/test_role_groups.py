"""Tests the local groups that roles give at a login: what sshaft-accounts is asked for, and who gets in."""

import asyncio
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from unit.agent.host_login.test_first_login import (
    Host,
    accepted,
    ending,
)
from unit.agent.host_login.test_host_login import (
    settings_of,
)

from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.realm import RefusedError
from sshaft_agent.host_login.roles.granted import granted
from sshaft_agent.host_login.roles.role_groups import membership

ROLES = [
    {"groups": ["devs"], "local_groups": ["docker", "adm"]},
    {"groups": ["ops"], "local_groups": ["sudo", "adm"]},
]
DEVS = {"docker", "adm"}


@pytest.fixture
def role_host(host: Host) -> Host:
    """A host whose roles give groups. The person of its first login is of the devs."""
    host.settings = {"roles": ROLES}
    belongs_to(host, "devs")
    restart(host)
    host.ask()
    return host


def belongs_to(host: Host, *groups: str) -> None:
    host.provider.user = host.provider.user | {"groups": list(groups)}


def restart(host: Host) -> None:
    host.login.close()
    host.login = host.new()


def log_in(host: Host) -> None:
    """Does what the end of a login does. Raises `RefusedError`."""
    rights = granted(host.login._realm.settings.roles, "groups", host.provider.user)  # noqa: SLF001 - as the login does
    host.login._role_groups.apply("newbie", rights.local_groups)  # noqa: SLF001


@pytest.fixture
def member(role_host: Host) -> Host:
    """The same host after the first login."""
    role_host.accounts["newbie"] = Account("newbie", 70000)
    role_host.login.life_cycle.made("newbie", None, role_host.now)
    log_in(role_host)
    role_host.asked.clear()
    return role_host


def asked(host: Host) -> list[dict[str, str]]:
    """Returns the questions about groups since the last call, without the name."""
    questions = [fields for kind, fields in host.asked if kind == "groups"]
    host.asked.clear()
    assert all(fields.pop("user") == "newbie" for fields in questions)
    return questions


def given(host: Host) -> set[str]:
    return set(host.login.life_cycle.role_groups("newbie"))


def test_first_login_has_the_groups_and_the_second_asks_for_nothing(role_host: Host) -> None:
    role_host.run(accepted)
    assert [kind for kind, _ in role_host.asked] == ["create", "groups"]
    assert asked(role_host) == [{"add": "adm,docker"}]
    assert role_host.groups == DEVS
    role_host.run(accepted)
    assert role_host.asked == []


def test_lost_role_takes_its_groups_away_at_the_next_login(role_host: Host) -> None:
    role_host.run(accepted)
    asked(role_host)
    belongs_to(role_host, "ops")
    role_host.run(accepted)
    assert asked(role_host) == [{"remove": "docker"}, {"add": "sudo"}]
    assert role_host.groups == {"adm", "sudo"}


def test_role_that_left_the_configuration_takes_its_groups_away(member: Host) -> None:
    member.settings = {}
    restart(member)
    log_in(member)
    assert member.groups == set()


def test_group_that_an_operator_gave_stays(member: Host) -> None:
    member.groups.add("sudo")
    belongs_to(member, "ops")
    log_in(member)
    assert asked(member) == [{"remove": "docker"}]
    belongs_to(member)
    log_in(member)
    assert (asked(member), member.groups) == ([{"remove": "adm"}], {"sudo"})


@pytest.mark.parametrize(("changed", "left"), [({"add": "docker"}, {"docker"}), ({"add": "wheel"}, {"wheel"})])
def test_group_that_an_operator_confirms_stays_without_the_role(
    member: Host, changed: dict[str, str], left: set[str]
) -> None:
    fields = {"account": "newbie", "add": "", "remove": ""} | changed
    assert asyncio.run(member.login.operator.answers()["groups"](fields))[0] == "answer"
    belongs_to(member)
    log_in(member)
    assert member.groups == left


@pytest.mark.parametrize("reason", ["gpasswd: status 10", "user: not an account of this program"])
def test_login_is_refused_while_a_lost_group_stays(member: Host, reason: str) -> None:
    belongs_to(member)
    member.reason = reason
    for _ in range(2):
        with pytest.raises(RefusedError, match="no role gives adm,docker any more"):
            log_in(member)
    assert (member.groups, given(member)) == (DEVS, DEVS)
    member.reason = ""
    log_in(member)
    assert (member.groups, given(member)) == (set(), set())


def test_login_is_refused_while_sshaft_accounts_is_away(member: Host) -> None:
    belongs_to(member)
    member.socket.rename(member.directory / "hidden.sock")
    member.run(ending("rights on this host have changed"))
    (member.directory / "hidden.sock").rename(member.socket)
    log_in(member)
    assert member.groups == set()


def test_group_that_somebody_else_took_away_keeps_nobody_out(member: Host) -> None:
    member.groups.clear()
    belongs_to(member)
    member.reason = "user: somebody else has removed or replaced this account"
    log_in(member)
    assert given(member) == set()


def test_group_that_cannot_be_given_keeps_nobody_out(member: Host) -> None:
    """It is not remembered as given: an operator may give it later, and then it is the operator's."""
    belongs_to(member, "devs", "ops")
    member.reason = "groups: a group is not in accounts.json"
    log_in(member)
    assert (member.groups, given(member)) == (DEVS, DEVS)


def test_group_without_an_answer_is_remembered(member: Host) -> None:
    """sshaft-accounts may have given it all the same."""
    belongs_to(member, "devs", "ops")
    member.socket.rename(member.directory / "hidden.sock")
    log_in(member)
    assert given(member) == {*DEVS, "sudo"}


def test_account_that_others_made_is_left_alone(role_host: Host) -> None:
    log_in(role_host)
    assert (role_host.asked, role_host.groups) == ([], set())
    role_host.login.life_cycle.adopted("newbie")
    log_in(role_host)
    assert role_host.groups == DEVS


def test_account_of_several_people_has_no_groups_of_roles(role_host: Host) -> None:
    """The second person must not have the rights of the first one."""
    role_host.settings = {"roles": ROLES, "map": {"newbie": "newbie", "second": "newbie"}}
    restart(role_host)
    role_host.run(accepted)
    assert role_host.groups == DEVS
    role_host.provider.user = {"sub": "subject-2", "preferred_username": "second", "groups": ["ops"]}
    role_host.run(accepted)
    assert role_host.groups == set()


def test_refused_person_changes_no_groups(member: Host) -> None:
    """Another identity with the same name, and the owner of a suspended account."""
    member.login.operator._bind({"account": "newbie", "issuer": member.provider.issuer, "subject": "subject-1"})  # noqa: SLF001
    belongs_to(member, "ops")
    owner, member.provider.user = member.provider.user, member.provider.user | {"sub": "subject-2"}
    member.run(ending("was not accepted"))
    member.provider.user = owner
    member.login.life_cycle.suspend("newbie", "")
    member.run(ending("closed now"))
    assert (asked(member), member.groups) == ([], DEVS)


def test_operator_is_told_what_roles_give(role_host: Host) -> None:
    def said(groups: list[str]) -> str:
        claims = json.dumps({"preferred_username": "newbie", "sub": "1", "groups": groups})
        return str(role_host.login.operator._explain({"user": "newbie", "claims": claims})[-1]["detail"])  # noqa: SLF001

    assert said(["devs"]) == "they give the local groups adm, docker"
    assert said([]) == "no role is this person's"


def test_groups_are_those_of_a_session() -> None:
    assert membership("root", ["root", "no-such-group"]) == {"root"}
    assert membership("no-such-user", ["root"]) == frozenset()


def test_roles_without_sshaft_accounts_are_refused(role_host: Host, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="roles needs create"):
        settings_of(role_host.provider, tmp_path, roles=ROLES)


@pytest.mark.parametrize("is_away", [False, True])
def test_check_without_a_login_takes_the_groups_of_a_lost_role_away(
    role_host: Host, tmp_path_factory: pytest.TempPathFactory, *, is_away: bool
) -> None:
    """So a person who logs in by keys alone loses them too. The check does not count if the group stays."""
    role_host.provider.gives_refresh_tokens = True
    key = tmp_path_factory.mktemp("key") / "tokens.key"
    role_host.settings |= {"recheck": {"every": "12h", "grace": "3d", "key_file": str(key)}}
    restart(role_host)
    role_host.run(accepted)
    assert role_host.groups == DEVS
    belongs_to(role_host)
    role_host.now += 12 * 3600
    if is_away:
        role_host.socket.rename(role_host.directory / "hidden.sock")
    role_host.login.rounds.work()
    assert role_host.groups == (DEVS if is_away else set())
    assert role_host.login.rounds.counts()["failed" if is_away else "good"] == 1
