"""Tests `sshaft doctor` on a real site: no finding on a healthy site, and one finding for each fault."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import FakeSite, MakeFakeSite, Site
from fakes.identity_server import ERROR

from sshaft_demo.parts import Identity, agent_question, free_port, sshd_config
from sshaft_demo.place import AGENT, KEYS, LOGIN, Place

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "doctor.md"
WELL = {
    "sshd.runs", "sshd.settings", "account.both", "path.sshd", "path.program", "agent.status", "service.list",
    "keys.dry_run", "keys.line", "service.host_key",
}  # fmt: skip

Told = dict[str, dict[str, str]]


class Patient:
    """A site whose settings a test may change: `told()` is what the doctor finds beyond "ok", by check."""

    def __init__(self, place: Place, site: Site | FakeSite, config: Path) -> None:
        self.place, self.agent, self.config, self.port = place, site.agent, config, site.sshd.port
        self.path = place.directory / "sshd_config.doctor"
        self.write()

    def write(self, **changes: str) -> None:
        self.path.write_text(sshd_config(self.place, self.agent.runtime, self.port, changes))

    def ask_in_python(self) -> None:
        self.write(AuthorizedKeysCommand=agent_question(self.place, self.agent.runtime, "sshaft-keys"))

    def command(self, *more: str) -> list[str | Path]:
        return self.place.sshaft("doctor", "--sshd-config", self.path, "--config", self.config, *more)

    def run(self, *more: str, account: str | None = None) -> tuple[int, str]:
        process = self.place.popen(
            self.command(*more),
            account=account,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        out, _ = process.communicate(timeout=120)
        return process.returncode, out.decode()

    def findings(self, account: str | None = None) -> list[dict[str, str]]:
        status, out = self.run("--json", account=account)
        found: list[dict[str, str]] = json.loads(out)["findings"]
        assert status == (78 if any(f["severity"] == "error" for f in found) else 0)
        return found

    def told(self, account: str | None = None) -> Told:
        return {f["check"]: f for f in self.findings(account) if f["severity"] != "ok"}


@pytest.fixture
def patient(place: Place, site: Site) -> Patient:
    return Patient(place, site, place.directory / "site.json")


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode & 0o7777
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


@contextmanager
def replaced(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    before = path.read_text()
    path.write_text(change(before))
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.root
def test_healthy_site_has_nothing_but_ok(patient: Patient) -> None:
    found = patient.findings()
    assert {(f["check"], f["severity"]) for f in found} == {(check, "ok") for check in WELL}


@pytest.mark.root
def test_output_is_the_one_that_the_manual_shows(patient: Patient) -> None:
    def words(text: str) -> list[str]:
        plain = re.sub(r"\([^()]*/[^()]*\)|\d+\.\d+ s|(\S+, )?port \d+", "X", text)
        return re.sub(r"service: \w[\w ]*\)", "service: X)", plain).split()

    status, out = patient.run()
    assert status == 0
    well, ill = shown()
    assert words(out) == words(well)
    patient.write(AuthorizedKeysFile=".ssh/authorized_keys")
    status, out = patient.run()
    assert status == 78
    assert words(out)[: len(words(ill))] == words(ill)


def shown() -> tuple[str, str]:
    """Returns the two outputs in the manual."""
    blocks = re.findall(r"(?s)```\n(sshd's settings\n.*?)```", DOCS.read_text())
    return blocks[0], blocks[1]


@pytest.mark.root
@pytest.mark.parametrize(
    ("changes", "check", "severity", "remedy"),
    [
        ({"AuthorizedKeysFile": ".ssh/authorized_keys"}, "sshd.authorizedkeysfile", "error", "AuthorizedKeysFile none"),
        ({"ExposeAuthInfo": "no"}, "sshd.exposeauthinfo", "error", "ExposeAuthInfo yes"),
        ({"LogLevel": "VERBOSE"}, "sshd.loglevel", "warning", "LogLevel INFO"),
        ({"ChannelTimeout": "session=60"}, "sshd.channeltimeout", "warning", "ChannelTimeout session:*=120"),
        ({"X11Forwarding": "yes"}, "sshd.x11forwarding", "warning", "X11Forwarding no"),
        ({"AllowUsers": "alice"}, "sshd.allowusers", "error", "AllowUsers alice mfa"),
        ({"MaxAuthTries": "3"}, "sshd.maxauthtries", "warning", "MaxAuthTries 10"),
    ],
)  # fmt: skip
def test_one_wrong_line_is_one_finding_with_its_place(
    patient: Patient, changes: dict[str, str], check: str, severity: str, remedy: str
) -> None:
    patient.write(**changes)
    told = patient.told()
    assert set(told) == {check}
    assert (told[check]["severity"], told[check]["remedy"]) == (severity, remedy)
    number = int(told[check]["where"].removeprefix(f"{patient.path}:"))
    line = patient.path.read_text().splitlines()[number - 1]
    assert line.startswith(next(iter(changes)))


@pytest.mark.root
def test_line_in_a_match_block_counts_for_the_login_user_only(patient: Patient) -> None:
    base = patient.path.read_text()
    patient.path.write_text(f"{base}\nMatch User root\n    LogLevel VERBOSE\n")
    assert patient.told() == {}
    patient.path.write_text(f"{base}\nMatch User {LOGIN}\n    PermitTTY no\n")
    told = patient.told()
    assert set(told) == {"sshd.permittty"}
    assert told["sshd.permittty"]["where"].endswith(f":{len(base.splitlines()) + 3}")


@pytest.mark.root
def test_earlier_command_of_an_included_file_is_told_with_both_places(patient: Patient) -> None:
    drop_in = patient.place.directory / "20-userdb.conf"
    drop_in.write_text("AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\n")
    patient.path.write_text(f"Include {drop_in}\n{patient.path.read_text()}")
    told = patient.told()
    assert set(told) == {"sshd.authorizedkeyscommand"}
    assert told["sshd.authorizedkeyscommand"]["where"] == f"{drop_in}:1"
    assert f"{patient.path}:" in told["sshd.authorizedkeyscommand"]["what"]


@pytest.mark.root
def test_token_that_this_sshd_does_not_know_is_told(patient: Patient) -> None:
    command = patient.place.keys_command(f"--agent {patient.agent.runtime}/keys/agent.sock --type %t --key %k")
    patient.write(AuthorizedKeysCommand=f"{command} --fingerprint %f --more %y")
    told = patient.told()
    assert set(told) == {"sshd.token", "keys.dry_run"}  # and sshaft-keys knows no --more
    assert "%y" in told["sshd.token"]["what"]
    assert "status 64" in told["keys.dry_run"]["what"]


@pytest.mark.root
def test_settings_that_sshd_refuses_are_told_in_its_words(patient: Patient) -> None:
    patient.path.write_text(f"NoSuchKeyword yes\n{patient.path.read_text()}")
    told = patient.told()
    assert set(told) == {"sshd.config", "sshd.effective"}
    assert "NoSuchKeyword" in told["sshd.config"]["what"]
    assert "sshaft sshd-config" in told["sshd.config"]["remedy"]


@pytest.mark.root
def test_parent_that_its_group_can_write_to_is_told_although_debian_accepts_it(patient: Patient) -> None:
    with mode(patient.place.libexec, 0o775):
        told = patient.told()
    # the forced command is in there as well, and nothing is run from such a place
    assert {check for check, f in told.items() if f["severity"] == "error"} == {"path.command", "path.login"}
    assert told["path.command"]["remedy"] == f"chmod go-w {patient.place.libexec}"
    assert set(told) - {"path.command", "path.login"} == {"keys.dry_run"}
    assert patient.told() == {}


@pytest.mark.root
def test_package_that_everybody_can_write_to_is_told(patient: Patient) -> None:
    module = patient.place.packages / "sshaft_keys" / "__main__.py"
    with mode(module, 0o666):
        told = patient.told()
    assert set(told) == {"path.packages"}
    assert told["path.packages"]["remedy"] == f"chmod go-w {module}"


@pytest.mark.root
def test_command_that_its_account_cannot_reach_fails_as_under_sshd(patient: Patient) -> None:
    patient.ask_in_python()
    with mode(patient.place.libexec / "sshaft-keys", 0o700):
        told = patient.told()
    assert set(told) == {"path.reach", "keys.dry_run"}
    assert told["path.reach"]["what"].startswith(f"{KEYS} can't read and run")
    assert "status 127" in told["keys.dry_run"]["what"]


@pytest.mark.root
def test_forced_command_that_the_login_account_cannot_run_is_told(patient: Patient) -> None:
    with mode(patient.place.libexec / "sshaft-login", 0o700):
        told = patient.told()
    assert set(told) == {"path.reach"}
    assert told["path.reach"]["what"].startswith(f"{LOGIN} can't read and run")


@pytest.mark.root
def test_host_key_that_others_can_read_is_told(patient: Patient) -> None:
    with mode(patient.place.directory / "ssh_host_ed25519_key", 0o644):
        told = patient.told()
    assert set(told) == {"path.host_key", "service.host_key"}
    assert told["service.host_key"]["what"] == "not checked: no sshd answers where the pages send people"


@pytest.mark.root
def test_interpreter_that_does_not_start_is_told(patient: Patient) -> None:
    broken = patient.place.directory / "python3"
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o755)
    patient.ask_in_python()
    keys = patient.place.libexec / "sshaft-keys"
    with replaced(keys, lambda text: f"#!{broken} -IS\n" + text.partition("\n")[2]):
        told = patient.told()
    assert set(told) == {"path.interpreter", "keys.dry_run"}
    assert "does not start" in told["path.interpreter"]["what"]


@pytest.mark.root
def test_unknown_command_user_is_told(patient: Patient) -> None:
    patient.write(AuthorizedKeysCommandUser="nobody-here")
    told = patient.told()
    assert set(told) == {"account.keys"}
    assert told["account.keys"]["remedy"].startswith("useradd ")


@pytest.mark.root
@pytest.mark.parametrize(
    ("before", "after", "check"),
    [
        (":/bin/sh", ":/usr/sbin/nologin", "account.shell"),
        (":/bin/sh", ":/bin/no-such-shell", "account.shell"),
        (f"{LOGIN}:*:", f"{LOGIN}:!:", "account.locked"),
        (f"{LOGIN}:*:", "nobody-else:*:", "account.login"),
    ],
)
def test_login_account_that_sshd_will_refuse_is_told(patient: Patient, before: str, after: str, check: str) -> None:
    def change(text: str) -> str:
        return re.sub(rf"(?m)^{LOGIN}:.*$", lambda line: line[0].replace(before, after), text)

    with replaced(patient.place.directory / "passwd", change):
        told = patient.told()
    assert {name for name in told if told[name]["severity"] == "error"} == {check}


@pytest.mark.root
def test_secret_that_the_login_account_can_read_is_told(patient: Patient) -> None:
    owner = patient.config.stat()
    os.chown(patient.config, owner.st_uid, patient.place.accounts.uids[LOGIN])
    try:
        with mode(patient.config, 0o440):
            told = patient.told()
    finally:
        os.chown(patient.config, owner.st_uid, owner.st_gid)
    assert set(told) == {"path.secret"}
    assert f"{LOGIN} can read" in told["path.secret"]["what"]


@pytest.mark.root
def test_sockets_folder_that_is_open_is_told(patient: Patient) -> None:
    with mode(patient.agent.runtime / "keys", 0o755):
        assert set(patient.told()) == {"agent.keys_socket"}


@pytest.fixture
def own(place: Place, fake_site: MakeFakeSite) -> tuple[FakeSite, Patient]:
    """Makes a separate site whose agent and identity service the test may break."""
    site = fake_site()
    return site, Patient(place, site, site.agent.config)


@pytest.mark.root
def test_agent_that_is_stopped_is_told_and_what_follows_from_it(own: tuple[FakeSite, Patient]) -> None:
    site, patient = own
    assert patient.told() == {}
    site.agent.place.stop(site.agent.process)
    told = patient.told()
    assert set(told) == {"agent.status", "keys.dry_run"}
    assert told["agent.status"]["remedy"] == "systemctl start sshaft-agent"
    assert "status 69" in told["keys.dry_run"]["what"]
    site.agent.process = site.agent.start()
    assert patient.told() == {}


@pytest.mark.root
def test_wrong_secret_is_told_before_the_agent_learns_of_it(own: tuple[FakeSite, Patient]) -> None:
    site, patient = own
    values: dict[str, Any] = json.loads(site.agent.config.read_text())
    with replaced(site.agent.config, lambda _: json.dumps({**values, "client_secret": "wrong"})):
        told = patient.told()
    assert set(told) == {"service.token"}
    assert "client" in told["service.token"]["remedy"]
    assert patient.told() == {}


@pytest.mark.root
def test_doctor_reads_no_file_for_the_agent_that_the_agent_could_not_read(own: tuple[FakeSite, Patient]) -> None:
    """Root trusts no file that the agent's account can change: it could name a file of root, and an own address."""
    site, patient = own
    private = patient.place.directory / "private"
    private.write_text("a secret of root")
    private.chmod(0o400)
    values: dict[str, Any] = json.loads(site.agent.config.read_text())
    del values["client_secret"]
    with replaced(site.agent.config, lambda _: json.dumps({**values, "client_secret_file": str(private)})):
        told = patient.told()
    assert not any(b"secret+of+root" in call.body for call in site.server.calls)
    assert told["service.config"]["what"].startswith(f"{private}: can't be read by uid ")


