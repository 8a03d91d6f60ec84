"""Tests the files beside a terminal in a real browser, with a real sshd and its SFTP server."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.web_files import new_folder
from e2e.web_site import WebSite, web_site
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from web.axe import violations
from web.looking import (
    faint_texts,
    faults_of_structure,
    fits,
    nameless,
    seconds_until,
    set_scheme,
    set_size,
    small_targets,
)
from web.terminal_page import TerminalPage

from sshaft_demo.place import Place

MB = 1_000_000
LIMIT = 200 * MB
SLOW = {"offline": False, "latency": 5, "downloadThroughput": -1, "uploadThroughput": 2 * MB}
FAST = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with Place() as place, web_site(place, limits={"upload_bytes": LIMIT}) as site:
        yield site


@dataclass
class FilesPage:
    """The panel with the files of one terminal. `host` is a folder of the host, `own` one of the person's computer."""

    page: TerminalPage
    host: Path
    own: Path

    @property
    def browser(self) -> WebDriver:
        return self.page.browser

    def find(self, selector: str) -> WebElement:
        return self.page.find(f".files {selector}")

    def show(self) -> None:
        """Opens the panel, and waits until it shows a folder."""
        self.page.find("[data-tool=files]").click()
        seconds_until(lambda: bool(self.find("[name=path]").get_property("value")))

    def open(self, folder: Path | None = None) -> None:
        """Opens a folder by typing its path."""
        field = self.find("[name=path]")
        self.browser.execute_script("arguments[0].removeAttribute('aria-label')", self.find("[data-part=names]"))
        field.clear()
        field.send_keys(str(folder or self.host), Keys.ENTER)
        self.wait_for_folder(folder or self.host)

    def wait_for_folder(self, folder: Path) -> None:
        seconds_until(lambda: self.find("[data-part=names]").get_attribute("aria-label") == f"Files in {folder}")

    def names(self) -> list[str]:
        script = "return [...document.querySelectorAll('.names bdi')].map((each) => each.textContent)"
        found: list[str] = self.browser.execute_script(script)
        return found

    def entry(self, name: str) -> WebElement:
        """Returns the button or the link of a name."""
        rows = self.browser.find_elements(By.CSS_SELECTOR, ".names li > .name")
        return next(each for each in rows if each.find_element(By.TAG_NAME, "bdi").text == name)

    def fact(self, name: str) -> str:
        return self.entry(name).find_element(By.XPATH, "following-sibling::span").text

    def trouble(self) -> str:
        return self.find("[data-part=trouble]").text

    def make(self, name: str, content: bytes | int) -> Path:
        """Makes a file on the person's computer. A number is the size of a file with random content."""
        path = self.own / name
        path.write_bytes(os.urandom(content) if isinstance(content, int) else content)
        return path

    def upload(self, *paths: Path) -> None:
        self.find("input[type=file]").send_keys("\n".join(map(str, paths)))

    def upload_slowly(self, beyond: int) -> Path:
        """Begins to upload a large file over a slow network, until so many bytes have gone. Returns the file."""
        path = self.make("big.bin", 40 * MB)
        self.network(SLOW)
        self.upload(path)
        seconds_until(lambda: self.progress(path.name) > beyond)
        return path

    def row(self, name: str) -> WebElement:
        rows = self.browser.find_elements(By.CSS_SELECTOR, ".uploads li")
        return next(each for each in rows if each.find_element(By.TAG_NAME, "bdi").text == name)

    def state(self, name: str) -> str:
        return str(self.row(name).get_attribute("data-state"))

    def said(self, name: str) -> str:
        return self.row(name).find_element(By.CSS_SELECTOR, ".fact").text

    def wait_for(self, name: str, state: str, seconds: float = 30) -> None:
        seconds_until(lambda: self.state(name) == state, seconds)

    def press(self, name: str, word: str) -> None:
        button = next(
            each
            for each in self.row(name).find_elements(By.TAG_NAME, "button")
            if each.accessible_name == f"{word} {name}"
        )
        button.click()

    def progress(self, name: str) -> int:
        return int(float(self.row(name).find_element(By.TAG_NAME, "progress").get_property("value")))  # type: ignore[arg-type]

    def network(self, conditions: dict[str, object]) -> None:
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def drop(self, *paths: Path) -> None:
        """Drops files on the panel, as a browser does it."""
        script = """
            const field = document.createElement("input");
            field.type = "file";
            field.multiple = true;
            field.id = "dropped";
            document.body.append(field);
        """
        self.browser.execute_script(script)
        field = self.browser.find_element(By.ID, "dropped")
        field.send_keys("\n".join(map(str, paths)))
        drop = """
            const [field, target] = arguments;
            const dataTransfer = new DataTransfer();
            for (const file of field.files) dataTransfer.items.add(file);
            field.remove();
            const facts = { dataTransfer, bubbles: true, cancelable: true };
            const sent = [];
            for (const name of ["dragenter", "dragover", "drop"])
              sent.push(!target.dispatchEvent(new DragEvent(name, facts)));
            return sent;
        """
        prevented = self.browser.execute_script(drop, field, self.find("[data-part=names]"))
        assert prevented[1:] == [True, True]


