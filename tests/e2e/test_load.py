"""Tests a hundred parallel logins through one sshd and one agent."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from e2e.conftest import Keys, MakeFakeSite, Site

from sshaft import public_key
from sshaft_demo.parts import Sshd, agent_question, free_port, run
from sshaft_demo.place import KEYS, Place

PEOPLE = 100
ROUNDS = 8
"""A machine that stands still for three seconds makes the keys command give up, as it must. Who is refused so has not
been reported, and comes again; on a machine that runs nobody has to.
"""
REFUSED_BY_SSHD = 255
MANY, TIMES, AT_ONCE = 20, 10, 200

ASK_A_HUNDRED_TIMES = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
sys.path.append({packages!r})
from sshaft import agent_socket
with ThreadPoolExecutor(100) as pool:
    asked = [pool.submit(agent_socket.ask, sys.argv[1], "keys", {question!r}) for _ in range(100)]
lines = [each.result()[1]["lines"] for each in asked]
print(json.dumps({{"answers": len(lines), "different": len(set(lines)), "first": lines[0][:8]}}))
"""


def test_a_hundred_logins_at_once_all_pass_and_each_once(site: Site, keys: Keys) -> None:
    names = [f"person{i}" for i in range(PEOPLE)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keys, names))
    site.identity.run_all([["user", "add", name] for name in names])
    site.identity.run_all([["key", "add", name, str(keys(name).with_suffix(".pub"))] for name in names])
    opened = {name: site.identity.open_challenge(name) for name in names}
    before = site.accepts()
    refused = names
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(PEOPLE) as pool:
            done = list(pool.map(lambda name: site.sshd.ssh(keys(name), opened[name]["code"], timeout=120), refused))
        assert {each.returncode for each in done} <= {0, REFUSED_BY_SSHD}, {each.stderr for each in done}
        refused = [name for name, each in zip(refused, done, strict=True) if each.returncode != 0]
        if not refused:
            break
    assert not refused
    assert site.accepts() == before + PEOPLE
    assert {site.identity.challenge(opened[name]["id"])["state"] for name in names} == {"accepted"}


def test_a_hundred_look_ups_at_once_make_one_token_and_one_list_request(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    site.server.delay = 0.3
    site.server.entries = [{"user": "alice", "authorized_key": keys.text("alice")}]
    place = site.sshd.place
    listing = public_key.parse(keys.text("alice"))
    question = {"fingerprint": listing.fingerprint, "type": listing.type, "key": str(listing).split()[1]}
    program = ASK_A_HUNDRED_TIMES.format(packages=str(place.packages), question=question)
    socket = site.agent.runtime / "keys" / "agent.sock"
    answers = json.loads(run(place, [place.sshaft()[0], "-I", "-c", program, socket], KEYS))
    assert answers == {"answers": 100, "different": 100, "first": "restrict"}, "each line has a ticket of its own"
    assert [site.server.count(path) for path in ("/token", "/keys")] == [1, 1]


@pytest.mark.parametrize("client", ["sshaft-keys-native", "sshaft-keys"])
def test_logins_of_one_person_at_once_all_pass(place: Place, keys: Keys, fake_site: MakeFakeSite, client: str) -> None:
    """Finding S23: logins of one person at once shared one ticket, and one of them passed."""
    if client not in place.agent_clients():
        pytest.skip("the client in C is not built here")
    site = fake_site()
    names = [f"person{i}" for i in range(MANY)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keys, names))
    site.server.entries = [{"user": name, "authorized_key": keys.text(name)} for name in names]
    command = {"AuthorizedKeysCommand": agent_question(place, site.agent.runtime, client)}
    sshd = Sshd(place, site.agent.runtime, free_port(), command)
    waiting = [name for name in names for _ in range(TIMES)]
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = list(pool.map(lambda name: sshd.ssh(keys(name), timeout=120).returncode, waiting))
        assert set(done) <= {0, REFUSED_BY_SSHD}
        waiting = [name for name, status in zip(waiting, done, strict=True) if status != 0]
        if not waiting:
            break
    place.stop(sshd.process)
    assert not waiting
    assert Counter(site.server.accepted) == Counter(names * TIMES)
