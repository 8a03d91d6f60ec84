"""Starts the real LemonLDAP::NG of Debian, with demonstration users and a REST second factor."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from web.looking import click, seconds_until

from sshaft_demo.parts import connects, free_port

RIGHT, WRONG_CODE, NO_SERVICE = "session", "96", "24"
"""The outcome of a login: a session, or the number of the portal's message."""
_APP = """\
use Plack::App::File;
use Plack::App::URLMap;
use Lemonldap::NG::Portal::Main;
my @settings = (configStorage => { confFile => 'INI' });
my $top = '/usr/share/lemonldap-ng';
my $urls = Plack::App::URLMap->new;
my $files = sub { $urls->map($_[0] => Plack::App::File->new(root => $_[1])) };
$files->('/javascript', '/usr/share/javascript');
$files->('/static', "$top/portal/htdocs/static");
if (eval { require Lemonldap::NG::Manager }) {
    $files->('/manager-static', "$top/manager/htdocs/static");
    $urls->map('/manager' => Lemonldap::NG::Manager->run({ @settings }));
}
$urls->map('/' => Lemonldap::NG::Portal::Main->run({ @settings }));
$urls->to_app;
"""


@dataclass
class Portal:
    url: str
    log: Path

    def password(self, user: str) -> "Login":
        """Makes the first step. The password of every user is the user name."""
        login = Login(self.url)
        token = _hidden(login.page("/"))
        login.text = login.page("/", user=user, password=user, token=token)
        return login


