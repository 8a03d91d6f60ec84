"""Tests the files that a PAM line names by `config=`, with the real agent and the protocol of the module."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_process import PROGRAM, AgentProcess
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider

from sshaft import messages

OWN = "https://own.example"
STRANGER = 64803


@dataclass
class Place:
    """A folder with an agent, whose own provider is away, and a foreign file for a provider that is up."""

    folder: Path
    provider: OpenIdProvider
    agent: AgentProcess
    file: Path = field(init=False)
    reference: str = ""
    """Of the last login that was refused."""

    def __post_init__(self) -> None:
        self.file = self.folder / "foreign.json"

    def write(self, **changes: Any) -> None:
        """Writes the file as the Rust module has it. A member that is None is left out."""
        members = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "oauth_auth_url": f"{self.provider.issuer}/authorize",
            "oauth_device_url": f"{self.provider.issuer}/device_authorization",
            "oauth_token_url": f"{self.provider.issuer}/token",
            "oauth_token_introspect_url": f"{self.provider.issuer}/introspect",
        } | changes
        self.file.write_text(json.dumps({name: value for name, value in members.items() if value is not None}))
        self.file.chmod(0o600)

    def log_in(self, config: str | Path | None = None) -> str:
        """Returns what the person reads first at a login by the PAM line with this `config`; by default, the file."""
        with socket.socket(socket.AF_UNIX) as module:
            module.settimeout(10)
            module.connect(str(self.agent.directory / "host" / "agent.sock"))
            question = {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "timeout": "100"}
            module.sendall(
                messages.encode("login", question | {"config": str(self.file if config is None else config)})
            )
            reader = module.makefile("rb")
            while True:
                kind, fields = messages.decode(_message(reader.readline))
                if kind != "wait":
                    break
            if "cannot be used now" in fields["text"]:
                module.sendall(messages.encode("answer", {"text": ""}))
                result = messages.decode(_message(reader.readline))[1]
                assert result["result"] == "unavailable"
                said, self.reference = result["reason"].rsplit(" ", 1)
                assert said == "configuration, reference"
            return fields["text"]

    def assert_refused(self, fault: str, config: str | Path | None = None) -> None:
        said = self.log_in(config)
        assert "The sign-in of your organisation cannot be used now." in said
        message = self.logged()
        assert fault in message
        assert str(config or self.file) in message

    def logged(self) -> str:
        """Returns the reason in the log of the last login that was refused."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for event in self.agent.events:
                if event["event"] == "host_login.failed" and event["reference"] == self.reference:
                    return str(event["message"])
            time.sleep(0.01)
        raise AssertionError(self.agent.output)


def _message(read_line: Callable[[], bytes]) -> bytes:
    lines = [read_line()]
    while lines[-1] not in (b"\n", b""):
        lines.append(read_line())
    return b"".join(lines)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    config = tmp_path / "config.json"
    members = {"issuer": OWN, "client_id": "own", "allow": {"everyone": True}, "state_directory": str(tmp_path),
               "pending_per_user": 100, "pending_per_source": 100}  # fmt: skip
    config.write_text(json.dumps({"host_login": members}))
    with (
        OpenIdProvider(lambda: datetime.now(UTC), "") as provider,
        AgentProcess(config, tmp_path / "run") as agent,
    ):
        yield Place(tmp_path, provider, agent)


def test_file_is_used_for_this_login_and_read_again_when_it_changes(place: Place) -> None:
    place.write(messages={"prompt_no_qr_incomplete": "First text:"}, qr_enabled=False)
    first = place.log_in()
    assert "\nFirst text:\n" in first
    assert f"    {place.provider.issuer}/device" in first.splitlines()
    place.write(messages={"prompt_no_qr_incomplete": "Other text:"}, qr_enabled=False)
    assert "\nOther text:\n" in place.log_in()
    warned = [event["message"] for event in place.agent.events if event["event"] == "config.warning"]
    assert warned == [f"{place.file}: oauth_auth_url: a device login does not use it"] * 2
    assert place.agent.event("host_login.waits")["config"] == str(place.file)


def test_file_that_becomes_wrong_is_not_used_any_more(place: Place) -> None:
    place.write()
    assert "WDJB-MJHT" in place.log_in()
    place.write(massages={})
    place.assert_refused("unknown: massages")
    place.write()
    assert "WDJB-MJHT" in place.log_in()
    place.file.unlink()
    place.assert_refused("No such file")