@pytest.fixture
def files(site: WebSite, used_browser: WebDriver, tmp_path: Path) -> Iterator[FilesPage]:
    with TerminalPage(used_browser, site.web.url, site.place.person).in_own_tab() as page:
        page.begin()
        behaviour = {"behavior": "allow", "downloadPath": str(tmp_path / "downloads")}
        used_browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        files = FilesPage(page, new_folder(site), tmp_path)
        files.show()
        files.open()
        yield files
        files.network(FAST)
        refused = "Failed to load resource: "
        assert [each for each in page.errors() if refused not in each] == []


@pytest.fixture
def downloaded(files: FilesPage) -> Callable[[str], bytes]:
    """Returns a function that waits for a download and returns its content."""

    def content(name: str) -> bytes:
        path = files.own / "downloads" / name
        seconds_until(path.exists)
        return path.read_bytes()

    return content


def test_home_folder_is_shown_first_and_folders_open(files: FilesPage) -> None:
    (files.host / "sub").mkdir()
    (files.host / "sub" / "inside.txt").write_bytes(b"12345")
    files.find("[data-part=reload]").click()
    seconds_until(lambda: files.names() == ["sub"])
    files.entry("sub").click()
    files.wait_for_folder(files.host / "sub")
    assert files.names() == ["inside.txt"]
    assert files.fact("inside.txt").startswith("5 bytes, ")
    assert files.page.announced() == f"{files.host}/sub: 1 entry"
    files.find("[data-part=up]").click()
    files.wait_for_folder(files.host)


def test_empty_folder_says_so(files: FilesPage) -> None:
    assert files.find("[data-part=note]").text == "The folder is empty."


