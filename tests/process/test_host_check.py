"""Tests `sshaft host check` in a terminal, with the real module, libpam, agent and provider."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.approval_server import ApprovalServer
from fakes.unix_server import UnixServer

from sshaft import messages
from sshaft_demo.approval import ASKS
from sshaft_demo.host import CODE, MODULE, DemoProvider, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place

NO_ANSWER = "The agent gives no answer" if os.geteuid() == 0 else "Run the command as root"


@dataclass
class Host:
    place: Place
    provider: DemoProvider
    agent: Agent

    def command(self, *more: str | Path, user: str = "", module: Path = MODULE) -> list[str]:
        own = ("host", "check", user or self.place.person, "--module", module, "--runtime-directory")
        return [str(word) for word in self.place.sshaft(*own, self.agent.runtime, *more)]

    def check(self, *more: str | Path, user: str = "") -> Terminal:
        return Terminal(self.command(*more, user=user))

    def run(self, *more: str | Path, user: str = "", module: Path = MODULE) -> tuple[int, str]:
        """Runs the command without a terminal."""
        done = subprocess.run(
            self.command(*more, user=user, module=module), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with Place() as place:
        provider = DemoProvider(place, free_port())
        yield Host(place, provider, Agent(place, provider.write_config(pending_per_user=10, pending_per_source=10)))


def code_of(terminal: Terminal) -> str:
    said = terminal.wait_for("Press Enter")
    found = CODE.search(said)
    assert found, said
    return found[0]


def test_person_who_approves_passes_every_step(host: Host) -> None:
    terminal = host.check()
    said = terminal.wait_for("Press Enter")
    assert f"module   {MODULE}\r\nsocket   {host.agent.runtime}/host/agent.sock\r\n" in said
    assert f"as {host.place.person} from 127.0.0.1." in said
    assert any(line.startswith("\u2588") for line in said.splitlines())
    code = CODE.search(said)
    assert code
    host.provider.answer(code[0])
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 0
    steps = [line.split(" (")[0] for line in said.splitlines() if " s)" in line]
    assert steps[0] == "auth     Success"
    assert [step.split()[0] for step in steps] == ["auth", "account", "setcred"]
    assert said.endswith(f"{host.place.person} gets in. Next: sshaft host enable\r\n")


def test_approval_on_the_page_passes_every_step() -> None:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with Place() as place, ApprovalServer() as service:
        provider = DemoProvider(place, free_port())
        own = dict.fromkeys(("issuer", "client_id", "allow"))
        config = provider.write_config(**own, approval=service.settings())
        host = Host(place, provider, Agent(place, place.give(config, AGENT, 0o600)))
        terminal = host.check()
        assert f"{service.url}/approve/" in terminal.wait_for(ASKS)
        terminal.type(f"{service.approve()}\n")
        said, status = terminal.end()
        assert said.endswith(f"{place.person} gets in. Next: sshaft host enable\r\n")
        assert status == 0
        assert service.wait_for_outcome() == "passed"


def test_refusal_names_the_log_line_of_the_agent(host: Host) -> None:
    terminal = host.check()
    host.provider.answer(code_of(terminal), user="mallory")
    terminal.type("\n")
    terminal.wait_for("Press Enter to go on")
    terminal.type("\n")
    said, status = terminal.end()
    assert status == 1
    assert "auth     Authentication failure (" in said
    assert "mallory" not in said
    reference = said.split("journalctl -u sshaft-agent -g ")[1].split()[0]
    assert f'"reference": "{reference}"' in host.place.log("agent")
    assert "account" not in said.split("auth     ")[1].split("\n")[0]


def test_denial_in_the_browser_is_a_refusal(host: Host) -> None:
    terminal = host.check()
    host.provider.answer(code_of(terminal), "deny")
    terminal.type("\n")
    assert "denied in the browser" in terminal.wait_for("Press Enter to go on")
    terminal.type("\n")
    said, status = terminal.end()
    assert (status, "The agent refused the login." in said) == (1, True)


def test_root_is_left_to_the_other_modules(host: Host) -> None:
    status, said = host.run(user="root")
    assert status == 1
    assert "auth     ignored: the other modules of sshd decide" in said
    assert "Host login does not decide for root" in said


def test_terminal_without_an_answer_ends_the_login(host: Host) -> None:
    status, said = host.run()
    assert status == 78
    assert said.endswith("sshaft: the login ended: this terminal gave no answer\n")


def test_interrupt_ends_the_command(host: Host) -> None:
    terminal = host.check()
    terminal.wait_for("Press Enter")
    terminal.type("\x03")
    said, status = terminal.end()
    assert (status, "interrupted" in said) == (130, True)
    assert not list(Path("/run" if os.geteuid() == 0 else "/tmp").glob("sshaft-pam-*"))


def test_missing_agent_is_named(host: Host) -> None:
    status, said = host.run("--socket", host.agent.runtime / "none" / "agent.sock")
    assert status == 1
    assert "auth     Authentication service cannot retrieve authentication info" in said
    assert "the agent is not there, or another account can change a folder of this path" in said
    assert ("systemctl restart sshaft-agent" in said) == (os.geteuid() == 0)


def test_missing_module_is_named(host: Host, tmp_path: Path) -> None:
    status, said = host.run(module=tmp_path / "pam_sshaft.so")
    assert status == 78
    assert "No such file or directory" in said
    (tmp_path / "pam_sshaft.so").write_text("no module")
    status, said = host.run(module=tmp_path / "pam_sshaft.so")
    assert (status, "sshaft: the module cannot be loaded: " in said) == (78, True)


def test_text_of_an_agent_reaches_the_terminal_escaped(host: Host) -> None:
    path = host.place.directory / "hostile.sock"
    info = messages.encode("info", {"text": "one\n\x1b[2Jtwo\u202e"})
    with UnixServer(path, info + messages.encode("result", {"result": "denied", "reason": "\x1b]0;x\x07"})):
        status, said = host.run("--socket", path)
    assert status == 1
    assert "\none\n\\x1b[2Jtwo\\u202e\n" in said
    assert "\\x1b]0;x" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (b"", NO_ANSWER),
        (b"garbage\n\n", NO_ANSWER),
        (messages.encode("hello", {}), "Module and agent do not understand each other"),
        (messages.encode("result", {"result": "unknown_user"}), "knows no such account"),
        (messages.encode("info", {"text": "x"}) + messages.encode("result", {"result": "unavailable"}),
         "cannot decide now"),
    ],
    ids=["nothing", "garbage", "other kind", "unknown", "unavailable"],
)  # fmt: skip
def test_agent_that_does_not_let_in_has_its_advice(host: Host, answer: bytes, advice: str) -> None:
    path = host.place.directory / "other.sock"
    with UnixServer(path, answer):
        status, said = host.run("--socket", path)
    path.unlink()
    assert (status, advice in said) == (1, True), said


def test_other_configuration_decides_where_it_is_named(host: Host) -> None:
    path = host.place.directory / "other.json"
    path.write_text(host.agent.config.read_text().replace('"everyone": true', '"users": ["somebody"]'))
    terminal = host.check("--config", path)
    host.provider.answer(code_of(terminal))
    terminal.type("\n")
    terminal.wait_for("Press Enter to go on")
    terminal.type("\n")
    said, status = terminal.end()
    assert (status, "The agent refused the login." in said) == (1, True)
    assert "allow.users: the account is" in host.place.log("agent")
    assert "cannot be used now" in host.run("--config", host.place.directory / "none.json")[1]


@pytest.mark.parametrize("option", ["--module", "--socket", "--config"])
def test_path_that_would_change_the_service_is_refused(host: Host, option: str) -> None:
    status, said = host.run(option, "/tmp/x\nauth sufficient pam_permit.so")
    assert status == 78
    assert "a PAM line can name only paths of" in said


@pytest.mark.root
def test_account_without_the_rights_of_root_is_told_so(host: Host) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", *host.command(module=MODULE)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Run the command as root" in done.stdout
