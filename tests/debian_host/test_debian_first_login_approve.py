"""Tests a first login that an operator must approve: a Debian in a chroot, with its own sshd, PAM and useradd."""

import json
import re
import signal
import time
from collections.abc import Iterator

import pytest
from debian_host.chroot import log_in
from debian_host.first_login import FirstLogins, first_logins
from debian_host.test_debian_life_cycle import accounts, fails

from sshaft_demo.parts import wait_for
from sshaft_demo.place import AGENT

NAMES = r"(?:other-)?([a-z]+)"
"""`other-newbie` is another identity of the name newbie."""
TELL = 'cat >>"$0/facts"'


@pytest.fixture(scope="module")
def debian() -> Iterator[FirstLogins]:
    """Yields a host whose agent has read `notify` at a reload."""
    with first_logins(create={"approve": True}, match=NAMES) as made:
        told = made.place.folder("told", AGENT)
        config = json.loads(made.agent.config.read_text())
        config["host_login"]["create"]["notify"] = {"command": ["/bin/sh", "-c", TELL, str(told)]}
        made.agent.config.write_text(json.dumps(config))
        made.agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "config.reloaded" in made.place.log("agent"), made.agent.process, lambda: "", "the agent")
        yield made


def ends(debian: FirstLogins, name: str, person: str, text: str) -> str:
    """Logs in as this person, who reads the text and gets no shell. Returns the reference."""
    terminal = debian.ssh("echo in", user=name)
    debian.provider.answer(debian.code_at(terminal), user=person)
    terminal.type("\n")
    said = terminal.wait_for("Enter to go on")
    assert text in said, debian.place.log("agent")
    found = re.search(r"Reference: ([0-9a-f]{8})", said)
    assert found
    terminal.type("\n\x03")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said
    assert debian.uid_of(name) is None
    return found[1]


def facts(debian: FirstLogins) -> list[dict[str, str]]:
    """Returns what the command has got, as soon as the agent says that it has run."""
    deadline = time.monotonic() + 150
    while "host_request.told" not in debian.place.log("agent"):
        assert time.monotonic() < deadline, debian.place.log("agent")
        time.sleep(0.2)
    return [json.loads(line) for line in (debian.place.directory / "told" / "facts").read_text().splitlines()]


def test_person_waits_until_an_operator_approves_and_nobody_else_gets_the_account(debian: FirstLogins) -> None:
    reference = ends(debian, "newbie", "newbie", "must approve your account")
    assert ends(debian, "newbie", "newbie", "must approve your account") == reference
    (fact,) = facts(debian)
    assert (fact["account"], fact["subject"], fact["reference"]) == ("newbie", "id-of-newbie", reference)
    (waiting,) = json.loads(accounts(debian, "list", "--json"))
    assert (waiting["account"], waiting["reference"], waiting["first_at"]) == ("newbie", reference, fact["first_at"])

    assert "belongs to this person" in accounts(debian, "approve", "newbie", "--reference", reference)
    ends(debian, "newbie", "other-newbie", "was not accepted")
    assert debian.ssh("echo in", options=debian.key("newbie"), user="newbie").end()[1] == 255, "no login has made it"
    assert debian.uid_of("newbie") is None

    assert log_in(debian, "id -un", user="newbie").split() == ["newbie"]
    assert debian.uid_of("newbie") is not None
    assert debian.ssh("echo in", options=debian.key("newbie"), user="newbie").end() == ("in\r\n", 0)
    assert len(facts(debian)) == 1, "one request is told once"


def test_denied_person_gets_no_account(debian: FirstLogins) -> None:
    reference = ends(debian, "denied", "denied", "must approve your account")
    accounts(debian, "approve", "denied", "--deny")
    assert ends(debian, "denied", "denied", "has denied your request") == reference
    assert "nobody waits for denied" in fails(debian, "approve", "denied")


def test_person_with_a_foreign_name_asks_no_operator(debian: FirstLogins) -> None:
    ends(debian, "victim", "mallory", "was not accepted")
    assert "victim" not in accounts(debian, "list")
