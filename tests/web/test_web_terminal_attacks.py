"""Tests that the output of a terminal cannot attack the page of `sshaft web`, in a real browser with a real sshd."""

from collections.abc import Iterator

import pytest
from e2e.web_site import WebSite
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from web.looking import click, seconds_until
from web.terminal_page import TerminalPage

HELLO = "aGVsbG8gd29ybGQ="


@pytest.fixture
def page(site: WebSite, used_browser: WebDriver) -> Iterator[TerminalPage]:
    with TerminalPage(used_browser, site.web.url, site.place.person).in_own_tab() as page:
        page.begin()
        yield page
        assert page.errors() == []
        assert page.browser.execute_script("return window.attacked") is None


def emit(page: TerminalPage, text: str) -> None:
    """Has the host write the text, and waits until the terminal has taken it."""
    page.run(f"clear; printf '{text}'; echo; echo do''ne")
    page.wait_for("done\n")


INJECTIONS = """
    const element = (name, properties) => document.body.append(Object.assign(document.createElement(name), properties));
    const attempts = [
      () => element("script", { textContent: "window.attacked = 1" }),
      () => element("script", { src: "data:text/javascript,window.attacked=1" }),
      () => document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.attacked = 1'>"),
      () => setTimeout("window.attacked = 1"),
      () => element("iframe", { srcdoc: "<script>parent.attacked = 1</script>" }),
      () => { location.href = "javascript:window.attacked=1" },
      () => element("base", { href: arguments[0] }),
    ];
    for (const attempt of attempts) try { attempt() } catch { }
    const told = (address) => fetch(address, { mode: "no-cors" }).then(() => "sent", () => "refused");
    const done = arguments[1];
    const facts = (fetched) => [fetched, window.attacked ?? null, document.baseURI];
    told(arguments[0]).then((fetched) => setTimeout(() => done(facts(fetched)), 500));
"""


def test_injected_page_parts_run_no_script_and_send_nothing(site: WebSite, used_browser: WebDriver) -> None:
    """The policy of the page is the second wall: nothing is known that injects anything."""
    used_browser.get(site.web.url)
    told, attacked, base = used_browser.execute_async_script(INJECTIONS, f"{site.host.provider.issuer}/jwks")
    assert (told, attacked, base) == ("refused", None, f"{site.web.url}/")


def test_page_of_another_site_shows_nothing_of_ours_in_a_frame(site: WebSite, used_browser: WebDriver) -> None:
    used_browser.get(f"data:text/html,<iframe src='{site.web.url}'></iframe>")
    used_browser.switch_to.frame(0)
    assert used_browser.execute_script("return location.href") == "chrome-error://chromewebdata/"


def test_title_is_shown_as_text_behind_the_name_of_the_host(page: TerminalPage) -> None:
    emit(page, "\\033]0;<img src=x onerror=attacked=1>\\202\\342\\200\\256evil\\007")
    seconds_until(lambda: page.tabs()[1].startswith("host: <img src=x onerror=attacked=1>"))
    assert page.browser.title == f"{page.tabs()[1]} - SSH in the browser"
    assert "\u202e" not in page.browser.title
    assert not page.browser.find_elements(By.TAG_NAME, "img")


def test_huge_title_is_cut_and_a_flood_of_titles_ends_with_the_last(page: TerminalPage) -> None:
    page.run("clear; printf '\\033]0;%s\\007' $(head -c 200000 /dev/zero | tr '\\0' x); echo do''ne")
    page.wait_for("done\n")
    seconds_until(lambda: page.tabs()[1].endswith("x…"))
    assert len(page.tabs()[1]) == len("host: ") + 60
    page.run("clear; for i in $(seq 20000); do printf '\\033]0;title %s\\007' $i; done; echo do''ne")
    page.wait_for("done\n")
    seconds_until(lambda: page.tabs()[1] == "host: title 20000")


