"""Simulates a provider at which people type the code that ssh has printed."""

import json
from dataclasses import dataclass, field
from typing import Any

import requests
from service.service import Service

from sshaft_identity.clients.clients import Client
from sshaft_identity.database.tables import audit_events


@dataclass
class Provider:
    """A provider. All its calls are below `path`."""

    service: Service
    face: str
    path: str
    name: str = "provider"
    options: dict[str, Any] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    secret: str = ""

    def __post_init__(self) -> None:
        self.secret = self.service.store.clients.add(
            Client(self.name, frozenset([]), networks=self.networks, faces={self.face: self.options}),
            self.service.clock(),
        )

    def call(self, step: str, body: Any = None, method: str = "POST", **more: Any) -> requests.Response:
        auth = more.pop("auth", (self.name, self.secret))
        return self.service.call(method, f"{self.path}{step}", json=body, auth=auth, **more)


def printed(service: Service, fingerprint: str, user: str = "alice") -> str:
    """Returns the code that ssh prints. Of several logins the person chooses the newest."""
    answer = service.accept(user, fingerprint=fingerprint, confirmed=True)
    if answer.json().get("error") == "choice_required":
        newest = answer.json()["choices"][0]["challenge"]
        answer = service.accept(user, fingerprint=fingerprint, confirmed=True, challenge=newest)
    assert answer.json()["state"] == "presented", answer.text
    return str(answer.json()["code"])


def audited(service: Service) -> list[tuple[str, str | None]]:
    """Returns the events of the audit log, each with its error."""
    with service.store.database.read() as connection:
        rows = connection.execute(audit_events.select().order_by(audit_events.c.id)).all()
    return [(row.event, json.loads(row.facts).get("error")) for row in rows if not row.event.startswith("client.")]


def refusals(service: Service) -> list[str | None]:
    return [error for event, error in audited(service) if event == "request.refused"]