@pytest.mark.root
def test_identity_service_that_is_broken_is_told(own: tuple[FakeSite, Patient]) -> None:
    site, patient = own
    site.server.replies["/keys"] = ERROR
    told = patient.told()
    assert set(told) - {"agent.service"} == {"service.reach", "keys.dry_run"}
    assert "answered 500" in told["service.reach"]["what"]


@pytest.mark.root
def test_stand_alone_command_is_examined_without_an_agent(place: Place, site: Site, patient: Patient) -> None:
    config = place.directory / "doctor-standalone.json"
    shutil.copy(site.identity.write_config(place.directory / "doctor.json"), config)
    os.chown(config, place.accounts.uids[KEYS], place.accounts.uids[LOGIN])
    config.chmod(0o440)
    command = place.keys_command(f"--config {config} --fingerprint %f --type %t --key %k")
    patient.write(AuthorizedKeysCommand=command)
    patient.config = config
    found = patient.findings()
    assert {(f["check"], f["severity"]) for f in found} == {(check, "ok") for check in WELL - {"agent.status"}}
    config.chmod(0o400)
    told = patient.told()
    assert set(told) == {"path.config"}
    assert f"{LOGIN} can't read" in told["path.config"]["what"]


@pytest.mark.root
def test_another_user_is_told_what_needs_root(patient: Patient) -> None:
    told = patient.told(account=AGENT)
    assert {f["severity"] for f in told.values()} == {"note"}
    assert set(told) == {"keys.dry_run", "keys.line", "account.locked"}
    told = patient.told(account=LOGIN)
    assert {f["severity"] for f in told.values()} == {"note"}
    assert {"agent.status", "service.config", "keys.dry_run", "keys.line"} < set(told)
    assert all("needs root" in f["what"] for f in told.values())


