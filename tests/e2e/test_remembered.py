"""Tests approvals that a host remembers: the real identity service, agent, PAM, sshd, ssh, scp and rsync."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from e2e.approvals import ApprovalHost, approval_host_in
from fakes.clock import FakeClock, library

from sshaft_demo.approval import ASKS, Visit
from sshaft_demo.host import Terminal
from sshaft_demo.place import Place, StartError

_REPORT_SECONDS = 45
"""The agent reports every 30 seconds."""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as place:
        yield place


@pytest.fixture(scope="module")
def keys(place: Place) -> tuple[Path, Path]:
    """Returns two keys of the person, which sshd accepts."""
    first, second = place.generate_key("first"), place.generate_key("second")
    lines = [key.with_suffix(".pub").read_text() for key in (first, second)]
    (place.directory / "authorized_keys").write_text("".join(lines))
    return first, second


@pytest.fixture(scope="module")
def host(place: Place, keys: tuple[Path, Path]) -> Iterator[ApprovalHost]:
    """Yields a host that asks for a key and then for an approval, which it remembers."""
    settings = (
        f"PubkeyAuthentication yes\nAuthorizedKeysFile {keys[0].parent}/authorized_keys\n"
        "AuthenticationMethods publickey,keyboard-interactive:pam\nSubsystem sftp internal-sftp\n"
    )
    with approval_host_in(place, settings, approval={"remember": "12h"}) as host:
        yield host


@pytest.fixture(autouse=True)
def nothing_is_remembered(host: ApprovalHost) -> None:
    host.run("approvals", "remove", "--all")


def approve(host: ApprovalHost, key: Path, *words: str) -> str:
    """Logs in with an approval on the page. Returns what the command prints."""
    terminal = host.ssh(*words, key=key)
    digits = host.approve(Visit(terminal.wait_for(ASKS)))
    terminal.type(f"{digits}\n")
    said, status = terminal.end()
    assert status == 0, said
    return said


def asks(host: ApprovalHost, key: Path, *options: str) -> bool:
    """Whether ssh asks for an approval. It opens a shell without a word, or it asks."""
    command = host.sshd.command(host.place.person, "echo in", key=key)
    terminal = Terminal([command[0], *options, *command[1:]])
    said = terminal.wait_for("Type the six digits")
    is_asked = "Type the six digits" in said
    assert is_asked or said.endswith("in\r\n"), said
    if is_asked:
        terminal.kill()
    else:
        assert terminal.end()[1] == 0
    return is_asked


def listed(host: ApprovalHost) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(host.run("approvals", "list", "--json"))
    return rows


def wait_until(holds: Callable[[], bool], seconds: float = _REPORT_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)
    assert holds()


def is_known_to_the_service(host: ApprovalHost) -> bool:
    report = json.loads(host.approver.identity.run("user", "show", host.place.person, "--json"))
    return [each["host"] for each in report["remembered_approvals"]] != []


def run_without_terminal(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        start_new_session=True,
    )  # fmt: skip


def test_scp_rsync_and_a_second_ssh_ask_nothing_after_one_approval(
    host: ApprovalHost, keys: tuple[Path, Path], place: Place, tmp_path: Path
) -> None:
    assert "first" in approve(host, keys[0], "echo first")
    file = tmp_path / "file"
    file.write_text("content\n")
    ssh, *options, target, _ = host.sshd.command(place.person, "unused", key=keys[0])
    target_options = [word for word in options if word not in ("-p", str(host.sshd.port))]
    home = place.directory / place.person if place.accounts.separate else tmp_path
    copied = run_without_terminal("scp", *target_options, "-P", str(host.sshd.port), file, f"{target}:{home}/by-scp")
    assert copied.returncode == 0, copied.stderr
    synced = run_without_terminal("rsync", "-e", " ".join([ssh, *options]), file, f"{target}:{home}/by-rsync")
    assert synced.returncode == 0, synced.stderr
    second = run_without_terminal(ssh, *options, target, f"cat {home}/by-scp {home}/by-rsync")
    assert (second.stdout, second.stderr) == ("content\n" * 2, "")
    (row,) = listed(host)
    assert (row["account"], row["network"], row["fault"]) == (place.person, "127.0.0.1", None)
    wait_until(lambda: is_known_to_the_service(host))


def test_another_key_or_network_is_asked_again(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    approve(host, keys[0], "true")
    assert asks(host, keys[1])
    assert asks(host, keys[0], "-b", "127.0.0.2")
    assert not asks(host, keys[0])


def test_approval_that_the_operator_removes_is_asked_again(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    approve(host, keys[0], "true")
    (row,) = listed(host)
    host.run("approvals", "remove", row["id"])
    assert asks(host, keys[0])


def test_suspended_account_needs_a_new_approval_after_it_is_open_again(
    host: ApprovalHost, keys: tuple[Path, Path]
) -> None:
    approve(host, keys[0], "true")
    with pytest.raises(StartError, match="refuses new logins"):  # it cannot lock the account
        host.run("accounts", "suspend", host.place.person)
    try:
        assert asks(host, keys[0])
    finally:
        host.run("accounts", "resume", host.place.person)
    assert asks(host, keys[0])


def test_restarted_agent_remembers(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    approve(host, keys[0], "true")
    host.place.stop(host.agent.process)
    host.agent.process = host.agent.start()
    assert not asks(host, keys[0])


def test_sign_out_everywhere_at_the_identity_service_ends_it(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    approve(host, keys[0], "true")
    wait_until(lambda: is_known_to_the_service(host))
    host.approver.identity.run("user", "sign-out", host.place.person)
    wait_until(lambda: listed(host) == [])
    assert asks(host, keys[0])


def sign_in(host: ApprovalHost) -> requests.Session:
    """Signs the person in to "my keys" in a browser."""
    browser = requests.Session()
    browser.trust_env = False
    asked = browser.get(f"{host.approver.identity.url}/sign-in/oidc", timeout=10)
    browser.post(asked.url, data={"user": host.place.person}, timeout=10).raise_for_status()
    return browser


def test_person_ends_it_on_my_hosts(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    approve(host, keys[0], "true")
    wait_until(lambda: is_known_to_the_service(host))
    browser, url = sign_in(host), f"{host.approver.identity.url}/account/hosts"
    page = browser.get(url, timeout=10).text
    form = dict(re.findall(r'name="(form_token|id)" value="([^"]+)"', page))
    headers = {"Sec-Fetch-Site": "same-origin"}
    browser.post(f"{url}/end", data=form, headers=headers, timeout=10).raise_for_status()
    assert "is ending" in browser.get(url, timeout=10).text
    host.agent.process.send_signal(signal.SIGHUP)  # a reload reports at once, as the clock does within 30 seconds
    wait_until(lambda: listed(host) == [])
    assert asks(host, keys[0])


def test_host_that_is_cut_off_asks_again(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    """Nothing counts before the service has said what has ended: a thief cannot cut the host off and restart it."""
    approve(host, keys[0], "true")
    host.place.stop(host.agent.process)
    host.place.stop(host.approver.identity.process)
    host.agent.process = host.agent.start()
    try:
        refused = run_without_terminal(*host.sshd.command(host.place.person, "echo in", key=keys[0]))
        assert refused.returncode != 0
        assert "in\n" not in refused.stdout
    finally:
        host.approver.identity.process = host.approver.identity.start()
    host.agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: listed(host)[0]["fault"] is None)
    assert not asks(host, keys[0])


@pytest.fixture
def clock(host: ApprovalHost) -> Iterator[FakeClock]:
    """Yields the clock of the agent, which the test sets."""
    if library() is None:
        pytest.skip("needs libfaketime: apt-get install faketime")
    clock = FakeClock(host.place.directory / "clock")
    restart(host, clock.environment)
    yield clock
    restart(host, {})


def restart(host: ApprovalHost, environment: dict[str, str]) -> None:
    host.place.stop(host.agent.process)
    host.agent.environment = environment
    host.agent.process = host.agent.start()


@pytest.mark.parametrize("jump", [13 * 3600, -3600])
def test_clock_that_somebody_sets_ends_it(
    host: ApprovalHost, keys: tuple[Path, Path], clock: FakeClock, jump: int
) -> None:
    approve(host, keys[0], "true")
    assert not asks(host, keys[0])
    clock.put(jump)
    assert asks(host, keys[0])
    clock.put(0)
    assert asks(host, keys[0])


def test_nothing_counts_while_the_clock_differs_from_that_of_the_service(
    host: ApprovalHost, keys: tuple[Path, Path], clock: FakeClock
) -> None:
    approve(host, keys[0], "true")
    clock.put(3600)
    host.agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reports" in str(listed(host)[0]["fault"]))
    assert asks(host, keys[0])
    clock.put(0)
    host.agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: listed(host)[0]["fault"] is None)
    assert not asks(host, keys[0])


def test_ssh_that_may_ask_nothing_cannot_use_it(host: ApprovalHost, keys: tuple[Path, Path]) -> None:
    """`BatchMode` switches off the method by which PAM is asked. docs/approval.md says so."""
    approve(host, keys[0], "true")
    ssh, *rest = host.sshd.command(host.place.person, "echo in", key=keys[0])
    assert run_without_terminal(ssh, *rest).stdout == "in\n"
    assert run_without_terminal(ssh, "-o", "BatchMode=yes", *rest).returncode == 255


def test_ansible_asks_nothing_if_it_may_use_the_method(
    host: ApprovalHost, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    program = shutil.which("ansible")
    if program is None:
        pytest.skip("needs Ansible: pip install ansible-core")
    approve(host, keys[0], "true")
    own = f"-o UserKnownHostsFile={host.place.known_hosts} -o IdentitiesOnly=yes -o IdentityAgent=none -F none"
    inventory = tmp_path / "inventory"
    inventory.write_text(
        f"127.0.0.1 ansible_port={host.sshd.port} ansible_user={host.place.person} "
        f"ansible_ssh_private_key_file={keys[0]} ansible_python_interpreter=/usr/bin/python3 "
        f"ansible_ssh_args='{documented_arguments()} {own}'\n"
    )
    command = ["env", f"HOME={tmp_path}", program, "all", "-i", inventory, "-m", "ping"]
    done = run_without_terminal(*command)
    assert '"ping": "pong"' in done.stdout, done.stdout + done.stderr


def documented_arguments() -> str:
    """Returns `ansible_ssh_args` as docs/clients/ansible.md has it."""
    page = (Path(__file__).parents[2] / "docs/clients/ansible.md").read_text()
    return page.partition("## With a remembered approval")[2].partition("ansible_ssh_args=")[2].partition("\n")[0]
