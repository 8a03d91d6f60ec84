"""Tests `sshaft-keys --config` as a real process against a small real server."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import BUSY, DEEP, IdentityServer, drip, hang, redirect

from sshaft import public_key

WriteConfig = Callable[..., Path]
Done = tuple[int, str, list[dict[str, Any]]]
ALICE, BOB = public_keys.ed25519("alice"), public_keys.sk_ed25519("bob")


def of(key: str) -> list[str]:
    key_type, encoded = public_keys.of(key)
    return ["--fingerprint", public_key.parse(key).fingerprint, "--type", key_type, "--key", encoded]


class Keys:
    """The command with a configuration for the fake service."""

    def __init__(self, launcher: Path, config: Path) -> None:
        self.launcher = launcher
        self.config = config

    def start(self, *words: str, **more: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.launcher, "--config", self.config, *words],
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": {}} | more),
        )

    def __call__(self, *words: str) -> Done:
        """Returns status, standard output and events."""
        return self.each(words)[0]

    def each(self, *several: Sequence[str]) -> list[Done]:
        """Runs a process for each list of words, all at the same time."""
        return [_done(process) for process in [self.start(*words) for words in several]]


def _done(process: "subprocess.Popen[str]") -> Done:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, [json.loads(line) for line in err.splitlines()]


@pytest.fixture
def keys(launchers: Path, identity: IdentityServer, write_config: WriteConfig) -> Keys:
    identity.entries = [
        {"user": "alice", "authorized_key": f"{ALICE} alice@laptop"},
        {"user": "bob", "authorized_key": BOB},
    ]
    return Keys(launchers / "sshaft-keys", write_config(identity.config()))


def line(keys: Keys, user: str, key: str) -> str:
    return f'restrict,pty,command="/sshaft/login --config {keys.config} --user {user}" {key}\n'


def test_command_without_a_key_prints_a_line_for_every_waiting_user(keys: Keys, identity: IdentityServer) -> None:
    assert keys() == (0, line(keys, "alice", ALICE) + line(keys, "bob", BOB), [])
    assert [call.path for call in identity.calls] == ["/token", "/keys"]
    assert identity.calls[1].query == {}


def test_command_with_a_key_prints_the_line_of_that_key(keys: Keys, identity: IdentityServer) -> None:
    assert keys(*of(BOB)) == (0, line(keys, "bob", BOB), [])
    assert identity.calls[1].query == {"fingerprint": [public_key.parse(BOB).fingerprint]}
    nobody, alice = keys.each(of(public_keys.ed25519("nobody")), of(ALICE)[2:])  # also without --fingerprint
    assert nobody == (0, "", [])
    assert alice == (0, line(keys, "alice", ALICE), [])


def test_openssh_reads_every_line_as_a_key(keys: Keys) -> None:
    _status, out, _events = keys()
    assert public_keys.openssh_fingerprints(out.splitlines()) == [public_key.parse(k).fingerprint for k in (ALICE, BOB)]


def test_line_of_a_challenge_has_no_option_that_old_sshds_read_otherwise(keys: Keys, identity: IdentityServer) -> None:
    challenge = {"challenge": "c", "expires_at": "2099-01-02T03:04:05Z", "binding": "code_in"}
    identity.entries = [{"user": "bob", "authorized_key": BOB, **challenge}]
    _status, out, _events = keys()
    assert out.endswith(f'--user bob" {BOB}\n')


def test_challenge_that_wants_verification_is_left_to_the_agent(keys: Keys, identity: IdentityServer) -> None:
    challenge = {"challenge": "c", "binding": "code_in", "verify_required": True}
    identity.entries = [{"user": "bob", "authorized_key": BOB, **challenge}]
    status, out, events = keys()
    assert (status, out) == (0, "")
    assert [event["reason"] for event in events] == ["verify_required: needs the agent"]


HOSTILE = [
    "-x", "--config=/tmp/evil", "-", "a b", "a;id", "$(id)", "`id`", 'x" ssh-ed25519 AAAA ', 'x",environment="A=b',
    "a\\", "a'b", "a,b", "a=b", "a/b", "a:b", "a#b", "a*", "~", "!x", "é", "李", "a" * 65, "%u", "{a,b}", "a&", "a|b",
]  # fmt: skip


def test_users_with_unsafe_names_are_left_out_and_logged(keys: Keys, identity: IdentityServer) -> None:
    identity.entries = [
        {"user": user, "authorized_key": public_keys.ed25519(f"key {number}")} for number, user in enumerate(HOSTILE)
    ]
    identity.entries.append({"user": "alice", "authorized_key": ALICE})
    status, out, events = keys()
    assert (status, out) == (0, line(keys, "alice", ALICE))
    assert [event["event"] for event in events] == ["entry.left_out"] * len(HOSTILE)
    assert {event["reason"] for event in events} == {"user: not safe in a key line"}


def test_plain_users_are_listed(keys: Keys, identity: IdentityServer) -> None:
    plain = {
        user: public_keys.ed25519(user) for user in ("a", "A.b_c@d+e-f", "0", "_", "a" * 64, "a@b.org", "x--config")
    }
    identity.entries = [{"user": user, "authorized_key": key} for user, key in plain.items()]
    assert keys() == (0, "".join(line(keys, user, key) for user, key in plain.items()), [])


def test_bad_entries_are_left_out_and_logged_once_for_each_reason(keys: Keys, identity: IdentityServer) -> None:
    evil = f'{ALICE}\ncommand="evil" {public_keys.ed25519("evil")}'
    identity.entries += [{"user": "eve", "authorized_key": evil}] * 3 + [7]
    status, out, events = keys()
    assert (status, out) == (0, line(keys, "alice", ALICE) + line(keys, "bob", BOB))
    assert sorted(event["count"] for event in events) == [1, 3]


def test_key_of_two_users_opens_nothing(keys: Keys, identity: IdentityServer) -> None:
    identity.entries.append({"user": "mallory", "authorized_key": ALICE})
    status, out, (event,) = keys()
    assert (status, out) == (0, line(keys, "bob", BOB))
    assert (event["event"], event["reason"]) == ("key.opens_nothing", "ambiguous")


def test_impossible_time_in_utc_affects_no_other_line(keys: Keys, identity: IdentityServer) -> None:
    identity.entries.append(
        {"user": "eve", "authorized_key": public_keys.ed25519("e"), "expires_at": "9999-12-31T23:59:59-14:00"}
    )
    status, out, _events = keys()
    assert (status, out) == (0, line(keys, "alice", ALICE) + line(keys, "bob", BOB))


def test_certificate_and_unknown_types_send_no_request(keys: Keys, identity: IdentityServer) -> None:
    types = ("ssh-ed25519-cert-v01@openssh.com", "")
    assert keys.each(*(("--type", key_type, "--key", "AAAA") for key_type in types)) == [(0, "", [])] * 2
    assert identity.calls == []


def test_fingerprint_of_another_key_is_a_wrong_configuration_of_sshd(keys: Keys) -> None:
    wrong = ("SHA256:" + "A" * 43, "MD5:00:11")
    for status, out, (event,) in keys.each(*(("--fingerprint", each, *of(ALICE)[2:]) for each in wrong)):
        assert (status, out, event["error"]) == (78, "", "configuration")


def test_wrong_configuration_is_one_event_and_status_78(launchers: Path) -> None:
    paths = (Path("config.json"), Path("/nowhere/config.json"), Path("/tmp/$(id)"), Path("/tmp/\x1b"))
    for process in [Keys(launchers / "sshaft-keys", path).start() for path in paths]:
        status, out, (event,) = _done(process)
        assert (status, out, event["event"], event["error"]) == (78, "", "keys.failed", "configuration")


@pytest.mark.parametrize(("path", "reply"), [("/token", BUSY), ("/token", redirect("/x")), ("/keys", DEEP)])
def test_failed_service_is_one_event_and_no_keys(keys: Keys, identity: IdentityServer, path: str, reply: Any) -> None:
    identity.replies[path] = reply
    status, out, (event,) = keys()
    assert (status, out, event["error"]) == (69, "", "identity_unavailable")
    assert "s3cret" not in str(event)


@pytest.fixture
def slow_servers() -> Iterator[list[IdentityServer]]:
    replies = [("/token", hang(9)), ("/keys", hang(9)), ("/keys", drip(9)), ("/keys", drip(9, headers=False))]
    servers = []
    for path, reply in replies:
        servers.append(IdentityServer())
        servers[-1].replies[path] = reply
    yield servers
    for server in servers:
        server.close()


def test_slow_service_and_an_sshd_that_does_not_read_cost_three_seconds_at_most(
    launchers: Path, write_config: WriteConfig, slow_servers: list[IdentityServer], keys: Keys, identity: IdentityServer
) -> None:
    """The look-up may take nearly all of the three seconds here."""
    identity.entries = [
        {"user": f"user{number}", "authorized_key": public_keys.ed25519(str(number))} for number in range(1000)
    ]
    running = []
    for number, server in enumerate(slow_servers):
        config = write_config(server.config(list_seconds=2.8), f"{number}.json")
        running.append((time.monotonic(), Keys(launchers / "sshaft-keys", config).start()))
    began = time.monotonic()
    with keys.start() as unread:
        assert unread.wait(10) == 75
        assert time.monotonic() - began < 9.3
    for began, process in running:
        status, out, (event,) = _done(process)
        assert time.monotonic() - began < 9.6
        assert out == ""
        assert status in (69, 75)
        assert event["event"] == "keys.failed"
