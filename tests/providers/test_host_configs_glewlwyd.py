"""Tests the files of other modules at the real Glewlwyd of Debian, with the real sshd, ssh and PAM."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from providers import glewlwyd
from providers.glewlwyd import CLIENT, SECRET, Glewlwyd

from sshaft_demo.host import MODULE, HostSshd
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place


@dataclass
class Host:
    """A host whose agent has no configuration but the file of another module."""

    place: Place
    server: Glewlwyd
    issuer: str
    sshd: HostSshd
    file: Path

    def write(self, data: dict[str, Any]) -> None:
        self.file.write_text(json.dumps(data))
        self.place.give(self.file, None, 0o640, group=AGENT)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with glewlwyd.running(tmp_path_factory.mktemp("glewlwyd")) as server, Place() as place:
        issuer = server.set_up_provider(place.person, CLIENT, SECRET)
        file, config = place.directory / "pam_oauth2_device.json", place.directory / "config.json"
        state = str(place.folder("state", AGENT, 0o700))
        own = {"issuer": "https://127.0.0.1:9", "client_id": "c", "allow": {"everyone": True}, "state_directory": state}
        config.write_text(json.dumps({"host_login": own}))
        socket = Agent(place, config).runtime / "host" / "agent.sock"
        yield Host(place, server, issuer, HostSshd(place, socket, free_port(), arguments=f"config={file}"), file)


def rust(issuer: str) -> dict[str, Any]:
    return {
        "client_id": CLIENT,
        "client_secret": SECRET,
        "oauth_auth_url": f"{issuer}/auth",
        "oauth_device_url": f"{issuer}/device_authorization",
        "oauth_token_url": f"{issuer}/token",
        "oauth_token_introspect_url": f"{issuer}/introspect",
        "scope": "openid",
    }


def cpp(issuer: str, person: str) -> dict[str, Any]:
    oauth = {
        "client": {"id": CLIENT, "secret": SECRET},
        "scope": "openid",
        "device_endpoint": f"{issuer}/device_authorization",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "username_attribute": "username",
    }
    return {"oauth": oauth, "qr": {"error_correction_level": 0}, "users": {person: [person]}}


@pytest.mark.parametrize("module", ["rust", "cpp"])
def test_file_of_another_module_serves_a_login_at_glewlwyd(host: Host, module: str) -> None:
    host.write(rust(host.issuer) if module == "rust" else cpp(host.issuer, host.place.person))
    said, status = glewlwyd.approved_login(host.server, host.sshd)
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")
