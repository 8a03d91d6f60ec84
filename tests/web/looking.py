"""Helps the browser tests: waits, sets the size of the window, and checks accessibility."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

NO_SCRIPTS = {"profile.managed_default_content_settings.javascript": 2}
SIZES = {"desktop": (1100, 800), "phone": (390, 780), "narrow": (320, 700)}


def seconds_until(holds: Callable[[], bool], limit: float = 15) -> float:
    """Waits until the condition holds, at most `limit` seconds, and returns the seconds."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        with suppress(WebDriverException):  # the page is loading: Chromium has many errors for that
            if holds():
                return time.monotonic() - start
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


def click(browser: WebDriver, by: str, what: str) -> None:
    """Waits for the element, as the page may still be loading, and clicks it."""

    def clicked() -> bool:
        browser.find_element(by, what).click()
        return True

    seconds_until(clicked)


def title(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "h1").text


def wait_for_script(browser: WebDriver) -> None:
    seconds_until(lambda: browser.find_element(By.ID, "copy").is_displayed())


def set_size(browser: WebDriver, size: str) -> None:
    width, height = SIZES[size]
    metrics: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_scheme(browser: WebDriver, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def force_colours(browser: WebDriver) -> None:
    """Shows the page as in the contrast themes of Windows: browsers replace all colours of its style sheet."""
    features = [{"name": "forced-colors", "value": "active"}, {"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def mark_of(browser: WebDriver, selector: str, pseudo: str | None = None) -> tuple[str, str]:
    """Returns the colour that fills a mark or stands around it, and the colour behind it."""
    colours: list[str] = browser.execute_script(
        """
        const element = document.querySelector(arguments[0]), style = getComputedStyle(element, arguments[1]);
        const border = parseFloat(style.borderTopWidth) ? style.borderTopColor : "";
        const filled = style.backgroundColor === "rgba(0, 0, 0, 0)" ? "" : style.backgroundColor;
        return [filled, border, getComputedStyle(document.body).backgroundColor];
        """,
        selector,
        pseudo,
    )
    filled, border, behind = colours
    return (filled if filled not in ("", behind) else border), behind


def fits(browser: WebDriver) -> bool:
    """Whether the page fits its window without scrolling sideways."""
    # not `innerWidth`: a browser of a phone makes it as wide as the page
    wide = "const {scrollWidth, clientWidth} = document.documentElement; return scrollWidth <= clientWidth"
    return bool(browser.execute_script(wide))


def latin_words(browser: WebDriver, values: Sequence[str]) -> set[str]:
    """Returns the Latin words on the page that are neither in `values` nor in an element for commands."""
    said: list[str] = browser.execute_script(
        """
        const said = [document.title], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        for (let node; (node = walker.nextNode());)
          if (!node.parentElement.closest("code, script, style, [lang]:not(html)")) said.push(node.data);
        for (const name of ["aria-label", "title", "placeholder", "alt"])
          for (const each of document.querySelectorAll(`[${name}]`)) said.push(each.getAttribute(name));
        return said;
        """
    )
    text = "\n".join(said)
    for value in values:
        text = text.replace(value, "")
    return set(re.findall(r"[A-Za-z]{2,}", re.sub(r"SHA256:\S+", "", text)))


def foreign_requests(browser: WebDriver, own: str) -> list[str]:
    """Returns the URLs of other hosts that the page requested."""
    asked: list[str] = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    return [address for address in asked if not address.startswith((own, "data:"))]


def faint_texts(browser: WebDriver) -> list[str]:
    """Returns the texts with a contrast below 4.5 (WCAG 2.2, 1.4.3)."""
    found: list[list[str]] = browser.execute_script(
        """
        const behind = (element) => {
          for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (!/rgba\\(.*, 0\\)$/.test(colour)) return colour;
          }
          return "rgb(255, 255, 255)";
        };
        return [...document.querySelectorAll("body *")]
          .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
          .map((e) => [e.textContent.trim().slice(0, 40), getComputedStyle(e).color, behind(e)]);
        """
    )
    assert len(found) > 1, "no text was found at all"
    return [f"{text}: {colour} on {ground}" for text, colour, ground in found if contrast(colour, ground) < 4.5]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def nameless(browser: WebDriver) -> list[str]:
    """Returns the controls without a name in the accessibility tree of Chromium."""
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    wanted = {"button", "link", "textbox", "heading", "navigation"}
    return [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and node.get("role", {}).get("value") in wanted
        and not node.get("name", {}).get("value")
    ]


def faults_of_structure(browser: WebDriver) -> list[str]:
    """Returns faults for screen readers: language, main, h1, labels without a field, repeated ids."""
    faults: list[str] = browser.execute_script(
        """
        const faults = [], all = (selector) => [...document.querySelectorAll(selector)];
        if (!document.documentElement.lang) faults.push("no language");
        if (!document.title) faults.push("no title");
        if (all("main").length !== 1) faults.push("not one main");
        if (all("h1").length !== 1) faults.push("not one h1");
        for (const label of all("label[for]"))
          if (!document.getElementById(label.htmlFor)) faults.push("label: " + label.htmlFor);
        for (const each of all("[aria-describedby]"))
          if (!document.getElementById(each.getAttribute("aria-describedby"))) faults.push("described by nothing");
        const ids = all("[id]").map((e) => e.id);
        if (new Set(ids).size !== ids.length) faults.push("an id twice");
        for (const each of all("svg"))
          if (each.getAttribute("aria-hidden") !== "true") faults.push("an image without a word");
        for (const each of all("a, button:not([hidden]), input:not([type=hidden])"))
          if (each.checkVisibility() && each.tabIndex < 0) faults.push("not reached by the keyboard");
        return faults;
        """
    )
    return faults


def small_targets(browser: WebDriver) -> list[str]:
    """Returns controls below 24 pixels (WCAG 2.2, 2.5.8), which excepts links within a sentence."""
    found: list[str] = browser.execute_script(
        """
        return [...document.querySelectorAll("a, button, summary, input:not([type=hidden])")]
          .filter((e) => e.checkVisibility() && !e.classList.contains("skip"))
          .filter((e) => { const box = e.getBoundingClientRect(); return box.width < 24 || box.height < 24; })
          .map((e) => e.outerHTML.slice(0, 60));
        """
    )
    return found
