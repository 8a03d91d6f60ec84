"""Tests modules of the terminal page in a real browser, without a server of terminals."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from npm_packages import require_xterm
from selenium.webdriver.remote.webdriver import WebDriver

from sshaft_web.pages.static_files import DIRECTORY

ESC = "\x1b"
PAGE = "<!doctype html><style>div { width: 800px; height: 300px }</style><div id=one></div><div id=other></div>"


class Files(SimpleHTTPRequestHandler):
    """Serves the modules as they are, and one page to load them into."""

    def do_GET(self) -> None:
        if self.path != "/page":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    require_xterm()
    with serving(DIRECTORY) as url:
        yield url


@pytest.fixture
def page(files: str, used_browser: WebDriver) -> WebDriver:
    used_browser.get(f"{files}/page")
    return used_browser


def run(page: WebDriver, script: str, *values: Any) -> Any:
    """Runs the body of an async function, and returns its result."""
    return page.execute_async_script(
        f"const done = arguments[arguments.length - 1]; (async (...values) => {{ {script} }})(...arguments)"
        ".then(done, (error) => done(`failed: ${error}`));",
        *values,
    )


@pytest.mark.parametrize(
    ("output", "incomplete"),
    [
        (b"", 0),
        (b"plain", 0),
        ("ä".encode(), 0),
        ("ä".encode()[:1], 1),
        ("x漢".encode()[:-1], 2),
        ("x😀".encode()[:-1], 3),
        (b"\x80\x80\x80\x80", 0),
        (b"text\x1b", 1),
        (b"text\x1b[", 2),
        (b"text\x1b[38;5;1", 8),
        (b"text\x1b[1m", 0),
        (b"text\x1b[1mmore", 0),
        (b"\x1b]0;title", 9),
        (b"\x1b]0;title\x07", 0),
        (b"\x1b]0;title\x1b\\", 0),
        (b"\x1bP1$r", 5),
        (b"\x1b(", 2),
        (b"\x1b(B", 0),
        (b"\x1b7", 0),
    ],
)
def test_incomplete_end_of_output_is_found(page: WebDriver, output: bytes, incomplete: int) -> None:
    script = "const {incompleteTail} = await import('/tails.js'); return incompleteTail(new Uint8Array(values[0]))"
    assert run(page, script, list(output)) == incomplete


def test_screen_goes_on_after_a_cut_at_any_byte(page: WebDriver) -> None:
    """A reload may come in the middle of a character or of a control sequence."""
    colours = f"{ESC}[31mröd 漢字 😀{ESC}[0m\r\n{ESC}[38;2;1;2;3mx{ESC}[m {ESC}(B"
    output = f"{colours}{ESC}[2;30Hthere{ESC}]0;t{ESC}\\ end".encode()
    script = """
        const {Screen} = await import("/screen.js");
        const output = new Uint8Array(values[0]);
        const write = (screen, bytes) => new Promise((done) => screen.write(bytes, false, done));
        const text = (screen) => screen.save().text;
        const element = (id) => document.getElementById(id);
        const whole = new Screen(element("one"));
        await write(whole, output);
        const wanted = text(whole);
        whole.close();
        const wrong = [];
        for (let cut = 0; cut <= output.length; cut += 1) {
          const before = new Screen(element("one"));
          await write(before, output.slice(0, cut));
          const saved = before.save();
          const after = new Screen(element("other"));
          after.restore(saved);
          await write(after, output.slice(saved.offset));
          if (text(after) !== wanted) wrong.push([cut, text(after)]);
          before.close();
          after.close();
        }
        return wrong;
    """
    assert run(page, script, list(output)) == []


def test_old_output_gets_no_answer_and_new_output_does(page: WebDriver) -> None:
    script = """
        const {Screen} = await import("/screen.js");
        const screen = new Screen(document.getElementById("one"));
        const answers = [];
        screen.terminal.onData((text) => answers.push(text));
        const write = (text, past) => new Promise((done) => screen.write(new TextEncoder().encode(text), past, done));
        await write("\\x1b[6n\\x1b[c", true);
        const old = [...answers];
        await write("\\x1b[6n", false);
        return [old, answers];
    """
    assert run(page, script) == [[], [f"{ESC}[1;1R"]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("a\x1b[31m\r\nb\x07", "a[31m  b"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("zero\u200bwidth\u2066", "zerowidth"),
        ("x" * 61, "x" * 59 + "…"),
        ("😀" * 60, "😀" * 60),
        ("\x00" * 10**6, ""),
    ],
)
def test_foreign_text_becomes_one_short_line(page: WebDriver, text: str, shown: str) -> None:
    assert run(page, "const {printable} = await import('/texts.js'); return printable(values[0])", text) == shown


def test_pauses_between_the_attempts_grow_to_half_a_minute(page: WebDriver) -> None:
    script = (
        "const {pauseBefore} = await import('/pauses.js'); return [0, 1, 2, 6, 100].map((n) => pauseBefore(n, 0.5))"
    )
    assert run(page, script) == [0.5, 1, 2, 30, 30]


def test_keys_held_in_the_row_change_the_next_character_only(page: WebDriver) -> None:
    script = """
        const {KeyRow} = await import("/key_row.js");
        const row = document.createElement("div");
        for (const modifier of ["ctrl", "alt"]) {
          const button = row.appendChild(document.createElement("button"));
          button.dataset.modifier = modifier;
          button.setAttribute("aria-pressed", "false");
        }
        const keys = new KeyRow(row, null, {});
        const [ctrl, alt] = row.children;
        const typed = (text, ...held) => { held.forEach((each) => each.click()); return keys.modified(text); };
        return [typed("c"), typed("c", ctrl), typed("c"), typed("x", alt), typed("[", ctrl), typed(" ", ctrl, alt),
                typed("long", ctrl), typed("c", ctrl)];
    """
    assert run(page, script) == ["c", "\x03", "c", f"{ESC}x", ESC, f"{ESC}\x00", "long", "c"]


def test_settings_that_make_no_sense_are_forgotten(page: WebDriver) -> None:
    script = """
        localStorage.setItem("sshaft-web-settings", values[0]);
        const {settings} = await import(`/settings.js?${Math.random()}`);
        localStorage.clear();
        return [settings.theme, settings.fontSize, settings.clipboard, settings.screenReader];
    """
    usual = ["system", 15, "ask", False]
    for stored in ("", "null", "[]", "{", '{"theme": "<b>", "fontSize": 1e9, "clipboard": "x", "__proto__": 1}'):
        assert run(page, script, stored) == usual, stored
    assert run(page, script, '{"theme": "dark", "fontSize": 20, "screenReader": true}') == ["dark", 20, "ask", True]
