"""Tests the rights that roles give on a real host: local groups, sudo through them, and a shell."""

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from debian_host.chroot import SUITES, log_in
from debian_host.first_login import FirstLogins, first_logins

from sshaft_demo.place import CHECKOUT

SUDO = "sudo -n id -u 2>/dev/null"
GROUPS = ["host-admins", "web-operators"]
ROLES = [
    {"groups": ["admins"], "local_groups": ["host-admins"]},
    {"claims": {"team": ["web"]}, "local_groups": ["web-operators"]},
]


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[FirstLogins]:
    with first_logins(request.param, policy={"groups": GROUPS}, roles=ROLES) as made:
        for group in GROUPS:
            assert made.inside("groupadd", "--system", group).returncode == 0
        rules = shutil.copy(CHECKOUT / "examples" / "sudoers", made.root / "etc" / "sudoers.d" / "sshaft")
        subprocess.run(["chmod", "0440", rules], check=True)
        yield made


def test_example_of_sudoers_is_right(debian: FirstLogins) -> None:
    checked = debian.inside("visudo", "-c", "-f", "/etc/sudoers.d/sshaft")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_first_ssh_has_the_groups_and_the_root_that_they_give(debian: FirstLogins) -> None:
    said = log_in(debian, f"id -nG; {SUDO}", user="newbie", groups=["admins"], team="web").split()
    assert (set(said[:-1]), said[-1]) == ({"newbie", *GROUPS}, "0")


def test_lost_role_takes_the_group_and_root_away_at_the_next_login(debian: FirstLogins) -> None:
    log_in(debian, "true", user="leaver", groups=["admins"], team="web")
    said = log_in(debian, f"id -nG; {SUDO} || echo refused", user="leaver", team="web")
    assert said.split() == ["leaver", "web-operators", "refused"]
    assert "leaver" not in debian.inside("getent", "group", "host-admins").stdout


def test_person_without_a_role_has_no_groups(debian: FirstLogins) -> None:
    assert log_in(debian, "id -nG", user="guest", groups=["Admins", "host-admins"]).split() == ["guest"]


def test_group_that_accounts_json_does_not_allow_is_not_given(debian: FirstLogins) -> None:
    """An agent in wrong hands asks for it too."""
    file = debian.root / "etc" / "sshaft" / "accounts.json"
    before = file.read_text()
    file.write_text(json.dumps({"groups": ["web-operators"]}))
    try:
        assert log_in(debian, "id -nG", user="climber", groups=["admins"]).split() == ["climber"]
    finally:
        file.write_text(before)
