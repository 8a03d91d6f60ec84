"""Checks a page of a browser for accessibility with axe."""

from pathlib import Path
from typing import Any

from npm_packages import installed
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import (
    SIZES,
    faint_texts,
    faults_of_structure,
    fits,
    foreign_requests,
    nameless,
    set_scheme,
    set_size,
    small_targets,
)

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


def page_faults(browser: WebDriver, own: str | None = None) -> list[tuple[str, list[str]]]:
    """Returns what is wrong with the page for anybody: in both schemes, at each size, for screen readers, by axe.

    With `own`, the page may ask only addresses that begin so.
    """
    found: list[tuple[str, list[str]]] = []
    for scheme in ("light", "dark"):
        set_scheme(browser, scheme)
        found.append((f"contrast, {scheme}", faint_texts(browser)))
        found.append((f"axe, {scheme}", violations(browser)))
    for size in SIZES:
        set_size(browser, size)
        found.append((f"scrolls sideways, {size}", [] if fits(browser) else [size]))
        found.append((f"small targets, {size}", small_targets(browser)))
    found += [("structure", faults_of_structure(browser)), ("no name", nameless(browser))]
    if own is not None:
        found.append(("foreign requests", foreign_requests(browser, own)))
    return [(what, faults) for what, faults in found if faults]