def test_program_copies_only_after_the_person_has_allowed_it(page: TerminalPage) -> None:
    page.browser.execute_script(
        "window.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text); }"
    )
    copied = "return copied"
    emit(page, f"\\033]52;c;{HELLO}\\007")
    seconds_until(lambda: page.notices() == ["A program on host wants to copy this to your clipboard: “hello world”"])
    assert page.browser.execute_script(copied) == []
    page.find(".notice .choices button").click()
    seconds_until(lambda: page.browser.execute_script(copied) == ["hello world"])
    assert page.notices() == []


def test_person_copies_what_is_marked(page: TerminalPage) -> None:
    page.browser.execute_script(
        "window.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text); }"
    )
    page.run("clear; echo one tw''o three")
    page.wait_for("one two three")
    click_on(page, "two", 2)
    page.type(Keys.CONTROL + Keys.SHIFT + "c" + Keys.NULL)
    seconds_until(lambda: page.browser.execute_script("return copied") == ["two"])
    assert page.announced() == "Copied"


def test_program_cannot_change_what_the_person_is_about_to_allow(page: TerminalPage) -> None:
    page.run("clear; printf '\\033]52;c;aGVsbG8=\\007'; sleep 2; printf '\\033]52;c;ZXZpbA==\\007'")
    seconds_until(lambda: any("“hello”" in each for each in page.notices()))
    assert page.find(".notice .choices button").is_enabled()
    seconds_until(lambda: any("“evil”" in each for each in page.notices()))
    assert not page.find(".notice .choices button").is_enabled()
    seconds_until(lambda: page.find(".notice .choices button").is_enabled())


def test_program_never_copies_if_the_person_has_said_never(page: TerminalPage) -> None:
    click(page.browser, By.ID, "settings-open")
    click(page.browser, By.CSS_SELECTOR, "#set-clipboard option[value=never]")
    click(page.browser, By.CSS_SELECTOR, "#settings .primary")
    page.find(".xterm-helper-textarea").send_keys("")
    emit(page, f"\\033]52;c;{HELLO}\\007")
    assert page.notices() == []


@pytest.mark.parametrize("question", ["\\033]52;c;?\\007", "\\033]52;p;?\\007", "\\033[21t", "\\033[20t", "\\033[18t"])
def test_program_that_asks_for_clipboard_or_title_gets_no_answer(page: TerminalPage, question: str) -> None:
    """An answer would be typed into the shell."""
    page.run("stty -icanon min 0 time 10")
    page.run(f"clear; printf '{question}'; head -c 100 | od -c; echo do''ne")
    page.wait_for("done\n")
    assert "0000000\ndone" in page.text()


@pytest.mark.parametrize(
    "address",
    ["javascript:attacked=1", "data:text/html,x", "file:///etc/passwd", "ssh://host", "vbscript:x", "//evil.example"],
)
def test_link_with_another_scheme_does_nothing(page: TerminalPage, address: str) -> None:
    emit(page, f"\\033]8;;{address}\\033\\\\\\\\link here\\033]8;;\\033\\\\\\\\")
    click_on(page, "link here")
    assert not page.has_dialog()
    assert len(page.browser.window_handles) == page.windows


def test_link_opens_after_a_question_that_shows_its_address(page: TerminalPage) -> None:
    emit(page, "\\033]8;;https://bank.example@evil.example/%%3Cb%%3E\\033\\\\\\\\bank.example\\033]8;;\\033\\\\\\\\")
    click_on(page, "bank.example")
    seconds_until(page.has_dialog)
    assert page.dialog().startswith("Open evil.example?")
    assert "https://bank.example@evil.example/%3Cb%3E" in page.dialog()
    link = page.browser.find_element(By.CSS_SELECTOR, "dialog[open] a")
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert link.get_attribute("target") == "_blank"
    click(page.browser, By.CSS_SELECTOR, "dialog[open] [value=no]")
    assert len(page.browser.window_handles) == page.windows


def test_address_in_plain_output_is_a_link_too(page: TerminalPage, site: WebSite) -> None:
    emit(page, f"see {site.web.url}/nothing.")
    click_on(page, f"{site.web.url}/nothing")
    seconds_until(page.has_dialog)
    click(page.browser, By.CSS_SELECTOR, "dialog[open] a")
    seconds_until(lambda: len(page.browser.window_handles) == page.windows + 1)
    here = page.browser.current_window_handle
    page.browser.switch_to.window(page.browser.window_handles[-1])
    assert page.browser.execute_script("return window.opener") is None
    page.browser.close()
    page.browser.switch_to.window(here)
    page.errors()  # the address is unknown, which the browser logs