def test_names_of_strangers_cannot_act_on_the_page(files: FilesPage, downloaded: Callable[[str], bytes]) -> None:
    evil = "<img src=x onerror=alert(1)>"
    for name in (evil, "a\u202egpj.exe", "line\nend", "\x1b[2J", "&amp;"):
        (files.host / name).write_bytes(b"content")
    (files.host / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    files.open()
    shown = ["\\x1b[2J", "&amp;", evil, "a\\u202egpj.exe", "caf\\udce9", "line\\x0aend"]
    assert sorted(files.names()) == sorted(shown)
    assert not files.browser.find_elements(By.CSS_SELECTOR, ".files img")
    files.entry("caf\\udce9").click()
    assert downloaded("caf_") == b"latin"
    files.entry("a\\u202egpj.exe").click()
    assert downloaded("a_gpj.exe") == b"content"


def test_links_say_where_they_lead(files: FilesPage) -> None:
    (files.host / "sub").mkdir()
    (files.host / "sub" / "inside.txt").touch()
    for name, target in {"to-sub": "sub", "to-nothing": "nothing", "to-file": "sub/inside.txt"}.items():
        (files.host / name).symlink_to(target)
    files.open()
    assert files.fact("to-nothing").startswith("broken link")
    assert files.entry("to-nothing").tag_name == "span"
    assert files.entry("to-file").tag_name == "a"
    files.entry("to-sub").click()
    seconds_until(lambda: files.names() == ["inside.txt"])


def test_file_is_downloaded(files: FilesPage, downloaded: Callable[[str], bytes]) -> None:
    content = os.urandom(3 * MB)
    (files.host / "Žluť data.bin").write_bytes(content)
    files.open()
    files.entry("Žluť data.bin").click()
    assert downloaded("Žluť data.bin") == content
    assert files.page.announced() == "The download of Žluť data.bin has started."


def test_page_of_a_stranger_is_saved_and_never_shown(files: FilesPage, downloaded: Callable[[str], bytes]) -> None:
    (files.host / "page.html").write_bytes(b"<script>document.title = 'taken'</script>")
    files.open()
    address = str(files.entry("page.html").get_attribute("href"))
    before = files.browser.title
    files.browser.execute_script("location.assign(arguments[0])", address)
    assert b"taken" in downloaded("page.html")
    assert files.browser.title == before


def test_download_that_cannot_begin_says_why(files: FilesPage) -> None:
    (files.host / "gone").touch()
    files.open()
    (files.host / "gone").unlink()
    files.entry("gone").click()
    seconds_until(lambda: files.trouble() == f"{files.host}/gone does not exist on the host.")


def test_unknown_folder_says_so_and_the_old_one_stays(files: FilesPage) -> None:
    field = files.find("[name=path]")
    field.clear()
    field.send_keys("/nowhere", Keys.ENTER)
    seconds_until(lambda: files.trouble() == "/nowhere does not exist on the host.")
    files.wait_for_folder(files.host)


def test_several_files_are_uploaded(files: FilesPage) -> None:
    paths = [files.make(name, size) for name, size in {"a b.txt": 0, "Žluť.bin": 5 * MB, "c+%41.txt": 10}.items()]
    files.upload(*paths)
    for path in paths:
        files.wait_for(path.name, "done")
        assert (files.host / path.name).read_bytes() == path.read_bytes()
    seconds_until(lambda: sorted(files.names()) == sorted(path.name for path in paths))
    assert files.said("Žluť.bin") == "Uploaded, 5.0 MB"
    files.press("Žluť.bin", "Clear")
    assert len(files.browser.find_elements(By.CSS_SELECTOR, ".uploads li")) == 2


def test_dropped_files_are_uploaded(files: FilesPage) -> None:
    paths = [files.make("one", 10), files.make("two", 20)]
    files.drop(*paths)
    for path in paths:
        files.wait_for(path.name, "done")
        assert (files.host / path.name).read_bytes() == path.read_bytes()


def test_file_dropped_beside_the_panel_does_not_leave_the_page(files: FilesPage) -> None:
    script = """
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(["x"], "x.html"));
        const screen = document.querySelector(".screen");
        return ["dragover", "drop"].map((name) =>
          screen.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true })));
    """
    assert files.browser.execute_script(script) == [False, False]


def test_upload_is_paused_and_goes_on(files: FilesPage) -> None:
    path = files.upload_slowly(MB)
    files.press(path.name, "Pause")
    files.wait_for(path.name, "paused")
    paused = files.progress(path.name)
    assert files.said(path.name).startswith("Paused at ")
    assert files.page.focused() == "Go on big.bin"
    files.network(FAST)
    assert files.progress(path.name) == paused
    files.press(path.name, "Go on")
    files.wait_for(path.name, "done")
    assert (files.host / path.name).read_bytes() == path.read_bytes()


def test_cancelled_upload_leaves_nothing_on_the_host(files: FilesPage) -> None:
    path = files.upload_slowly(0)
    assert len(list(files.host.iterdir())) == 1
    files.press(path.name, "Cancel")
    files.wait_for(path.name, "cancelled")
    seconds_until(lambda: not list(files.host.iterdir()))


def test_upload_goes_on_by_itself_after_a_lost_network(files: FilesPage) -> None:
    path = files.upload_slowly(MB)
    files.network(OFFLINE)
    files.wait_for(path.name, "retrying")
    before = files.progress(path.name)
    assert before > MB
    files.network(FAST)
    files.wait_for(path.name, "done")
    assert (files.host / path.name).read_bytes() == path.read_bytes()


def test_upload_goes_on_after_a_reload_of_the_page(files: FilesPage) -> None:
    path = files.upload_slowly(2 * MB)
    files.press(path.name, "Pause")
    (part,) = files.host.iterdir()
    files.browser.refresh()
    files.page.wait_for_state("Connected to")
    files.show()
    files.open()
    assert files.names() == []
    files.upload(path)
    seconds_until(lambda: files.progress(path.name) > 2 * MB)
    assert part.exists()
    files.network(FAST)
    files.wait_for(path.name, "done")
    assert [each.name for each in files.host.iterdir()] == [path.name]
    assert (files.host / path.name).read_bytes() == path.read_bytes()


def test_existing_file_is_replaced_only_if_the_person_agrees(files: FilesPage) -> None:
    (files.host / "notes.txt").write_bytes(b"old")
    (files.host / "notes.txt").chmod(0o666)
    files.upload(files.make("notes.txt", b"new"))
    files.wait_for("notes.txt", "exists")
    assert files.page.announced() == "notes.txt is there already. Replace it?"
    assert (files.host / "notes.txt").read_bytes() == b"old"
    files.press("notes.txt", "Replace it")
    files.wait_for("notes.txt", "done")
    assert (files.host / "notes.txt").read_bytes() == b"new"


def test_file_above_the_limit_is_refused_with_the_limit(files: FilesPage) -> None:
    path = files.own / "huge"
    with path.open("wb") as file:
        file.truncate(LIMIT + 1)
    files.upload(path)
    files.wait_for("huge", "failed")
    assert files.said("huge") == "The file is too large: at most 200 MB can be uploaded here."


def test_file_that_changes_on_the_computer_is_not_mixed(files: FilesPage) -> None:
    path = files.upload_slowly(MB)
    path.write_bytes(b"changed")
    files.wait_for(path.name, "failed")
    assert "has changed" in files.said(path.name)
    assert not (files.host / path.name).exists()


def test_end_of_the_terminal_ends_an_upload_with_a_sentence(files: FilesPage) -> None:
    path = files.upload_slowly(0)
    files.page.find(".screen textarea").send_keys("exit\n")
    files.wait_for(path.name, "failed")
    assert "ended" in files.said(path.name)


def test_terminal_goes_on_during_a_transfer(files: FilesPage) -> None:
    path = files.upload_slowly(0)
    files.page.find(".screen textarea").send_keys("echo in $((1 + 1))\n")
    files.page.wait_for("in 2")
    files.wait_for(path.name, "done")


def test_everything_works_by_keyboard(files: FilesPage) -> None:
    (files.host / "sub").mkdir()
    (files.host / "sub").chmod(0o777)
    (files.host / "sub" / "inside.txt").touch()
    files.open()
    assert files.page.focused() == f"Files in {files.host}"
    files.page.type(Keys.TAB)
    assert files.page.focused() == "sub (folder)"
    files.page.type(Keys.ENTER)
    files.wait_for_folder(files.host / "sub")
    files.page.type(Keys.TAB)
    assert files.page.focused() == "inside.txt"
    files.upload(files.make("a.txt", 3))
    files.wait_for("a.txt", "done")
    files.find("[data-part=upload]").send_keys(Keys.TAB)
    assert files.page.focused() == "Uploads"
    files.page.type(Keys.TAB)
    assert files.page.focused() == "Clear a.txt"
    files.page.type(Keys.ENTER)
    assert files.page.focused() == "Upload files"


def test_paths_and_chunks_are_computed(files: FilesPage) -> None:
    script = """
        const done = arguments[0];
        const load = (name) => import(new URL(`files/${name}.js`, document.querySelector("script[type=module]").src));
        (async () => {
          const { join, parent, encoded } = await load("paths");
          const { ChunkSize } = await load("chunks");
          const chunk = new ChunkSize();
          const sizes = [chunk.bytes];
          const after = (action) => { action(); sizes.push(chunk.bytes); };
          after(() => chunk.took(chunk.bytes, 1));
          after(() => chunk.took(chunk.bytes, 4000));
          for (let each = 0; each < 9; each += 1) chunk.took(chunk.bytes, 0);
          after(() => {});
          for (let each = 0; each < 9; each += 1) chunk.failed();
          after(() => {});
          return [
            [join("/", "a"), join("/a", "b"), join("/a/", "b")],
            ["/", "/a", "/a/", "/a/b", "/a/b/", "/%FF/x"].map(parent),
            encoded("/a b/č?#%/"),
            sizes,
          ];
        })().then(done, (error) => done(String(error)));
    """
    joined, parents, encoded, sizes = files.browser.execute_async_script(script)
    assert joined == ["/a", "/a/b", "/a/b"]
    assert parents == ["/", "/", "/", "/a", "/a", "/%FF"]
    assert encoded == "/a%20b/%C4%8D%3F%23%25/"
    assert sizes == [256 * 1024, 1024 * 1024, 512 * 1024, 16 * 1024 * 1024, 64 * 1024]


@pytest.mark.parametrize("size", ["desktop", "phone", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_panel_is_accessible(files: FilesPage, size: str, scheme: str) -> None:
    (files.host / "sub").mkdir()
    (files.host / ("long-name-" * 20)).touch()
    (files.host / "there").touch()
    files.upload(files.make("done.txt", 5), files.make("there", 3))
    files.wait_for("done.txt", "done")
    files.wait_for("there", "exists")
    set_size(files.browser, size)
    set_scheme(files.browser, scheme)
    files.open()
    try:
        assert violations(files.browser) == []
        assert faint_texts(files.browser) == []
        assert nameless(files.browser) == []
        assert small_targets(files.browser) == []
        assert "an id twice" not in faults_of_structure(files.browser)
        assert fits(files.browser)
    finally:
        set_size(files.browser, "desktop")
        set_scheme(files.browser, "light")
