"""Clients that are told of the ends of logins, as the service does it in the background."""

from service.service import Service

from sshaft.http_client import HttpClient
from sshaft_identity.database.tables import pings
from sshaft_identity.face_support.notifications import Pings, send


def send_due(service: Service) -> int:
    """How many were tried."""
    waiting, http = Pings(service.store), HttpClient()
    due = waiting.due(service.clock())
    for ping in due:
        if send(http, ping):
            waiting.heard(ping, service.clock())
    http.close()
    return len(due)


def left(service: Service) -> int:
    with service.store.database.read() as connection:
        return len(connection.execute(pings.select()).all())
