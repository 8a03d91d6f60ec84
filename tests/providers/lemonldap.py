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

from sshaft_demo.parts import connects, free_port

RIGHT, WRONG_CODE, NO_SERVICE = "session", "96", "24"
"""The outcome of a login: a session, or the number of the portal's message."""


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

    @property
    def outcome(self) -> str:
        if self.session.cookies.get("lemonldap", "0") not in ("", "0"):
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
        return answer.text


def _hidden(text: str) -> str:
    found = re.search(r'name="token" value="([^"]*)"', text)
    return found[1] if found else ""


@contextmanager
def running(directory: Path, settings: dict[str, object], portal: str = "") -> Iterator[Portal]:
    """Starts the portal with these settings of the second factor. `portal`: lines of that section of the ini file."""
    if not shutil.which("plackup") or not Path("/usr/share/lemonldap-ng/portal").is_dir():
        pytest.skip("needs LemonLDAP::NG: apt-get install liblemonldap-ng-portal-perl")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
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
        "domain": "127.0.0.1",
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
        "locationRules": {"127.0.0.1": {"default": "accept"}},
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
    )
    (directory / "app.psgi").write_text(
        "use Plack::App::File;\nuse Plack::App::URLMap;\nuse Lemonldap::NG::Portal::Main;\n"
        "my $urls = Plack::App::URLMap->new;\n"
        "$urls->map('/static' => Plack::App::File->new(root => '/usr/share/lemonldap-ng/portal/htdocs/static'));\n"
        "$urls->map('/javascript' => Plack::App::File->new(root => '/usr/share/javascript'));\n"
        "$urls->map('/' => Lemonldap::NG::Portal::Main->run("
        f"{{ configStorage => {{ confFile => '{directory}/lemonldap-ng.ini' }} }}));\n"
        "$urls->to_app;\n"
    )
