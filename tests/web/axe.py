"""Checks a page of a browser for accessibility with axe."""

from pathlib import Path
from typing import Any

from npm_packages import installed
from selenium.webdriver.remote.webdriver import WebDriver

_RUN = """
const done = arguments[arguments.length - 1];
axe.run({resultTypes: ["violations"]}).then((results) => done(results.violations));
"""


def violations(browser: WebDriver) -> list[str]:
    """Returns what axe complains of: the rule, and the elements."""
    script = installed(Path(__file__).parent / "axe-core") / "node_modules" / "axe-core" / "axe.min.js"
    browser.execute_script(script.read_text())
    found: list[dict[str, Any]] = browser.execute_async_script(_RUN)
    return [f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}" for each in found]
