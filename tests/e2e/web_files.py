"""Asks `sshaft web` for files, as its page does."""

import os
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from e2e.web_site import WebSite

from sshaft_demo.web_client import TerminalPage, WebBrowser


@dataclass
class Files:
    """The files of one open terminal. `folder` belongs to the person on the host."""

    site: WebSite
    folder: Path
    browser: WebBrowser
    terminal: str
    page: TerminalPage
    upload: str = field(default_factory=lambda: secrets.token_hex(16))

    @classmethod
    def of(cls, site: WebSite) -> "Files":
        """Opens a terminal, in a new browser."""
        browser = site.browser()
        terminal = browser.open()
        page = browser.attach(terminal)
        page.wait_until("open")
        return cls(site, new_folder(site), browser, terminal, page)

    def elsewhere(self) -> "Files":
        """Returns the files of the same terminal in a new folder, for a new upload."""
        return replace(self, folder=new_folder(self.site), upload=secrets.token_hex(16))

    def url(self, name: str | bytes = b"", api: bool = False, **more: object) -> str:
        path = quote(os.fsencode(self.folder / os.fsdecode(name)))
        query = "".join(f"&{key}={value}" for key, value in more.items())
        return f"{self.browser.url}{'/api' if api else ''}/terminals/{self.terminal}/file?path={path}{query}"

    def list(self, path: str | None = None) -> requests.Response:
        path = quote(str(self.folder) if path is None else path)
        return self.browser.http.get(f"{self.browser.url}/api/terminals/{self.terminal}/files?path={path}", timeout=40)

    def get(self, name: str | bytes, **headers: str) -> requests.Response:
        return self.browser.http.get(self.url(name), headers=headers, timeout=60)

    def look(self, name: str | bytes) -> requests.Response:
        return self.browser.http.get(self.url(name, api=True), timeout=40)

    def put(self, name: str | bytes, offset: int, total: int, body: Any, **more: Any) -> requests.Response:
        """Sends one chunk. `origin` and `upload` are those of this page if they are not in `more`."""
        headers = {"Origin": more.pop("origin", self.browser.url)}
        url = self.url(name, offset=offset, total=total, upload=more.pop("upload", self.upload), **more)
        return self.browser.http.put(url, data=body, headers=headers, timeout=120)

    def delete(self, name: str, total: int, origin: str | None = None) -> requests.Response:
        headers = {"Origin": self.browser.url if origin is None else origin}
        return self.browser.http.delete(self.url(name, total=total, upload=self.upload), headers=headers, timeout=40)


def new_folder(site: WebSite) -> Path:
    """Makes a folder in which everybody on the host may write."""
    folder = site.place.directory / f"files-{secrets.token_hex(4)}"
    folder.mkdir()
    folder.chmod(0o777)
    return folder
