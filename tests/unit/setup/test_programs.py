"""Tests how the other commands are run and shown."""

import pytest

from sshaft_setup.programs import CommandError, run, shown


def test_command_is_shown_as_a_person_types_it() -> None:
    assert shown(["identity", "init", "--ssh-host", "a b"]) == "sshaft identity init --ssh-host 'a b'"


@pytest.mark.parametrize("password", ["secret", "se:cret", "se/cret", "se@cret"])
def test_password_in_a_url_is_not_shown(password: str) -> None:
    words = ["identity", "init", "--database", f"postgresql://me:{password}@db.example.org/identity"]
    assert shown(words) == "sshaft identity init --database postgresql://me:...@db.example.org/identity"
    assert "cret" not in str(CommandError(words, "sshaft: it failed", 69))


def test_output_of_a_command_is_returned() -> None:
    assert run("sshd-config", "--for", "9.2").startswith("#")


def test_failure_of_a_command_has_its_words_and_its_status() -> None:
    with pytest.raises(CommandError, match=r"`sshaft agent check --config /nowhere` failed \(status 78\)") as raised:
        run("agent", "check", "--config", "/nowhere")
    assert raised.value.exit_status == 78
    assert "No such file" in str(raised.value)
