"""Tests recordings, audit events and metrics of `sshaft web` with a real sshd."""

import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from e2e.web_site import WebSite, web_site
from prometheus_client.parser import text_string_to_metric_families as parse

from sshaft_demo.place import WEB, Place


@pytest.fixture(scope="module")
def site() -> Iterator[WebSite]:
    with Place() as place:
        recording = {"directory": str(place.folder("recordings", WEB, 0o700))}
        with web_site(place, recording=recording, metrics="127.0.0.1:0") as site:
            yield site


def recordings(site: WebSite) -> Path:
    return site.place.directory / "recordings"


def last_event(site: WebSite, name: str, count: int) -> dict[str, Any]:
    """Returns the last event of this name, when there are `count` of them."""
    end = time.monotonic() + 20
    while len(found := site.events(name)) < count:
        assert time.monotonic() < end, site.place.log("web")
        time.sleep(0.02)
    return found[-1]


def samples(site: WebSite) -> dict[str, float]:
    text = requests.get(last_event(site, "metrics.ready", 1)["address"], timeout=10).text
    assert not any(word in text for word in (site.place.person, site.host.provider.issuer, "127.0.0.1"))
    found = [sample for family in parse(text) for sample in family.samples]
    return {":".join([sample.name, *sample.labels.values()]): sample.value for sample in found}


def test_person_reads_of_the_recording_first_and_the_file_shows_the_terminal(site: WebSite) -> None:
    before = samples(site)
    ended = len(site.events("terminal.closed"))
    page = site.terminal()
    assert page.wait_for("$ ").startswith("This terminal is recorded: everything that it shows.\r\n")
    page.type("stty -echo; printf '%s%s' rea dy; read secret; stty echo; echo got ${#secret}; exit\n")
    page.wait_for("ready")
    page.type("hush\n")
    page.wait_for_end()
    assert {"type": "recording", "on": True} in page.news
    closed = last_event(site, "terminal.closed", ended + 1)
    file = recordings(site) / closed["recording"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    header, *lines = [json.loads(line) for line in file.read_text("ascii").splitlines()]
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert {kind for _, kind, _ in lines} == {"o"}
    shown = "".join(text for _, _, text in lines)
    assert "got 4\r\n" in shown
    assert "hush" not in shown
    after = samples(site)
    assert after["sshaft_web_terminals_opened_total"] == before["sshaft_web_terminals_opened_total"] + 1
    assert after["sshaft_web_bytes_total:shown"] > before["sshaft_web_bytes_total:shown"]
    assert after["sshaft_web_terminals:host"] == 0
    assert sum(value for name, value in after.items() if name.startswith("sshaft_web_terminals_closed_total:")) >= 1


def test_audit_events_say_who_was_where_and_how_long(site: WebSite) -> None:
    opened, ended = len(site.events("terminal.opened")), len(site.events("terminal.closed"))
    page = site.terminal()
    fact = last_event(site, "terminal.opened", opened + 1)
    person = {"subject": f"id-of-{site.place.person}", "issuer": site.host.provider.issuer, "client_ip": "127.0.0.1"}
    assert person.items() <= fact.items()
    assert (fact["target"], fact["account"]) == ("host", site.place.person)
    page.wait_for("$ ")
    page.type("echo hush\n")
    page.wait_for("\nhush")
    page.type("exit\n")
    page.wait_for_end()
    closed = last_event(site, "terminal.closed", ended + 1)
    assert (fact.keys() & closed.keys()) >= {"terminal", "started", "recording"}
    assert closed["terminal"] == fact["terminal"]
    assert closed["bytes_in"] == len("echo hush\nexit\n")
    assert closed["bytes_out"] > closed["bytes_in"]
    assert closed["started"] <= closed["ended"]
    assert "hush" not in site.place.log("web")


def test_terminal_that_cannot_be_recorded_does_not_open(site: WebSite) -> None:
    gone, ended = recordings(site).with_name("gone"), len(site.events("terminal.closed"))
    recordings(site).rename(gone)
    try:
        browser = site.browser()
        page = browser.attach(browser.open())
        page.wait_for_end()
        state = next(each for each in reversed(page.news) if each["type"] == "state")
        assert state["state"] == "closed"
        assert state["message"].startswith("The recording of this terminal has ended: No such file or directory.")
        assert last_event(site, "terminal.closed", ended + 1)["reason"] == "recording_failed"
        assert site.events("recording.failed")[-1]["reason"] == "No such file or directory"
        assert samples(site)["sshaft_web_recordings_failed_total"] >= 1
    finally:
        gone.rename(recordings(site))


@pytest.mark.root
def test_disk_that_is_full_ends_only_terminals_whose_recording_is_required() -> None:
    """The folder is a file system of 64 KiB."""
    with Place() as place, ExitStack() as mounts:
        folder = place.folder("recordings", WEB, 0o700)
        uid = place.accounts.uids[WEB]
        small = ["mount", "-t", "tmpfs", "-o", f"size=64k,uid={uid},mode=700", "tmpfs", folder]
        if subprocess.run(small, capture_output=True, check=False).returncode:
            pytest.skip("needs to mount a small file system")
        mounts.callback(subprocess.run, ["umount", "-l", folder], check=True)
        recording = {"directory": str(folder), "required": False, "input": True}
        with web_site(place, recording=recording) as site:
            page = site.terminal()
            assert page.wait_for("$ ").startswith("This terminal is recorded: everything that it shows and everything")
            page.type("echo one\n")
            page.wait_for("\none")
            (file,) = folder.iterdir()
            page.type("head -c 200000 /dev/zero | tr '\\0' x\n")
            page.wait_for("The recording of this terminal has ended: No space left on device.\r\n")
            page.type("echo t''wo\n")
            page.wait_for("two")
            assert page.state == "open"
            assert page.news[-1] == {"type": "recording", "on": False}
            lines = [json.loads(line) for line in file.read_text("ascii").splitlines()]
            assert [0, "i", "echo one\n"] in [[0, *line[1:]] for line in lines[1:]]


def test_folder_that_others_may_change_is_refused_before_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    folder.chmod(0o777)
    known = "127.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPSfwzIvbuJQBRzi8Fk4QTtN8HzyDXrVqdCvm0SSlyl"
    settings = {
        "public_url": "https://ssh.example.org", "recording": {"directory": str(folder)},
        "provider": {"issuer": "https://op.example.org", "client_id": "a"},
        "targets": {"host": {"host": "127.0.0.1", "known_hosts": [known]}},
    }  # fmt: skip
    (tmp_path / "web.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "sshaft", "web", "--config", tmp_path / "web.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "other accounts may write there; run: chmod go-w" in done.stderr
