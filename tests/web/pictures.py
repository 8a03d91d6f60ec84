"""Takes pictures of what a browser shows, for the documentation.

`SSHAFT_PICTURES=write` writes them into docs/images. Without it the tests that take them only check the pages.
"""

import os
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes import pseudo_language
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
_NO_PSEUDO_LANGUAGE = "for (const each of document.querySelectorAll(`footer a[lang=${arguments[0]}]`)) each.remove();"
_BOX = """
const part = typeof arguments[0] === "string" ? [...document.querySelectorAll(arguments[0])] : arguments[0];
const boxes = part.map((each) => each.getBoundingClientRect()).filter((box) => box.width);
const x = Math.min(...boxes.map((box) => box.left)), y = Math.min(...boxes.map((box) => box.top));
const width = Math.max(...boxes.map((box) => box.right)) - x, height = Math.max(...boxes.map((box) => box.bottom)) - y;
return {x: x + scrollX, y: y + scrollY, width, height, scale: 1};
"""


def folder(otherwise: Path, name: str = "") -> Path:
    """Returns the folder `name` of docs/images if the pictures shall be written, else the other one."""
    return IMAGES / name if os.environ.get("SSHAFT_PICTURES") == "write" else otherwise


@dataclass
class Pictures:
    """Writes what a browser shows into a folder, without the space below the page."""

    browser: WebDriver
    folder: Path
    width: int
    most_bytes: int

    def __post_init__(self) -> None:
        self.browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        self.set_height(800)

    def take(self, name: str, part: str | list[WebElement] = "") -> None:
        """Takes the page, or only the part with these elements or those of a CSS selector.

        The window gets the height of a page that is taken as a whole.
        """
        self.browser.execute_script(_NO_PSEUDO_LANGUAGE, pseudo_language.TAG)
        options: dict[str, Any] = {"format": "png"}
        if part:
            options["clip"] = self.browser.execute_script(_BOX, part)
        else:
            self.set_height(200)
            self.set_height(self.browser.execute_script("return document.documentElement.scrollHeight"))
        picture = b64decode(self.browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"])
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < self.most_bytes, len(picture)
        (self.folder / f"{name}.png").write_bytes(picture)

    def set_height(self, height: int) -> None:
        self.set_size(self.width, height)

    def set_size(self, width: int, height: int) -> None:
        """Sets the size of the window. A part that is taken must fit into it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
