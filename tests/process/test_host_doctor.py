"""Tests `sshaft doctor` where host login is enabled, on copies of the machine's files."""

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from fakes.agent_process import AgentProcess
from fakes.host_machine import HostMachine, trusted_folder, write_config

pytestmark = pytest.mark.root
RIGHT = ("PasswordAuthentication no", "MaxStartups 50:30:200")
WELL = {"host.stack", "host.settings", "host.socket", "host.provider", "agent.status"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[str]:
    """Returns the address of a provider that publishes its metadata."""
    folder = tmp_path / "provider"
    (folder / ".well-known").mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        issuer = f"http://127.0.0.1:{server.server_port}"
        metadata = {"issuer": issuer, "device_authorization_endpoint": f"{issuer}/device"}
        (folder / ".well-known" / "openid-configuration").write_text(json.dumps(metadata))
        Thread(target=server.serve_forever, daemon=True).start()
        yield issuer
        server.shutdown()


@pytest.fixture
def agent(tmp_path: Path, issuer: str) -> Iterator[AgentProcess]:
    config = write_config(tmp_path, issuer=issuer)
    with trusted_folder() as trusted, AgentProcess(config, trusted / "run", notify=tmp_path / "notify") as agent:
        yield agent


@pytest.fixture
def machine(tmp_path: Path, agent: AgentProcess) -> HostMachine:
    (tmp_path / "copies").mkdir()
    machine = HostMachine(tmp_path / "copies", agent.directory, agent.config)
    machine.add_to_sshd(*RIGHT)
    return machine


def told(machine: HostMachine) -> dict[str, dict[str, str]]:
    """Returns the findings by check, but for those about the port and the files of a machine without a running sshd."""
    status, out = machine.run("doctor", "--json", "--config", machine.config)
    found = json.loads(out)["findings"]
    assert status == (78 if any(each["severity"] == "error" for each in found) else 0)
    return {each["check"]: each for each in found if not each["check"].startswith(("sshd.runs", "path."))}


def ills(machine: HostMachine) -> dict[str, str]:
    return {check: each["severity"] for check, each in told(machine).items() if each["severity"] != "ok"}


def test_host_that_enable_has_prepared_is_well(machine: HostMachine) -> None:
    assert machine.enable("--require-approval", "--break-glass", "admin")[0] == 0
    found = told(machine)
    assert found.pop("host.break_glass")["severity"] == "note"
    assert {check: each["severity"] for check, each in found.items()} == dict.fromkeys(WELL, "ok")
    assert machine.enable()[0] == 0
    assert {check: each["severity"] for check, each in told(machine).items()} == dict.fromkeys(WELL, "ok")


def test_host_without_host_login_hears_nothing_of_it(machine: HostMachine) -> None:
    machine.config.write_text("{}")
    found = told(machine)
    assert set(found) == {"sshd.authorizedkeyscommand", "account.login"}


def test_configured_host_login_that_sshd_does_not_ask_is_told(machine: HostMachine) -> None:
    found = told(machine)
    assert found["host.stack"]["severity"] == "warning"
    assert found["host.stack"]["remedy"] == "sshaft host check NAME, and then: sshaft host enable"
    assert set(found) == {"host.stack", "host.provider"}


@pytest.mark.parametrize(
    ("old", "new", "check", "severity"),
    [
        ("default=die]", "default=ignore]", "host.passwords", "error"),
        ("default=die]", "authinfo_unavail=ignore default=die]", "host.passwords", "warning"),
        ("# sshaft: begin", "auth sufficient pam_unix.so\n# sshaft: begin", "host.order", "error"),
        ("timeout=280", "timeout=300", "host.logingracetime", "warning"),
        ("timeout=280", "timeout=30", "host.timeout", "warning"),
        ("host/agent.sock", "other/agent.sock", "host.socket", "error"),
        ("pam_sshaft.so", "/lib/none/pam_sshaft.so", "host.module", "error"),
    ],
)
def test_change_of_the_stack_is_told_with_its_place(
    machine: HostMachine, old: str, new: str, check: str, severity: str
) -> None:
    assert machine.enable()[0] == 0
    machine.stack_file.write_text(machine.stack.replace(old, new))
    found = {name: each for name, each in told(machine).items() if each["severity"] != "ok"}
    assert {name: each["severity"] for name, each in found.items()} == {check: severity}
    assert found[check]["remedy"]
    assert found[check]["where"].startswith(("/etc/pam.d/sshd:", "/etc/ssh/sshd_config.d/30-sshaft.conf:", "/run/"))


def test_setting_of_another_file_is_told_with_its_place(machine: HostMachine) -> None:
    assert machine.enable()[0] == 0
    machine.add_to_sshd(*RIGHT, "KbdInteractiveAuthentication no")
    found = told(machine)
    assert found["host.kbdinteractiveauthentication"]["where"] == "/etc/ssh/sshd_config.d/10-other.conf:3"
    machine.add_to_sshd(*RIGHT, "Match User mfa", "    KbdInteractiveAuthentication no")
    assert ills(machine) == {}


def test_login_account_of_the_ssh_factor_must_not_need_an_approval(machine: HostMachine) -> None:
    machine.add_to_sshd(
        *RIGHT,
        "Match User ops",
        "    AuthorizedKeysCommand /usr/libexec/sshaft/sshaft-keys --agent /run/sshaft/keys/agent.sock",
    )
    for options, is_told in (((), False), (("--require-approval", "--break-glass", "admin"), True),
                             (("--require-approval", "--break-glass", "ops"), False)):  # fmt: skip
        assert machine.enable(*options)[0] == 0
        _, out = machine.run("doctor", "--json", "--login-user", "ops", "--config", machine.config)
        assert ("host.login_account" in out) is is_told


def test_agent_that_has_ended_is_told(machine: HostMachine, agent: AgentProcess) -> None:
    assert machine.enable()[0] == 0
    agent.process.kill()
    agent.process.wait()
    assert ills(machine) == {"host.socket": "error"}
    assert "no agent listens (Connection refused)" in told(machine)["host.socket"]["what"]


def test_secret_that_everybody_can_read_is_told(machine: HostMachine, issuer: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    write_config(tmp_path, issuer=issuer, client_secret_file=str(secret))
    _, out = machine.run("doctor", "--json", "--config", machine.config)
    found = [each for each in json.loads(out)["findings"] if each["check"] == "path.secret"]
    assert str(secret) in [each["where"] for each in found]


def test_report_for_people_has_a_part_about_host_login(machine: HostMachine) -> None:
    assert machine.enable()[0] == 0
    _, out = machine.run("doctor", "--config", machine.config)
    assert "\nhost login\n  ok       the provider answers" in out
