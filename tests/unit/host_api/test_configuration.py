"""Tests what host-api.json may say, and the pages that come from files."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.host_api import Api

from sshaft.errors import ConfigurationError
from sshaft_host_api.app import App
from sshaft_host_api.configuration import Settings, load
from sshaft_host_api.endpoints import ENDPOINTS
from sshaft_host_api.pages import read_privacy

SHIPPED = Path(__file__).parents[3] / "examples" / "host-api" / "host-api.json"


def test_shipped_file_is_right() -> None:
    assert load(SHIPPED).socket == Path("/run/sshaft-host-api/http.sock")


def test_empty_file_serves_this_host_alone(tmp_path: Path) -> None:
    path = tmp_path / "host-api.json"
    path.write_text("{}")
    assert load(path) == Settings()
    assert (load(path).host, load(path).port) == ("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"prot": 80}, "unknown key 'prot'; the nearest known one is 'port'"),
        ({"port": 65536}, "port Input should be less than or equal to 65535"),
        ({"socket": "http.sock"}, "socket must be an absolute path"),
        ({"certificate_file": "/a"}, "certificate_file and private_key_file belong together; give both"),
        ({"socket": "/a", "port": 80}, "socket goes without host, port and certificate_file; a proxy has these"),
        ({"trusted_proxies": ["proxy"]}, "is no address and no network"),
        ({"trusted_proxies": ["192.0.2.7/24"]}, "is no address and no network"),
        ({"trusted_proxies": ["*"]}, "is no address and no network"),
        ({"cross_origin": "https://a.example"}, "cross_origin"),
    ],
)
def test_wrong_member_is_named(tmp_path: Path, members: dict[str, Any], said: str) -> None:
    path = tmp_path / "host-api.json"
    path.write_text(json.dumps(members))
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_statement_of_privacy_runs_no_scripts(api: Api, tmp_path: Path) -> None:
    text, page = tmp_path / "privacy.txt", tmp_path / "privacy.html"
    text.write_text("<script>alert()</script>")
    page.write_text("<h1>Privacy</h1>")
    assert "<pre>&lt;script&gt;" in (read_privacy(text) or "")
    answer = Api(App(api.app.agent, statement=read_privacy(page)), api.agent).get("/motley_cue/privacy/", token=None)
    assert (answer.status, answer.text) == (200, "<h1>Privacy</h1>")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_host_without_a_statement_of_privacy_says_so(api: Api) -> None:
    answer = api.get("/privacy", token=None)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_description_for_programs_has_every_endpoint(api: Api) -> None:
    described = api.get("/openapi.json", token=None).json["paths"]
    assert set(described) == set(ENDPOINTS) - {"", "/openapi.json"}
    assert described["/admin/suspend"]["get"]["parameters"][0]["name"] == "sub"
    assert described["/info"]["get"]["security"] == []
    assert described["/verify_user"]["get"]["security"] == [{"token": []}]
