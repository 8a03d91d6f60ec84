"""Sets up a help desk: carol may change, rita may look, alice and bob are people."""

from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser
from service.service import SETTINGS, Service

from sshaft_identity.service.app import create_app
from sshaft_identity.settings import changed

DESK = {"desk": {"users": ("carol",)}, "reader": {"users": ("rita",)}}


def use(service: Service, listening: Any, **settings: Any) -> None:
    """Restarts the application with other settings."""
    app = create_app(service.store, changed(SETTINGS, {"desk": DESK} | settings), service.clock)
    listening[0].app = service.app = app


@pytest.fixture
def keys(service: Service, listening: Any) -> dict[str, str]:
    """Returns the fingerprint of each person's key."""
    use(service, listening)
    return {name: service.add_user(name, ed25519(name))[0] for name in ("alice", "bob", "carol", "rita")}


def signed_in(service: Service, keys: dict[str, str], name: str) -> Browser:
    browser = Browser(service)
    browser.sign_in(name, keys[name])
    return browser


@pytest.fixture
def carol(service: Service, keys: dict[str, str]) -> Browser:
    """Returns a browser in which carol has just signed in by ssh. She may change."""
    return signed_in(service, keys, "carol")


@pytest.fixture
def rita(service: Service, keys: dict[str, str]) -> Browser:
    """Returns a browser in which rita has just signed in by ssh. She may look."""
    return signed_in(service, keys, "rita")


@pytest.fixture
def alice(service: Service, keys: dict[str, str]) -> Browser:
    """Returns a browser in which alice has just signed in by ssh. She has no role."""
    return signed_in(service, keys, "alice")