def test_file_of_our_own_format_is_read_too(place: Place) -> None:
    members = {"issuer": place.provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True}}
    place.provider.public = True
    place.file.write_text(json.dumps({"host_login": members}))
    assert "WDJB-MJHT" in place.log_in()
    place.file.write_text(json.dumps({"host_login": members | {"client_secret": "s"}}))
    place.file.chmod(0o644)
    place.assert_refused("everybody can read the secret of the client")
    place.file.write_text(json.dumps({"host_login": str(place.file)}))
    place.file.chmod(0o600)
    place.assert_refused("host_login")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is no JSON object"),
        ("root:$6$hash:1:0:99999:7:::\n", "is no JSON object"),
        ('{"oauth_device_url": "https://op.example/d", "client_id": ', "not JSON"),
        ('{"client_id": "a", "client_id": "b"}', "is there twice"),
        ("{" + " " * 1024 * 1024 + "}", "larger than 1024 KiB"),
        ("[user_verification]\nlocal = false\nverify_endpoint = http://localhost:8080/verify_user\n", "pam-ssh-oidc"),
        ('{"oauth": "relative.json"}', "give an absolute path"),
        ('{"oauth": "/proc/self/environ"}', "/proc/self/environ: "),
    ],
)
def test_file_that_cannot_be_read_denies_and_is_named_in_the_log_alone(place: Place, content: str, fault: str) -> None:
    place.file.write_text(content)
    place.file.chmod(0o600)
    said = place.log_in()
    assert "cannot be used now" in said
    assert fault in place.logged()
    for secret in ("hash", "relative.json", "client_id"):
        assert secret not in said
    assert "$6$" not in place.agent.output


def test_file_that_another_account_can_change_is_refused(place: Place) -> None:
    place.write()
    place.file.chmod(0o620)
    place.assert_refused("others can write to it (mode 0620): chmod go-w ")
    place.file.chmod(0o602)
    place.assert_refused("others can write to it (mode 0602): chmod go-w ")


def test_change_of_the_mode_counts_for_the_next_login(place: Place) -> None:
    place.write()
    assert "WDJB-MJHT" in place.log_in()
    place.file.chmod(0o666)
    place.assert_refused("others can write to it")


@pytest.mark.root
def test_file_of_another_account_is_refused(place: Place) -> None:
    place.write()
    os.chown(place.file, STRANGER, STRANGER)
    place.assert_refused(f"belongs to uid {STRANGER}, not to root or to the agent")


def test_special_file_is_refused_at_once(place: Place) -> None:
    os.mkfifo(place.file, 0o600)
    place.assert_refused("not a regular file")
    place.assert_refused("not a regular file", "/dev/zero")
    place.assert_refused("not a regular file", place.folder)


def test_file_that_config_json_names_takes_the_place_of_host_login(tmp_path: Path) -> None:
    file, config = tmp_path / "foreign.json", tmp_path / "config.json"
    config.write_text(json.dumps({"host_login": str(file)}))
    check = [*PROGRAM, "agent", "check", "--config", str(config)]
    fixture = Path(__file__).parent.parent / "unit" / "agent" / "host_login" / "foreign" / "rust.json"
    file.write_text(fixture.read_text())
    file.chmod(0o600)
    done = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file}: oauth_auth_url: a device login does not use it\n{config} is right.\n"
    file.chmod(0o622)
    done = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78
    assert "others can write to it" in done.stderr


def test_other_file_that_the_file_names_is_no_special_file_either(place: Place) -> None:
    pipe = place.folder / "pipe"
    os.mkfifo(pipe, 0o600)
    endpoints = {f"{name}_endpoint": f"{place.provider.issuer}/{name}" for name in ("device", "token", "userinfo")}
    oauth = {"client": {"id": "c", "secret": "s"}, "scope": "openid", "username_attribute": "sub", **endpoints}
    for members in ({"users": str(pipe)}, {"users": {"x": ["alice"]}, "tls": {"ca_bundle": str(pipe)}}):
        place.file.write_text(json.dumps({"oauth": oauth} | members))
        place.file.chmod(0o600)
        assert "cannot be used now" in place.log_in()
        assert place.logged() == f"{pipe}: not a regular file"


def test_agent_starts_with_the_file_that_its_configuration_names(tmp_path: Path) -> None:
    file, config = tmp_path / "host.json", tmp_path / "config.json"
    config.write_text(json.dumps({"host_login": str(file)}))
    with OpenIdProvider(lambda: datetime.now(UTC), "") as provider:
        provider.public = True
        members = {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True},
                   "state_directory": str(tmp_path), "pending_per_user": 100, "pending_per_source": 100}  # fmt: skip
        file.write_text(json.dumps({"host_login": members}))
        with AgentProcess(config, tmp_path / "run") as agent:
            place = Place(tmp_path, provider, agent)
            assert "\nOpen this page:\n" not in place.log_in("")
            file.write_text(json.dumps({"host_login": members | {"qr": "off"}}))
            agent.process.send_signal(signal.SIGHUP)
            agent.event("config.reloaded")
            assert "\nOpen this page:\n" in place.log_in("")
            file.chmod(0o666)
            agent.process.send_signal(signal.SIGHUP)
            assert "others can write to it" in agent.event("config.refused")["message"]
            assert "\nOpen this page:\n" in place.log_in("")
