"""Starts the real Apache of Debian, with mod_auth_openidc as a relying party. Its pages require claims."""

import os
import pwd
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from sshaft_demo.parts import connects, free_port

MODULES = Path("/usr/lib/apache2/modules")
NEEDED = ("mpm_event", "authn_core", "authz_core", "authz_user", "dir", "auth_openidc")
PAGES: Mapping[str, tuple[str, ...]] = {
    "plain": ("valid-user",),
    "hardware": ("claim amr:hwk",),
    "software": ("claim amr:swk",),
    "verified": ("claim acr:urn:sshaft:acr:verified-code",),
}
"""What each page requires."""


@dataclass
class Apache:
    url: str
    log: Path

    @property
    def redirect_uri(self) -> str:
        return f"{self.url}/cb"


@dataclass
class Browser:
    """A browser that keeps cookies and follows redirects to our page."""

    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False

    def get(self, url: str) -> requests.Response:
        return self.session.get(url, timeout=30)


def command_words(page: requests.Response) -> str:
    """Returns the code of the ssh command that the page shows."""
    found = re.search(r">ssh [^<]* (\d{6,8})</code>", page.text)
    assert found, page.text
    return found[1]


@contextmanager
def running(directory: Path, port: int, provider: str, client: str, secret: str) -> Iterator[Apache]:
    """Starts Apache. The client must have the redirect URI of `port`."""
    if (
        not shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin")
        or not (MODULES / "mod_auth_openidc.so").exists()
    ):
        pytest.skip("needs Apache: apt-get install apache2 libapache2-mod-auth-openidc")
    (directory / "run").mkdir()
    for page in PAGES:
        (directory / "www" / page).mkdir(parents=True)
        (directory / "www" / page / "index.html").write_text(f"the {page} page")
    account = ""
    if os.geteuid() == 0:  # the worker must be able to read what root has made
        account = "User www-data\nGroup www-data\n"
        for each in (directory, *directory.parents):
            if each.owner() == "root" and each != Path("/") and each.is_relative_to("/tmp"):
                each.chmod(each.stat().st_mode | 0o011)
        os.chown(directory / "run", pwd.getpwnam("www-data").pw_uid, -1)
    (directory / "apache.conf").write_text(
        f'ServerRoot "{directory}"\nServerName 127.0.0.1\nListen 127.0.0.1:{port}\nPidFile "{directory}/run/pid"\n'
        f'ErrorLog "{directory}/error.log"\nLogLevel warn auth_openidc:info\nDefaultRuntimeDir "{directory}/run"\n'
        # a browser asks again where a kept connection was closed the moment it is used; requests does not
        f'Mutex "file:{directory}/run" default\nKeepAlive Off\n{account}'
        + "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in NEEDED)
        + f'DocumentRoot "{directory}/www"\nDirectoryIndex index.html\n'
        f"OIDCProviderMetadataURL {provider}/.well-known/openid-configuration\nOIDCClientID {client}\n"
        f"OIDCClientSecret {secret}\nOIDCRedirectURI http://127.0.0.1:{port}/cb\nOIDCPKCEMethod S256\n"
        f'OIDCCryptoPassphrase {secrets.token_hex(16)}\nOIDCScope "openid profile"\n'
        "<Location />\nAuthType openid-connect\nRequire valid-user\n</Location>\n"
        + "".join(
            f"<Location /{page}>\n<RequireAll>\n" + "".join(f"Require {each}\n" for each in wants)
            + "</RequireAll>\n</Location>\n"
            for page, wants in PAGES.items()
        )
        + "<Location /verified>\nOIDCPathAuthRequestParams "
        "acr_values=urn:sshaft:acr:verified-code&login_hint=hardware\n</Location>\n"
    )  # fmt: skip
    command = ["/usr/sbin/apache2", "-f", directory / "apache.conf", "-DFOREGROUND"]
    log = directory / "error.log"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not connects(port):
                assert process.poll() is None, log.read_text() if log.exists() else "Apache did not start"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield Apache(f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()


__all__ = ["Apache", "Browser", "command_words", "free_port", "running"]
