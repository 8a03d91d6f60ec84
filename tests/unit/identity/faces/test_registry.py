"""Tests that a face registers itself: a new identity provider needs only one module in the folder."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes.public_keys import ed25519
from service.service import SETTINGS, Service

from sshaft_identity import faces
from sshaft_identity.clients.clients import Client
from sshaft_identity.commands.identity import identity
from sshaft_identity.faces import all_faces, all_providers
from sshaft_identity.service.app import create_app

DOCS = Path(__file__).parents[4] / "docs" / "providers"
RECIPES = Path(faces.__file__).parent / "recipes"
TOY = """
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft_identity.face_support import typed_codes
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.options import AppOptions
from sshaft_identity.face_support.setup import Provider, register_with_app
from sshaft_identity.web.call import Call, in_thread


def begin(call: Call) -> Response:
    client = typed_codes.client_of_basic(call, "toy")
    challenge = typed_codes.begin_login(call, client, call.request.path_params["user"], None)
    return JSONResponse({"id": challenge.id})


FACE = Face(
    name="toy",
    options=AppOptions,
    routes=lambda _clock: [Route("/toy/{user}", in_thread(begin), methods=["POST"])],
    metadata=lambda settings: {"toy_endpoint": f"{settings.base_url}/toy"},
    grants={"urn:toy": lambda call, client, form: {"toy": client.client_id}},
    providers={"toy-provider": Provider(register_with_app)},
    checks=lambda client, reach: iter([reach.check_host("http://127.0.0.1:1/", "of the toy")]),
)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[None]:
    """Lets Python find a module `toy` in the folder of the faces."""
    (tmp_path / "toy.py").write_text(TOY)
    faces.__path__.append(str(tmp_path))
    all_faces.cache_clear()
    yield
    faces.__path__.remove(str(tmp_path))
    sys.modules.pop("sshaft_identity.faces.toy", None)
    all_faces.cache_clear()


@pytest.mark.usefixtures("toy")
def test_toy_face_gets_its_client_from_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str, **more: str) -> str:
        result = CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments], **more)
        assert result.exit_code in (0, 1), result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.stdout

    run("init")
    assert "toy-provider" in run("client", "add", "--help")
    run("client", "add", "theirs", "--for", "toy-provider", "--app", "The toy")
    assert run("client", "list").splitlines()[1].split() == ["theirs", "-", "toy", "no", "-", "-"]
    run("client", "set-face", "theirs", "toy", input='{"app": "Another toy"}')
    assert '"Another toy"' in run("client", "list", "--json")
    assert "the host of the toy" in run("client", "test", "theirs")


@pytest.mark.usefixtures("toy")
def test_toy_face_serves_logins_tokens_and_its_part_of_discovery(service: Service, listening: tuple[Any, str]) -> None:
    service.add_user("alice", ed25519("alice"))
    theirs = Client("theirs", frozenset(), faces={"toy": {"app": "The toy"}})
    secret = service.store.clients.add(theirs, service.clock())
    listening[0].app = create_app(service.store, SETTINGS, service.clock)
    begun = service.call("POST", "/toy/alice", auth=("theirs", secret))
    assert begun.status_code == 200
    challenge = service.store.challenges.get(begun.json()["id"])
    assert challenge
    assert (challenge.user, challenge.client) == ("alice", "theirs")
    token = service.call("POST", "/oauth2/token", auth=("theirs", secret), data={"grant_type": "urn:toy"})
    assert token.json() == {"toy": "theirs"}
    metadata = service.call("GET", "/.well-known/openid-configuration").json()
    assert metadata["toy_endpoint"] == "https://id.example.org/toy"
    assert "urn:toy" in metadata["grant_types_supported"]


def test_every_provider_has_a_recipe_and_a_page() -> None:
    names = set(all_providers())
    assert {path.stem for path in RECIPES.glob("*.txt")} == names
    assert names <= {path.stem for path in DOCS.glob("*.md")}
