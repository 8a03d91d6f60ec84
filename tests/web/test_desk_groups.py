"""Tests in a real browser that the help desk asks the OpenID Provider again for a member's groups, and leads back."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import NO_SCRIPTS, seconds_until, title
from web.served import Identity, command, serving
from web.test_account_pages import press

from sshaft_identity.commands.shared import open_store
from sshaft_identity.database.tables import sessions
from sshaft_identity.settings import load


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), "", public=True) as provider:
        yield provider


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, provider: OpenIdProvider) -> Iterator[Identity]:
    """Starts a service whose help desk is a group of the provider."""
    directory = tmp_path_factory.mktemp("groups") / "directory"
    command(directory, "init", "--listen", "127.0.0.1:0", "--ssh-host", "login.example.org")
    path = directory / "identity.json"
    oidc = {"issuer": provider.issuer, "client_id": CLIENT_ID, "groups_claim": "groups"}
    more = {"oidc": oidc, "desk": {"desk": {"groups": ["helpdesk"]}}}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    command(directory, "user", "add", "dora")
    with serving(directory, "SHA256:" + "A" * 43) as site:
        provider.redirect_uri = f"{site.url}/sign-in/oidc/callback"
        yield site


def let_an_hour_go_by(site: Identity) -> None:
    """Makes the sign-in of every session an hour older."""
    with open_store(site.directory, load(site.directory)) as store, store.database.write() as connection:
        before = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(sessions.update().values(authenticated_at=before))


@pytest.mark.parametrize("scripts", [True, False])
def test_browser_goes_to_the_provider_and_back_by_itself(
    desk: Identity, provider: OpenIdProvider, browse: Callable[..., WebDriver], scripts: bool
) -> None:
    """Also from a form: the policy of the page would block that its answer leads to another site."""
    browser = browse() if scripts else browse(preferences=NO_SCRIPTS)
    provider.user = {"sub": "subject-d", "preferred_username": "dora", "groups": ["helpdesk"]}
    browser.get(f"{desk.url}/desk")
    press(browser, "Sign in with your organisation")
    seconds_until(lambda: title(browser) == "Find a person")
    let_an_hour_go_by(desk)
    asked = len(provider.forms)
    browser.find_element(By.NAME, "q").send_keys("do", Keys.ENTER)
    seconds_until(lambda: len(provider.forms) > asked and title(browser) == "Find a person")
    assert browser.current_url == f"{desk.url}/desk"
    provider.user["groups"] = []
    let_an_hour_go_by(desk)
    browser.get(f"{desk.url}/desk")
    seconds_until(lambda: title(browser) == "Not here")
