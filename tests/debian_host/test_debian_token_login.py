"""Tests the login with an access token with the sshd and the PAM of another Debian, and with its own ssh."""

from collections.abc import Iterator

import pytest
from debian_host.chroot import PACKAGES, Debian, unpacked
from e2e.hosts import access_token, tokens

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import Agent, free_port

PROMPT = "Access Token:"


@pytest.fixture(scope="module")
def debian() -> Iterator[Debian]:
    with unpacked(*PACKAGES) as (place, root):
        provider = DemoProvider(place, free_port())
        agent = Agent(place, provider.write_config(issuer=None, client_id=None, allow=None, tokens=tokens(provider)))
        made = Debian(place, agent, provider, root)
        yield made
        made.stop()


@pytest.mark.parametrize("own", [False, True], ids=["ssh of this machine", "its own ssh"])
def test_person_with_a_token_gets_a_shell(debian: Debian, *, own: bool) -> None:
    terminal = debian.ssh("echo in", own=own)
    terminal.wait_for(PROMPT)
    terminal.type(access_token(debian.provider, debian.place.person) + "\n")
    said, status = terminal.end()
    assert (said.split(), status) == (["in"], 0), debian.place.log("agent")


@pytest.mark.parametrize("own", [False, True], ids=["ssh of this machine", "its own ssh"])
def test_refusal_is_shown_and_ends_the_login(debian: Debian, *, own: bool) -> None:
    terminal = debian.ssh("echo in", own=own)
    terminal.wait_for(PROMPT)
    terminal.type(access_token(debian.provider, "mallory") + "\n")
    said, status = terminal.end()
    assert "This login was not accepted." in said
    assert (status, PROMPT in said) == (255, False), debian.place.log("sshd")