@dataclass
class Login:
    """A browser at the portal."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)
    text: str = ""
    has_session: bool = False

    @property
    def outcome(self) -> str:
        if self.has_session:
            return RIGHT
        found = re.search(r'trmsg="(\d+)"', self.text)
        return found[1] if found else ""

    def code(self, code: str) -> str:
        """Makes the second step, and returns the outcome."""
        action = re.search(r'<form[^>]*action="([^"]*2fcheck[^"]*)"', self.text)
        assert action, self.text
        self.text = self.page(action[1], token=_hidden(self.text), code=code)
        return self.outcome

    def page(self, path: str, **form: str) -> str:
        self.session.trust_env = False
        method = "POST" if form else "GET"
        headers = {"Accept": "text/html"}
        answer = self.session.request(
            method, self.url + path, data=form, headers=headers, allow_redirects=False, timeout=30
        )
        # requests keeps no cookie of the domain "localhost", as browsers do
        self.has_session = re.search("lemonldap=[0-9a-f]{32}", answer.headers.get("Set-Cookie", "")) is not None
        return answer.text


@dataclass
class Manager:
    """A browser at the manager, in the form "REST second factor"."""

    url: str
    browser: WebDriver

    def __post_init__(self) -> None:
        if not Path("/usr/share/lemonldap-ng/manager").is_dir():
            pytest.skip("needs the manager of LemonLDAP::NG: apt-get install liblemonldap-ng-manager-perl")

    def open(self) -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/manager/")
        for branch in ("generalParameters", "secondFactors", "rest2f"):
            click(self.browser, By.ID, f"a-{branch}")
        click(self.browser, By.ID, "t-rest2f")

    def switch(self, state: str) -> None:
        """Clicks `On` or `Off`."""
        click(self.browser, By.XPATH, f'//label[normalize-space()="{state}"]/input')

    def type(self, name: str, value: str) -> None:
        element = self.browser.find_element(By.XPATH, f'//tr[th[normalize-space()="{name}"]]//input')
        element.clear()
        element.send_keys(value)

    def open_arguments(self) -> None:
        click(self.browser, By.ID, "t-rest2fInitArgs")
        self.browser.execute_script("document.getElementById('t-rest2f').parentElement.scrollIntoView()")

    def add_argument(self, name: str, value: str) -> None:
        click(self.browser, By.PARTIAL_LINK_TEXT, "New entry")
        seconds_until(lambda: len(self._argument()) == 2)
        for element, text in zip(self._argument(), (name, value), strict=True):
            element.clear()
            element.send_keys(text)

    def _argument(self) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, "#top form input")

    def remove_argument(self) -> None:
        click(self.browser, By.CSS_SELECTOR, "#top .glyphicon-minus-sign")

    def save(self) -> None:
        click(self.browser, By.ID, "save")
        click(self.browser, By.ID, "saveok")
        seconds_until(lambda: "Successfully saved" in self.browser.find_element(By.ID, "mtitle").text)


def _hidden(text: str) -> str:
    found = re.search(r'name="token" value="([^"]*)"', text)
    return found[1] if found else ""


@contextmanager
def running(directory: Path, settings: dict[str, object], portal: str = "") -> Iterator[Portal]:
    """Starts the portal with these settings of the second factor. `portal`: lines of that section of the ini file."""
    if not shutil.which("plackup") or not Path("/usr/share/lemonldap-ng/portal").is_dir():
        pytest.skip("needs LemonLDAP::NG: apt-get install liblemonldap-ng-portal-perl")
    port = free_port()
    url = f"http://localhost:{port}"
    _write(directory, url, settings, portal)
    log = directory / "portal.log"
    command = [
        "plackup",
        "-s",
        "HTTP::Server::PSGI",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        directory / "app.psgi",
    ]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + 60
            while not connects(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Portal(url, log)
        finally:
            process.terminate()


def _write(directory: Path, url: str, settings: dict[str, object], portal: str) -> None:
    for name in ("conf", "cache", "sessions/lock", "psessions/lock"):
        (directory / name).mkdir(parents=True)
    stores = {
        name: {
            "Directory": str(directory / name),
            "LockDirectory": str(directory / name / "lock"),
            "generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256",
        }
        for name in ("sessions", "psessions")
    }
    configuration = {
        "cfgNum": 1,
        "cfgDate": "1",  # without it the portal finds no configuration
        "portal": f"{url}/",
        "domain": "localhost",  # the manager takes no address
        "cookieName": "lemonldap",
        "securedCookie": 0,
        "authentication": "Demo",
        "userDB": "Same",
        "passwordDB": "Demo",
        "registerDB": "Demo",
        "demoExportedVars": {"cn": "cn", "mail": "mail", "uid": "uid"},
        "globalStorage": "Apache::Session::File",
        "globalStorageOptions": stores["sessions"],
        "persistentStorage": "Apache::Session::File",
        "persistentStorageOptions": stores["psessions"],
        "localSessionStorage": "Cache::FileCache",
        "localSessionStorageOptions": {
            "namespace": "sessions", "cache_root": str(directory / "cache"), "default_expires_in": 600,
        },
        "locationRules": {"localhost": {"default": "accept"}},
        "exportedHeaders": {},
        "macros": {"_whatToTrace": "lc($_user)"},
        "whatToTrace": "_whatToTrace",
        "captcha_login_enabled": 0,
        "captcha_mail_enabled": 0,
        "captcha_register_enabled": 0,
        "portalDisplayResetPassword": 0,
        "portalDisplayRegister": 0,
        "requireToken": 0,
    }  # fmt: skip
    (directory / "conf" / "lmConf-1.json").write_text(json.dumps(configuration | settings))
    (directory / "lemonldap-ng.ini").write_text(
        "[all]\nlogLevel = info\ncheckTime = 1\n"
        f"[configuration]\ntype = File\ndirName = {directory}/conf\nlocalStorage = Cache::FileCache\n"
        "localStorageOptions = { 'namespace' => 'configuration', 'default_expires_in' => 600, "
        f"'cache_root' => '{directory}/cache' }}\n"
        "[portal]\nstaticPrefix = /static\ntemplateDir = /usr/share/lemonldap-ng/portal/templates\nlanguages = en\n"
        f"{portal}\n"
        "[manager]\nprotection = none\nstaticPrefix = /manager-static\nlanguages = en\n"
        "templateDir = /usr/share/lemonldap-ng/manager/htdocs/templates\nenabledModules = conf\n"
    )
    (directory / "app.psgi").write_text(_APP.replace("INI", f"{directory}/lemonldap-ng.ini"))