@pytest.mark.root
def test_nothing_is_called_right_that_was_not_checked(patient: Patient) -> None:
    """Finding U30: an ordinary user read that both accounts are right, and that one of them was not checked."""
    found = patient.findings(account=LOGIN)
    for group in ("account", "agent", "keys"):
        severities = {f["severity"] for f in found if f["check"].startswith(f"{group}.")}
        assert severities == {"note"}, (group, found)


@pytest.mark.root
def test_open_invitation_is_no_error(patient: Patient, site: Site) -> None:
    """Finding U6: the dry run called the line for an unknown key an error."""
    site.identity.run("invite", "carol")
    try:
        assert patient.told() == {}
    finally:
        site.identity.run("invite", "carol", "--cancel")


@pytest.mark.root
def test_sshd_that_does_not_run_is_told(patient: Patient) -> None:
    """Finding N6: the doctor found no error on a host without a running sshd."""
    patient.port = free_port()
    patient.write()
    told = patient.told()
    assert set(told) == {"sshd.runs"}
    assert told["sshd.runs"]["severity"] == "error"


@pytest.mark.root
def test_refused_reload_of_the_agent_is_told(own: tuple[FakeSite, Patient]) -> None:
    """Finding N13: a refused reload looked like success."""
    site, patient = own
    with replaced(site.agent.config, lambda _: "{"):
        site.agent.process.send_signal(signal.SIGHUP)
        while not site.events("config.refused"):
            time.sleep(0.05)
    told = patient.told()
    assert set(told) == {"agent.status"}
    assert told["agent.status"]["what"].startswith("the agent refused a new configuration and works with the old one: ")


def test_ordinary_user_learns_what_is_not_roots(place: Place, site: Site, patient: Patient) -> None:
    """Without separate accounts, one user owns everything. The doctor must report that."""
    if place.accounts.separate:
        patient.path.chmod(0o666)
        try:
            assert set(patient.told()) == {"path.sshd_config"}
        finally:
            patient.path.chmod(0o644)
        return
    assert isinstance(site.identity, Identity)
    told = patient.told()
    assert {"path.script", "path.sshd_config", "agent.account"} <= set(told)
    assert "sshd.config" not in told
    assert [f["severity"] for f in patient.findings() if f["check"] == "keys.dry_run"] == ["ok"]
