"""Tests the checks of people without a login: a Debian in a chroot, whose accounts and sessions end with the person."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from debian_host.chroot import SUITES, log_in
from debian_host.first_login import FirstLogins, first_logins
from web.looking import seconds_until

from sshaft_demo.place import AGENT

HALF_A_DAY = 12 * 3600


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[FirstLogins]:
    with first_logins(request.param) as made:
        key = made.place.folder("key", AGENT, 0o700) / "tokens.key"
        data = json.loads(made.agent.config.read_text())
        data["host_login"]["recheck"] = {"every": "12h", "grace": "3d", "key_file": str(key)}
        made.agent.config.write_text(json.dumps(data))
        made.place.stop(made.agent.process)
        made.start_agent()
        yield made


def database(debian: FirstLogins, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(debian.place.directory / "state" / "host-login.sqlite")) as connection, connection:
        return list(connection.execute(statement))


def let_half_a_day_pass(debian: FirstLogins) -> None:
    debian.place.stop(debian.agent.process)
    database(debian, f"UPDATE checks SET checked_at = checked_at - {HALF_A_DAY}")
    database(debian, "UPDATE refresh_tokens SET tried_at = 0")
    debian.start_agent()


def test_person_who_leaves_loses_keys_and_sessions_until_the_next_good_login(debian: FirstLogins) -> None:
    assert log_in(debian, "id -un", user="leaver").split() == ["leaver"]
    assert debian.ssh("echo in", options=debian.key("leaver"), user="leaver").end() == ("in\r\n", 0)
    stays = debian.ssh("echo waits; sleep 600", options=debian.key("rescue"), user="rescue")
    session = debian.ssh("echo waits; sleep 600", options=debian.key("leaver"), user="leaver")
    for each in (stays, session):
        each.wait_for("waits")
    let_half_a_day_pass(debian)
    seconds_until(lambda: database(debian, "SELECT checked_at > strftime('%s') - 3600 FROM checks") == [(1,)])
    assert debian.ssh("echo in", options=debian.key("leaver"), user="leaver").end() == ("in\r\n", 0)

    debian.provider.remove("leaver")
    let_half_a_day_pass(debian)
    assert session.end()[1] == 255, "the session has ended"
    said, status = debian.ssh("echo in", options=debian.key("leaver"), user="leaver").end()
    assert (status, "Your organisation has not confirmed this account" in said) == (255, True), said
    assert "expired" in debian.inside("su", "leaver", "-c", "true").stderr, "the host itself has closed the account"
    assert debian.inside("pgrep", "-u", "rescue", "sleep").returncode == 0, "another account notices nothing"
    stays.kill()
    assert debian.uid_of("leaver") is not None

    assert log_in(debian, "id -un", user="leaver").split() == ["leaver"], "the provider approves the person again"
    assert debian.ssh("echo in", options=debian.key("leaver"), user="leaver").end() == ("in\r\n", 0)
