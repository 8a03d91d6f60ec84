"""A host that asks people to approve SSH logins, as its agent does."""

from dataclasses import dataclass
from typing import Any

import requests
from service.service import Service

from sshaft_identity.approvals.approval import Approval, Consent, Person, Verdict
from sshaft_identity.challenges.challenge import AddressCheck
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.people.sessions import Method, Proof, hash_of

HOME = "192.0.2.7"
KEY = "SHA256:FotcOXv9UQbnDPUyYt8z4WJ6YbnXzqdhHxx5LLnhK2c"


@dataclass
class Host:
    """A client with the scope `approvals`. It is added if it is missing."""

    service: Service
    name: str = "build-1"

    def __post_init__(self) -> None:
        if self.name not in {each.client_id for each in self.service.store.clients.all()}:
            client = Client(self.name, frozenset([Scope.APPROVALS]))
            self.service.store.clients.add(client, self.service.clock())

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = self.service.bearer(Scope.APPROVALS, self.name)
        return self.service.call(method, f"/api/v1/approvals{path}", headers=headers, **more)

    def ask(self, **more: Any) -> requests.Response:
        asked = {"host": self.name, "service": "sshd", "account": "alice", "user": "alice", "client_ip": HOME}
        body = {name: value for name, value in (asked | more).items() if value is not None}
        return self.call("POST", "", json=body)

    def open(self, **more: Any) -> dict[str, Any]:
        answer = self.ask(**more)
        assert answer.status_code == 201, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    def state(self, approval: str, wait: int = 0) -> str:
        answer = self.call("GET", f"/{approval}", params={"wait": wait})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    def verify(self, approval: str, digits: str) -> requests.Response:
        return self.call("POST", f"/{approval}/verify", json={"code": digits})

    def end(self, approval: str, outcome: str) -> requests.Response:
        return self.call("POST", f"/{approval}/end", json={"outcome": outcome})


def approval_of(service: Service, identifier: str) -> Approval:
    found = service.store.approvals.get(identifier)
    assert found
    return found


def consent_of(service: Service, user: str = "alice", address: str | None = HOME) -> Consent:
    """Signs the person in, and returns the consent of that sign-in."""
    proof = Proof(Method.OIDC, service.clock(), amr=("pwd", "otp"), acr="urn:example:two")
    assert service.app
    session = service.app.state.sshaft.sessions.start(user, proof, service.clock())
    user_id = service.store.users.id_of(user)
    assert session
    assert user_id
    person = Person(user, user_id, session.authenticated_at, session.amr, session.acr)
    return Consent(person, service.clock(), address, hash_of(session.token))


def approve(service: Service, identifier: str, user: str = "alice") -> str:
    """Approves for the person, without the page. Returns the digits that the page would show."""
    answer = service.store.approvals.approve(identifier, consent_of(service, user), AddressCheck.WARN, service.clock())
    assert answer.verdict is Verdict.APPROVED
    assert answer.approval
    return service.store.approvals.digits_of(answer.approval)
