"""Tests which rights a person gets on this host by roles."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.roles.granted import Granted, granted
from sshaft_agent.host_login.roles.settings import Role
from sshaft_agent.host_login.settings import HostLoginSettings

ADMINS = {"groups": ["admins"], "local_groups": ["sudo", "adm"], "shell": "/bin/zsh"}
GUESTS = {
    "claims": {"guest": [True], "org": ["a", "b"]},
    "local_groups": ["guests"],
    "temporary": "30d",
    "shell": "/bin/sh",
}
ALL = {"everyone": True, "local_groups": ["users"]}


def role(**members: Any) -> Role:
    return Role.model_validate_json(json.dumps(members))


def groups_of(claims: dict[str, Any], *roles: dict[str, Any]) -> set[str]:
    return set(granted([role(**each) for each in roles], "groups", claims).local_groups)


@pytest.mark.parametrize(
    ("claims", "local_groups"),
    [
        ({"groups": ["admins"]}, {"users", "sudo", "adm"}),
        ({"groups": ["x", "admins"], "guest": True, "org": "b"}, {"users", "sudo", "adm", "guests"}),
        ({"guest": True, "org": ["x", "a"]}, {"users", "guests"}),
        ({"guest": True}, {"users"}),
        ({"guest": "true", "org": "a"}, {"users"}),
        ({"guest": 1, "org": "a"}, {"users"}),
        ({"groups": "admins"}, {"users"}),
        ({"groups": {"admins": True}}, {"users"}),
        ({"groups": ["Admins", "admins ", "admins\n", "sudo"]}, {"users"}),
        ({"groups": [["admins"], None, 7]}, {"users"}),
        ({}, {"users"}),
    ],
)
def test_person_has_the_groups_of_every_role_whose_conditions_hold(
    claims: dict[str, Any], local_groups: set[str]
) -> None:
    assert groups_of(claims, ADMINS, GUESTS, ALL) == local_groups


def test_first_role_with_a_shell_or_an_expiry_decides_them() -> None:
    claims = {"groups": ["admins"], "guest": True, "org": "a"}
    both = [role(**GUESTS), role(**ADMINS)]
    assert granted(both, "groups", claims) == Granted(
        frozenset({"guests", "sudo", "adm"}), "/bin/sh", timedelta(days=30)
    )
    assert granted(both[::-1], "groups", claims).shell == "/bin/zsh"
    assert granted(both, "groups", {}) == Granted()
    said = "they give the local groups adm, guests, sudo; the shell /bin/sh; an account for 30 days"
    assert str(granted(both, "groups", claims)) == said


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"local_groups": ["sudo"]}, "for nobody"),
        ({"groups": [], "local_groups": ["sudo"]}, "for nobody"),
        ({"everyone": True}, "gives nothing"),
        ({"everyone": True, "local_groups": ["root"]}, "root"),
        ({"everyone": True, "local_groups": ["sudo,adm"]}, "pattern"),
        ({"everyone": True, "local_groups": ["-x"]}, "pattern"),
        ({"everyone": True, "local_groups": ["sudo\n"]}, "pattern"),
        ({"everyone": True, "shell": "bash"}, "absolute"),
        ({"everyone": True, "temporary": "0d"}, "30d"),
        ({"everyone": True, "local_groups": ["sudo"], "uid": 0}, "uid"),
    ],
)
def test_role_that_could_give_too_much_is_refused(members: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        role(**members)


def test_provider_is_asked_for_what_roles_and_uids_need() -> None:
    def settings(**members: Any) -> HostLoginSettings:
        base = {"issuer": "https://op.example", "client_id": "c", "allow": {"groups": ["ssh"]}, "create": {}}
        return HostLoginSettings.model_validate_json(json.dumps(base | members))

    both = settings(roles=[ADMINS, GUESTS])
    assert accounts.wanted(both) == {"preferred_username", "groups", "guest", "org"}
    assert accounts.deciding_groups(both) == {"ssh", "admins"}
    everyone = {"allow": {"everyone": True}}
    assert accounts.wanted(settings(**everyone, roles=[ALL])) == {"preferred_username"}
    posix = {"uid": {"claim": ["urn:posix", "uidNumber"]}}
    assert accounts.wanted(settings(**everyone, create=posix)) == {"preferred_username", "urn:posix"}