def test_flood_of_bells_is_no_flood_of_flashes(page: TerminalPage) -> None:
    page.browser.execute_script(
        """
        window.flashes = 0;
        addEventListener("animationstart", () => { flashes += 1; }, true);
        """
    )
    page.run("clear; head -c 100000 /dev/zero | tr '\\0' '\\007'; echo do''ne")
    page.wait_for("done\n")
    assert page.browser.execute_script("return flashes") <= 3


def test_sequences_that_change_the_window_do_nothing(page: TerminalPage) -> None:
    script = "return [innerWidth, innerHeight, document.querySelectorAll('.xterm-rows > div').length]"
    before = page.browser.execute_script(script)
    emit(page, "\\033[8;5;5t\\033[3;0;0t\\033[2t\\033[9;1t")
    assert page.browser.execute_script(script) == before


@pytest.mark.parametrize(
    "output",
    [
        "printf '\\033P'; head -c 3000000 /dev/zero | tr '\\0' q; printf '\\033\\134'",
        "printf '\\033]0;'; head -c 3000000 /dev/zero | tr '\\0' q",
        "printf '\\033[99999999999;99999999H\\033[999999999@\\033[999999999L\\033[999999999b\\033[?9999999h'",
        "printf '\\033[1;1r\\033[?6h\\033[?47h\\033[?1000h\\033[?25l\\033(0\\016\\033[8m'",
        "head -c 100000 /dev/urandom",
    ],
)
def test_terminal_works_again_after_hostile_output(page: TerminalPage, output: str) -> None:
    """Endless strings, absurd numbers, modes that hide everything, and bytes that are no characters."""
    page.run(f"clear; {output}; printf '\\033\\134\\033c'; echo do''ne")
    page.wait_for("done")
    page.type(Keys.CONTROL + "c" + Keys.NULL)  # random bytes ask the terminal for its state: its answers are typed
    page.wait_for("^C\n$")
    page.run("clear; echo still he''re")
    page.wait_for("still here\n")


def test_pasted_text_cannot_end_its_brackets(page: TerminalPage) -> None:
    page.run("clear; printf '\\033[?2004h'; echo rea''dy; cat -v")
    page.wait_for("ready")
    page.paste("one\x1b[201~\ntwo\x03\x04\x9b")
    page.run("")
    page.wait_for("^[[200~one[201~\ntwo^[[201~")
    assert not page.has_dialog()


def test_several_pasted_lines_wait_for_a_yes(page: TerminalPage) -> None:
    page.run("clear; printf '\\033[?2004l'")
    page.paste("echo one\necho <b>two\u202e\n")
    seconds_until(page.has_dialog)
    assert "Paste 3 lines?" in page.dialog()
    assert "echo one\necho <b>two" in page.dialog()
    click(page.browser, By.CSS_SELECTOR, "dialog[open] [value=no]")
    page.run("echo a''fter")
    page.wait_for("after")
    assert "\none\n" not in page.text()
    page.paste("echo o''ne\necho two\n")
    click(page.browser, By.CSS_SELECTOR, "dialog[open] [value=yes]")
    page.wait_for("\none\n")


def click_on(page: TerminalPage, text: str, times: int = 1) -> None:
    """Clicks on text of the terminal."""
    script = """
        const rows = [...document.querySelectorAll("section.terminal:not([hidden]) .xterm-rows > div")];
        for (const row of rows) {
          const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.replaceAll("\\u00a0", " ").indexOf(arguments[0]);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + arguments[0].length);
            const box = range.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
          }
        }
        return null;
    """
    place = page.browser.execute_script(script, text)
    assert place, page.text()
    actions = ActionChains(page.browser)
    actions.w3c_actions.pointer_action.move_to_location(int(place[0]), int(place[1]))
    actions.pause(0.2)
    for _ in range(times):
        actions.click()
    actions.pause(0.2).perform()
