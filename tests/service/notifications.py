"""Sends the notifications of ended logins, as the service does it in the background."""

from service.service import Service

from sshaft.http_client import HttpClient
from sshaft_identity.database.tables import pings
from sshaft_identity.face_support.notifications import Notifications, send


def send_due(service: Service) -> int:
    """Tries to send each due notification. Returns the number of tries."""
    notifications, http = Notifications(service.store), HttpClient()
    found = notifications.take_due(service.clock())
    for due in found:
        if send(http, due):
            notifications.mark_delivered(due, service.clock())
    http.close()
    return len(found)


def count_stored(service: Service) -> int:
    with service.store.database.read() as connection:
        return len(connection.execute(pings.select()).all())
