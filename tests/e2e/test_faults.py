"""Tests an identity service that is down, slow, wrong or hostile. No login passes or hangs. One retry helps."""

import json
import time
from collections.abc import Callable

import pytest
from e2e.conftest import FakeSite, Keys, MakeFakeSite
from fakes.identity_server import BUSY, DEEP, ERROR, HTML, Reply, drip, gibibyte, hang, redirect, reply_json

SLOWEST = 3.0 * 2 + 2
"""Seconds: one key makes at most two runs of sshaft-keys, and ssh itself takes its time on a busy machine."""

BROKEN: dict[str, Callable[[FakeSite], Reply]] = {
    "hanging": lambda _: hang(),
    "dripping headers": lambda _: drip(),
    "dripping body": lambda _: drip(headers=False),
    "500": lambda _: ERROR,
    "HTML": lambda _: HTML,
    "redirect": lambda site: redirect(f"{site.server.url}/elsewhere"),
    "1 GiB": lambda _: gibibyte(),
    "deep JSON": lambda _: DEEP,
    "null": lambda _: reply_json(None),
}


def waiting(site: FakeSite, keys: Keys, user: str = "alice") -> None:
    site.server.entries = [{"user": user, "authorized_key": keys.text("alice")}]


@pytest.mark.parametrize("path", ["/token", "/keys"])
@pytest.mark.parametrize("how", BROKEN)
def test_broken_answer_gives_no_keys_and_no_wait(fake_site: MakeFakeSite, keys: Keys, how: str, path: str) -> None:
    site = fake_site()
    waiting(site, keys)
    site.server.replies[path] = BROKEN[how](site)
    began = time.monotonic()
    assert site.sshd.ssh(keys("alice")).returncode == 255
    assert time.monotonic() - began < SLOWEST
    assert site.server.accepted == []
    assert site.server.count("/elsewhere") == 0
    assert site.events("keys.failed")
    del site.server.replies[path]
    site.agent.process.send_signal(1)  # SIGHUP: begin anew rather than wait for the breaker
    time.sleep(0.2)
    assert site.sshd.ssh(keys("alice")).returncode == 0


@pytest.mark.parametrize("how", [how for how in BROKEN if how not in ("HTML", "deep JSON", "null", "1 GiB")])
def test_broken_accept_is_never_called_a_pass(fake_site: MakeFakeSite, keys: Keys, how: str) -> None:
    site = fake_site(accept_seconds=2)
    waiting(site, keys)
    site.server.replies["/accept"] = BROKEN[how](site)
    done = site.sshd.ssh(keys("alice"))
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr.startswith("The login service can't be reached just now.")
    assert "reference" in done.stderr


