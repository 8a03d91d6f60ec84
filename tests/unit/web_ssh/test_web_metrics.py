"""Tests the metrics of `sshaft web`. No label names a person."""

import time

import asyncssh
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from pydantic import ValidationError

from sshaft.daemon import metrics
from sshaft_web import events
from sshaft_web.configuration import Limits, Settings
from sshaft_web.metrics import WebCollector
from sshaft_web.people.sessions import End, Person, Sessions
from sshaft_web.targets import Target
from sshaft_web.terminals.terminals import Terminals

ALICE = Person("https://op.example.org", "id-of-alice", "alice")


def scrape() -> dict[str, float]:
    """Returns the values by name and label."""
    target = Target("login", "Login host", "login.example.org", 22, asyncssh.import_known_hosts(""), None)
    sessions = Sessions(time.monotonic, 60)
    terminals = Terminals({target.name: target}, Limits(), sessions, time.monotonic, events.Audit)
    registry = metrics.new_registry("web")
    registry.register(WebCollector(sessions, terminals))
    text = metrics.scrape(registry, "")[0].decode()
    assert not any(word in text for word in ("alice", "op.example.org", "192.0.2.7"))
    samples = [sample for family in parse(text) for sample in family.samples]
    return {":".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_hosts_and_usual_reasons_are_there_before_anything_has_happened() -> None:
    found = scrape()
    assert found["sshaft_web_terminals:login"] == found["sshaft_web_sessions"] == 0
    assert {f"sshaft_web_sign_outs_total:{end}" for end in End} <= set(found)
    assert "sshaft_web_terminals_closed_total:exited" in found


@pytest.mark.usefixtures("events")
def test_what_happens_is_counted_by_its_reason() -> None:
    before = scrape()
    events.signed_in(ALICE, "192.0.2.7")
    events.signed_out(ALICE, End.LOGGED_OUT)
    events.refused(ALICE, "login", "too_many_terminals", "192.0.2.7")
    after = scrape()
    changed = {name: value - before[name] for name, value in after.items() if value != before[name]}
    assert {name: value for name, value in changed.items() if name.startswith("sshaft_web_")} == {
        "sshaft_web_sign_ins_total": 1,
        "sshaft_web_sign_outs_total:logged_out_at_provider": 1,
        "sshaft_web_terminals_refused_total:too_many_terminals": 1,
    }


@pytest.mark.parametrize("where", ["9466", "127.0.0.1", "127.0.0.1:x", ""])
def test_address_of_the_metrics_needs_a_host_and_a_port(where: str) -> None:
    settings = {
        "public_url": "https://ssh.example.org", "provider": {"issuer": "https://op.example.org", "client_id": "a"},
        "targets": {"host": {"host": "192.0.2.1", "known_hosts": ["192.0.2.1 ssh-ed25519 AAAA"]}}, "metrics": where,
    }  # fmt: skip
    with pytest.raises(ValidationError, match="must be HOST:PORT"):
        Settings.model_validate(settings)
