"""Provides a real sshd, a real ssh and our real programs, as in `e2e`, and a browser, as in `web`.

`SSHAFT_PICTURES=write ./dev test tests/providers` writes the pictures of the providers into docs/images/providers.
"""

from pathlib import Path

import pytest
from e2e.conftest import keys, place, site  # noqa: F401 - fixtures
from selenium.webdriver.remote.webdriver import WebDriver
from web.conftest import one_browser, used_browser  # noqa: F401 - fixtures
from web.pictures import Pictures, folder


@pytest.fixture
def pictures(tmp_path: Path, used_browser: WebDriver) -> Pictures:  # noqa: F811 - the fixture
    return Pictures(used_browser, folder(tmp_path, "providers"), width=1000, most_bytes=60_000)