def test_service_that_is_down_is_refused_at_once_and_comes_back_by_itself(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    waiting(site, keys)
    port = site.server.port
    assert site.sshd.ssh(keys("alice")).returncode == 0
    site.server.replies["/keys"] = site.server.replies["/token"] = ERROR
    time.sleep(2.1)  # what the agent remembers of the list
    for _ in range(3):
        assert site.sshd.ssh(keys("alice")).returncode == 255
    assert site.agent.status()["identity_service"] == "down"
    calls = len(site.server.calls)
    assert site.sshd.ssh(keys("alice")).returncode == 255
    assert len(site.server.calls) - calls <= 5  # one trial at most, with its repetitions
    site.server.replies.clear()
    end = time.monotonic() + 15
    while site.sshd.ssh(keys("alice")).returncode != 0:
        assert time.monotonic() < end, f"port {port}: the breaker stays open"
        time.sleep(0.5)
    assert site.events("identity.down")
    assert site.events("identity.up")


def test_closed_port_is_refused(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    waiting(site, keys)
    site.server.close()
    began = time.monotonic()
    assert site.sshd.ssh(keys("alice")).returncode == 255
    assert time.monotonic() - began < SLOWEST


def test_one_503_on_each_call_is_survived(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    waiting(site, keys)
    site.server.replies = {"/token": [BUSY], "/keys": [BUSY], "/accept": [BUSY]}
    assert site.sshd.ssh(keys("alice")).returncode == 0
    assert site.server.accepted == ["alice"]
    assert [site.server.count(path) for path in ("/token", "/keys", "/accept")] == [2, 2, 2]


def test_token_revoked_at_the_server_is_renewed(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    waiting(site, keys)
    assert site.sshd.ssh(keys("alice")).returncode == 0
    site.server.revoke_tokens()
    assert site.sshd.ssh(keys("alice")).returncode == 0
    assert site.server.count("/token") == 2
    assert site.server.accepted == ["alice", "alice"]


def test_two_users_with_the_same_key_let_nobody_in(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    site.server.entries = [
        {"user": "mallory", "authorized_key": keys.text("alice")},
        {"user": "alice", "authorized_key": keys.text("alice") + " her own"},
        {"user": "bob", "authorized_key": keys.text("bob")},
    ]
    assert site.sshd.ssh(keys("alice")).returncode == 255
    assert site.sshd.ssh(keys("bob")).returncode == 0
    assert site.server.accepted == ["bob"]
    assert [event["reason"] for event in site.events("key.opens_nothing")] == ["ambiguous"]


def test_expired_challenge_yields_no_keys(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    entry = {"user": "alice", "authorized_key": keys.text("alice"), "challenge": "c1", "binding": "code_in"}
    site.server.entries = [{**entry, "expires_at": "2020-01-01T00:00:00Z"}]
    assert site.sshd.ssh(keys("alice"), "123456").returncode == 255
    assert [event["reason"] for event in site.events("key.opens_nothing")][:1] == ["expired"]


@pytest.mark.parametrize(
    ("status", "error", "exit_status", "said"),
    [
        (410, "expired", 2, "Your login has expired. Start it again in the browser."),
        (410, "rejected", 2, "Your login was stopped: it was denied, or its codes were wrong."),
        (409, "already_used", 2, "Your login has been passed already."),
        (404, "no_challenge", 2, "No login is waiting for you."),
        (403, "invalid_code", 1, "That is not the code of your login."),
        (403, "\x1b[2J\n<b>", 77, "Your login was refused."),
        (429, "too_many_attempts", 4, "Too many wrong codes."),
    ],
)
def test_refusal_becomes_one_calm_sentence(
    fake_site: MakeFakeSite, keys: Keys, status: int, error: str, exit_status: int, said: str
) -> None:
    site = fake_site()
    entry = {"user": "alice", "authorized_key": keys.text("alice"), "challenge": "c1", "binding": "code_in"}
    site.server.entries = [{**entry, "expires_at": "2099-01-01T00:00:00Z"}]
    site.server.replies["/accept"] = reply_json({"error": error, "title": "\x1b]0;owned\x07"}, status)
    done = site.sshd.ssh(keys("alice"), "123456")
    assert done.returncode == exit_status
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def hostile_entries(keys: Keys, marker: str) -> list[object]:
    """Returns hostile answers of an identity service. Most of them contain a key of the attacker."""
    evil, good = keys.text("stranger"), keys.text("alice")
    plain = " ".join(good.split()[:2])
    texts = [
        f"{plain} comment\n{evil}",
        f"{plain}\r{evil}",
        f'command="touch {marker}" {evil}',
        f'x" {evil}',
        f'{plain}",command="touch {marker}" ',
        f"cert-authority {evil}",
        f"{plain}\x00{evil}",
        f"# {evil}",
        f"{plain} {'x' * 65536}\n{evil}",
        f"ssh-ed25519 {'A' * 65536}",
        f"ssh-ed25519\u00a0{evil.split()[1]}\u2028{evil}",
        f'environment="LD_PRELOAD=/tmp/x.so" {evil}',
    ]
    names = [f"alice; touch {marker}", f"$(touch {marker})", f"`touch {marker}`", f'x" {evil} ', f"x\n{evil}\n"]
    names += ["x --user victim", "--config=/tmp/x", "\u0430lice", "\u202eecila", "a" * 65536, "nul\x00", "", "'", "\\"]
    entries: list[object] = [{"user": "mallory", "authorized_key": text} for text in texts]
    entries += [{"user": name, "authorized_key": keys.text("carol")} for name in names]
    entries += [None, 1, "x", [], {}, {"user": 1, "authorized_key": 2}, {"user": "x"}, {"authorized_key": evil}]
    entries.append(
        {"user": "bob", "authorized_key": keys.text("bob"), "challenge": f'c";touch {marker}', "binding": "x"}
    )
    entries.append({"user": "dave", "authorized_key": keys.text("dave")})
    return entries


def test_hostile_identity_service_writes_no_line_of_its_own(
    fake_site: MakeFakeSite, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("marker")
    folder.chmod(0o777)
    marker = folder / "made"
    site = fake_site()
    site.server.entries = hostile_entries(keys, str(marker))
    for name in ("stranger", "carol", "bob"):
        assert site.sshd.ssh(keys(name), f"touch {marker}").returncode == 255, name
    assert site.sshd.ssh(keys("dave")).returncode == 0
    assert not marker.exists()
    assert site.server.accepted == ["dave"]
    for line in site.log().splitlines():
        json.loads(line)


@pytest.mark.parametrize("name", ["alice; id", "$(id)", "-l root", "x\"y'z", "ünïcödé", "a b", "\u4e2d\u6587"])
def test_odd_but_printable_user_name_arrives_as_data(fake_site: MakeFakeSite, keys: Keys, name: str) -> None:
    site = fake_site()
    waiting(site, keys, name)
    assert site.sshd.ssh(keys("alice")).returncode == 0
    assert site.server.accepted == [name]
