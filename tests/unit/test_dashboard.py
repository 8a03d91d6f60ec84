"""The Grafana dashboard (docs/grafana/sshaft.json): a shape that Grafana takes, and only metrics that there are."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from fakes.identity_server import IdentityServer
from prometheus_client.parser import text_string_to_metric_families as parse
from service.service import Clock, new_store

from sshaft.daemon import metrics
from sshaft_agent import sockets
from sshaft_agent.agent import Agent
from sshaft_agent.metrics import AgentCollector, observer
from sshaft_identity.audit import chain
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.service.metrics import Metrics
from sshaft_web.configuration import Limits
from sshaft_web.events import Audit
from sshaft_web.metrics import WebCollector
from sshaft_web.people.sessions import Sessions
from sshaft_web.targets import Target
from sshaft_web.terminals.terminals import Terminals

FILE = Path(__file__).resolve().parent.parent.parent / "docs" / "grafana" / "sshaft.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.fixture
def samples(tmp_path: Path, identity: IdentityServer) -> Iterator[dict[str, set[str]]]:
    """Every sample of a scrape of all programs, with its labels."""
    path = tmp_path / "config.json"
    state = tmp_path / "state"
    state.mkdir()
    host_login = {"issuer": "https://op.example", "client_id": "a", "allow": {"everyone": True}}
    path.write_text(json.dumps(identity.config() | {"host_login": host_login | {"state_directory": str(state)}}))
    path.chmod(0o600)
    account = sockets.account(None)
    agent = metrics.new_registry("agent")
    agent.register(AgentCollector(Agent(path, tmp_path / "run", account, account, observer(agent))))
    clock = Clock()
    with new_store(tmp_path) as store:
        service = Metrics(store, clock)
        store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
        chain.seal_all(store.database, service.count_events)
        service.request_began("/healthz")
        service.request_ended("/healthz", "GET", 200, 0.1)
        web = metrics.new_registry("web")
        target = Target("login", "Login host", "login.example.org", 22, asyncssh.import_known_hosts(""), None)
        sessions = Sessions(time.monotonic, 60)
        terminals = Terminals({target.name: target}, Limits(), sessions, time.monotonic, Audit)
        web.register(WebCollector(sessions, terminals))
        found: dict[str, set[str]] = {}
        for registry in (agent, service.registry, web):
            for family in parse(metrics.scrape(registry, "")[0].decode()):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
        yield found


def test_every_metric_and_label_of_the_dashboard_is_in_a_real_scrape(samples: dict[str, set[str]]) -> None:
    for expression in EXPRESSIONS:
        names = re.findall(r"sshaft_\w+", expression)
        assert names, expression
        labels = {label for name in names for label in samples[name]}
        for grouping in re.findall(r"by \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", grouping)) <= labels, expression
        assert set(re.findall(r"[{,](\w+)=~?\"", expression)) <= labels, expression


def test_every_metric_of_ours_is_on_the_dashboard(samples: dict[str, set[str]]) -> None:
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in samples if name.startswith("sshaft_")}
    shown = {re.sub(r"_bucket$", "", name) for each in EXPRESSIONS for name in re.findall(r"sshaft_\w+", each)}
    assert {name.removesuffix("_total") for name in families} == {name.removesuffix("_total") for name in shown}


def test_counters_are_shown_as_rates_and_legends_name_what_is_grouped_by() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            if "_total" in target["expr"] or "_bucket" in target["expr"]:
                assert "rate(" in target["expr"]
                assert "[$__rate_interval]" in target["expr"]
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label in re.findall(r"by \(([^)]*)\)", target["expr"])[0]


def test_it_has_the_shape_that_grafana_imports() -> None:
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(DASHBOARD)
    assert "id" not in DASHBOARD, "the id is the importing Grafana's own"
    [source] = DASHBOARD["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"]["uid"] == "${" + source["name"] + "}"
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_lies_over_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
