"""Tests `sshaft setup` on a machine of its own: its questions in a real terminal, its options, and its files."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fakes.setup_machine import AGENT, IDENTITY, PROGRAM, SetupMachine

from sshaft_demo.parts import free_port

pytestmark = pytest.mark.root

LOCAL = ("--role", "factor-and-identity", "--public-url", "https://id.example.org", "--ssh-host", "mfa.example.org")
HOST_LOGIN = ("--role", "host-login", "--issuer", "https://sso.example.org/realms/staff", "--client-id", "ssh-hosts")
SECRET = "a-secret-that-nobody-sees"
FACTOR = {
    "token_endpoint": "https://id.example.org/oauth2/token",
    "client_id": "factor",
    "client_secret": SECRET,
    "token_scope": "mfa:list mfa:accept",
    "mfa_list_endpoint": "https://id.example.org/api/v1/mfa/ssh/keys",
    "mfa_accept_endpoint": "https://id.example.org/api/v1/mfa/ssh/accept",
    "login_path": "/sshaft/login",
}


@pytest.fixture
def machine(tmp_path: Path) -> SetupMachine:
    return SetupMachine(tmp_path)


@pytest.fixture(scope="module")
def factor_template(tmp_path_factory: pytest.TempPathFactory) -> SetupMachine:
    machine = SetupMachine(tmp_path_factory.mktemp("factor"))
    machine.setup(*LOCAL)
    return machine


@pytest.fixture
def factor(factor_template: SetupMachine, tmp_path: Path) -> SetupMachine:
    """A machine that was set up with factor and identity service."""
    return factor_template.copy(tmp_path)


@pytest.fixture(scope="module")
def login_template(tmp_path_factory: pytest.TempPathFactory) -> SetupMachine:
    machine = SetupMachine(tmp_path_factory.mktemp("login"))
    machine.setup(*HOST_LOGIN, "--allow", "everyone")
    return machine


@pytest.fixture
def login(login_template: SetupMachine, tmp_path: Path) -> SetupMachine:
    """A machine that was set up with host login."""
    return login_template.copy(tmp_path)


def secret_file(machine: SetupMachine) -> str:
    """Writes a file with a secret, and returns the name that the machine has for it."""
    machine.path("/etc/secret").write_text(f"{SECRET}\n")
    return "/etc/secret"


@pytest.fixture
def factor_file(machine: SetupMachine) -> str:
    path = machine.path("/etc/factor.json")
    path.write_text(json.dumps(FACTOR))
    path.chmod(0o600)
    return "/etc/factor.json"


# The four roles, by a conversation


def test_person_sets_up_factor_and_identity_service(machine: SetupMachine) -> None:
    terminal = machine.terminal()
    assert "1  factor-and-identity" in terminal.wait_for("Number:")
    terminal.type("1\n")
    assert "Address of the identity service" in terminal.wait_for("Address of the identity service")
    terminal.type("https://id.example.org/\n")
    assert "[127.0.0.1:8080]" in terminal.wait_for("8080]:")
    terminal.type("\n")
    assert "PostgreSQL URL" in terminal.wait_for("PostgreSQL URL")
    terminal.type("\n")
    assert "Host of the ssh command" in terminal.wait_for("Host of the ssh command")
    terminal.type("mfa.example.org\n")
    assert "[separate]:" in terminal.wait_for("[separate]:")
    terminal.type("\n")
    assert "[2222]:" in terminal.wait_for("[2222]:")
    terminal.type("2022\n")
    planned = terminal.wait_for("Go on? [Y/n]:")
    assert "sshaft identity --directory /var/lib/sshaft-identity init --public-url https://id.example.org" in planned
    assert not machine.path("/etc/sshaft").exists()
    terminal.type("\n")
    said, status = terminal.end(120)
    assert status == 0, said
    assert machine.config["token_endpoint"] == "https://id.example.org/oauth2/token"
    assert machine.config["login_path"] == "/usr/libexec/sshaft/sshaft-login"
    assert (machine.identity["ssh_host"], machine.identity["ssh_port"]) == ("mfa.example.org", 2022)
    sshd_config = machine.path("/etc/ssh/sshaft_sshd_config").read_text()
    assert "\nPort 2022\n" in sshd_config
    assert "AuthorizedKeysCommand /usr/libexec/sshaft/sshaft-keys " in sshd_config
    assert "\r\nsshaft doctor\r\n" in said
    assert "https://id.example.org goes to http://127.0.0.1:8080" in said
    assert "people reach TCP port 2022" in said
    assert "systemctl enable --now sshaft-identity sshaft-agent sshaft-sshd" in said


def test_person_sets_up_factor_of_another_host(machine: SetupMachine, factor_file: str) -> None:
    terminal = machine.terminal("--role", "factor")
    assert "sshaft identity client add factor" in terminal.wait_for("(Enter: type the addresses)")
    terminal.type("/nowhere\n")
    assert "can't be read: No such file" in terminal.wait_for("(Enter: type the addresses)")
    terminal.type(f"{factor_file}\n")
    assert "[separate]:" in terminal.wait_for("[separate]:")
    terminal.type("existing\n")
    planned = terminal.wait_for("Go on? [Y/n]:")
    assert '"client_secret": "(not shown)"' in planned
    terminal.type("y\n")
    said, status = terminal.end(120)
    assert status == 0, said
    assert machine.config == FACTOR | {"login_path": "/usr/libexec/sshaft/sshaft-login"}
    assert not machine.path("/etc/ssh/sshaft_sshd_config").exists()
    assert "the client factor is registered at id.example.org: client_credentials, client_secret_post" in said
    assert "the block `Match User mfa` of docs/install-by-hand.md" in said
    assert SECRET not in planned + said


def test_person_sets_up_host_login(machine: SetupMachine) -> None:
    terminal = machine.terminal("--role", "host-login")
    assert "Issuer of the OpenID Provider:" in terminal.wait_for("Issuer of the OpenID Provider:")
    terminal.type("http://sso.example.org\n")
    assert "must be https" in terminal.wait_for("Issuer of the OpenID Provider:")
    terminal.type("https://sso.example.org/realms/staff\n")
    assert "Id of this client there:" in terminal.wait_for("Id of this client there:")
    terminal.type("ssh-hosts\n")
    assert "Who may log in:" in terminal.wait_for("Who may log in:")
    terminal.type("staff\n")
    assert "give group:NAME, user:ACCOUNT or everyone" in terminal.wait_for("Who may log in:")
    terminal.type('group:/ssh-users "group:cn=ops, ou=people"\n')
    assert "first login [no]:" in terminal.wait_for("first login [no]:")
    terminal.type("maybe\n")
    assert "'maybe' is none of yes, no" in terminal.wait_for("first login [no]:")
    terminal.type("y\n")
    assert "public client): " in terminal.wait_for("public client): ")
    terminal.type(f"{SECRET}\n")
    planned = terminal.wait_for("Go on? [Y/n]:")
    terminal.type("\n")
    said, status = terminal.end(120)
    assert status == 0, said
    assert SECRET not in planned + said
    assert machine.config == {
        "host_login": {
            "issuer": "https://sso.example.org/realms/staff",
            "client_id": "ssh-hosts",
            "client_secret_file": "/etc/sshaft/client-secret",
            "allow": {"groups": ["/ssh-users", "cn=ops, ou=people"]},
            "create": {},
        }
    }
    assert machine.path("/etc/sshaft/client-secret").read_text() == f"{SECRET}\n"
    assert machine.json("/etc/sshaft/accounts.json") == {}
    for line in ("docs/providers/keycloak.md", "device_code", "no redirect URI", "client_secret_basic",
                 "sshaft host check NAME", "host enable --require-approval", "sshaft-accounts.socket"):  # fmt: skip
        assert line in said
    assert "pam_sshaft" not in machine.path("/etc/pam.d/sshd").read_text()


def test_person_sets_up_identity_service_alone(machine: SetupMachine) -> None:
    terminal = machine.terminal("--role", "identity", "--public-url", "https://id.example.org")
    assert "8080]:" in terminal.wait_for("8080]:")
    terminal.type("localhost\n")
    assert "must be HOST:PORT" in terminal.wait_for("8080]:")
    terminal.type("[::1]:8081\n")
    assert "PostgreSQL URL" in terminal.wait_for("PostgreSQL URL")
    terminal.type("mysql://x\n")
    assert "give postgresql://" in terminal.wait_for("PostgreSQL URL")
    terminal.type("\n")
    assert "Host of the ssh command" in terminal.wait_for("Host of the ssh command")
    terminal.type("mfa example\n")
    assert "is no name" in terminal.wait_for("Host of the ssh command")
    terminal.type("mfa.example.org\n")
    assert "[2222]:" in terminal.wait_for("[2222]:")
    terminal.type("70000\n")
    assert "is no port" in terminal.wait_for("[2222]:")
    terminal.type("\n")
    assert "Go on? [Y/n]:" in terminal.wait_for("Go on? [Y/n]:")
    terminal.type("\n")
    said, status = terminal.end(120)
    assert status == 0, said
    assert (machine.identity["host"], machine.identity["port"]) == ("::1", 8081)
    assert not machine.path("/etc/sshaft").exists()
    assert "sshaft setup --role factor --factor-file factor.json" in said
    assert "sshaft doctor" not in said


# Owners, modes, copies


def test_files_belong_to_the_accounts_that_need_them(factor: SetupMachine) -> None:
    machine = factor
    machine.setup(*HOST_LOGIN, "--allow", "everyone", "--client-secret-file", secret_file(machine))
    for name, owner, mode in (
        ("/etc/sshaft", 0, 0o755),
        ("/etc/sshaft/config.json", AGENT, 0o400),
        ("/etc/sshaft/client-secret", AGENT, 0o400),
        ("/etc/ssh/sshaft_sshd_config", 0, 0o644),
        ("/etc/ssh/keys/ssh_host_ed25519_key", 0, 0o600),
        ("/var/lib/sshaft-identity", IDENTITY, 0o700),
        ("/var/lib/sshaft-identity/identity.json", IDENTITY, 0o600),
        ("/var/lib/sshaft-identity/hmac.key", IDENTITY, 0o600),
        ("/var/backups/sshaft", 0, 0o700),
    ):
        status = machine.path(name).stat()
        assert (status.st_uid, status.st_mode & 0o7777) == (owner, mode), name
    assert {"token_endpoint", "host_login"} <= machine.config.keys()
    _status, said = machine.run("doctor", "--json")
    assert [each for each in json.loads(said)["findings"] if each["check"] in {"path.config", "path.secret"}] == []


def test_second_run_changes_nothing(factor: SetupMachine) -> None:
    machine = factor
    machine.setup(*HOST_LOGIN, "--allow", "user:alice group:ops", "--client-secret-file", secret_file(machine))
    before = machine.files()
    roles = ("factor-and-identity", "host-login", "factor", "identity")
    for options in (LOCAL, HOST_LOGIN, *(("--role", role) for role in roles)):
        assert "nothing to change" in machine.setup(*options)
        assert machine.changed_since(before) == set(), options


def test_run_with_one_option_changes_one_thing_and_keeps_a_copy(factor: SetupMachine) -> None:
    path = factor.path("/etc/sshaft/config.json")
    more = {"list_seconds": 1.5, "host_login": {"issuer": "https://a.example", "client_id": "c", "qr": "off",
            "allow": {"groups": ["ops"], "acr": ["gold"]}}}  # fmt: skip
    path.write_text(json.dumps(factor.config | more))
    old, before = path.read_bytes(), factor.files()
    factor.setup("--role", "host-login", "--allow", "everyone")
    more["host_login"]["allow"] = {"everyone": True, "acr": ["gold"]}
    assert factor.config == json.loads(old) | more
    (copy,) = (factor.directory / "backups/sshaft").glob("config.json.*")
    assert copy.read_bytes() == old
    assert copy.stat().st_mode & 0o7777 == 0o600
    assert factor.changed_since(before) == {"etc/sshaft/config.json", f"backups/sshaft/{copy.name}"}


def test_another_port_changes_one_line_of_the_sshd_config(factor: SetupMachine) -> None:
    path = factor.path("/etc/ssh/sshaft_sshd_config")
    path.write_text(f"# mine\n{path.read_text()}")
    old = path.read_text()
    factor.setup("--role", "factor-and-identity", "--ssh-port", "2022")
    assert path.read_text() == old.replace("Port 2222", "Port 2022")
    assert factor.identity["ssh_port"] == 2022


def test_another_address_of_the_service_reaches_the_agent(factor: SetupMachine) -> None:
    old = factor.config
    factor.setup(*LOCAL[:2], "--public-url", "https://login.example.org")
    assert factor.config["token_endpoint"] == "https://login.example.org/oauth2/token"
    assert factor.config["client_secret"] != old["client_secret"]
    assert factor.identity["public_url"] == "https://login.example.org"
    assert factor.config.keys() == old.keys()


def test_agent_reaches_the_service_that_was_set_up(machine: SetupMachine) -> None:
    port = free_port(8080)
    machine.setup("--role", "factor-and-identity", "--public-url", f"http://127.0.0.1:{port}", "--listen",
                  f"127.0.0.1:{port}", "--ssh-host", "localhost")  # fmt: skip
    with subprocess.Popen(machine.command("identity", "serve"), stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stderr is not None
            assert any("identity.ready" in line for line in service.stderr)
            _status, said = machine.run("doctor", "--sshd-config", "/etc/ssh/sshaft_sshd_config", "--json")
        finally:
            service.send_signal(signal.SIGTERM)
    found = {each["what"]: each["severity"] for each in json.loads(said)["findings"]}
    assert [severity for what, severity in found.items() if what.startswith("it gives a token and lists keys")] == [
        "ok"
    ]


def test_existing_sshd_is_remembered(machine: SetupMachine, factor_file: str) -> None:
    machine.setup("--role", "factor", "--factor-file", factor_file, "--sshd", "existing")
    before = machine.files()
    assert "nothing to change" in machine.setup("--role", "factor")
    assert machine.changed_since(before) == set()


# What goes wrong


@pytest.mark.parametrize("last", ["Issuer of the OpenID Provider: ", "public client): ", "[Y/n]: "])
def test_interrupt_at_a_question_leaves_nothing(last: str, machine: SetupMachine) -> None:
    before = machine.files()
    terminal = machine.terminal("--role", "host-login")
    for question, answer in (
        ("Issuer of the OpenID Provider: ", "https://sso.example.org"),
        ("Id of this client there: ", "ssh-hosts"),
        ("Who may log in: ", "everyone"),
        ("[no]: ", ""),
        ("public client): ", "a secret"),
        ("[Y/n]: ", ""),
    ):
        assert question in terminal.wait_for(question)
        if question == last:
            break
        terminal.type(f"{answer}\n")
    said = ""
    for _try in range(3):  # Python's input() overlooks a signal that comes just before it waits
        terminal.type("\x03")
        said += terminal.wait_for("Nothing was changed.", 5)
        if "Nothing was changed." in said:
            break
    more, status = terminal.end()
    assert "Nothing was changed." in said + more
    assert status == 130
    assert machine.changed_since(before) == set()


def test_interrupt_while_it_writes_waits_for_the_end(machine: SetupMachine) -> None:
    terminal = machine.terminal(*LOCAL, "--listen", "127.0.0.1:8080", "--database", "", "--sshd", "separate",
                                "--ssh-port", "2222")  # fmt: skip
    assert "Go on? [Y/n]:" in terminal.wait_for("Go on? [Y/n]:")
    terminal.type("\n")
    directory = machine.path("/var/lib/sshaft-identity")
    until = time.monotonic() + 60
    while not (machine.path("/etc/sshaft/config.json").exists()) and time.monotonic() < until:
        if directory.exists():
            terminal.type("\x03")
        time.sleep(0.05)
    said, status = terminal.end(120)
    assert {"token_endpoint", "client_secret"} <= machine.config.keys(), said
    assert (machine.identity["public_url"], status in {0, 130}) == ("https://id.example.org", True)
    assert "nothing to change" in machine.setup(*LOCAL)


def test_no_leaves_everything_as_it_is(machine: SetupMachine) -> None:
    before = machine.files()
    terminal = machine.terminal(*HOST_LOGIN, "--allow", "everyone", "--create", "no")
    assert "public client): " in terminal.wait_for("public client): ")
    terminal.type("\n")
    assert "Go on? [Y/n]:" in terminal.wait_for("Go on? [Y/n]:")
    terminal.type("n\n")
    said, status = terminal.end()
    assert status == 1
    assert "Nothing was changed." in said
    assert machine.changed_since(before) == set()


def test_dry_run_shows_everything_but_the_secret_and_changes_nothing(machine: SetupMachine) -> None:
    secret = secret_file(machine)
    before = machine.files()
    said = machine.setup(*HOST_LOGIN, "--allow", "everyone", "--client-secret-file", secret, "--dry-run")
    assert '"issuer": "https://sso.example.org/realms/staff"' in said
    assert "/etc/sshaft/client-secret (sshaft, 0400): the secret, not shown" in said
    said += machine.setup(*LOCAL, "--database", f"postgresql://me:{SECRET}@db.example.org/identity", "--dry-run")
    assert "init --public-url https://id.example.org" in said
    assert "PerSourcePenalties" in said or "Port 2222" in said
    assert SECRET not in said
    assert machine.changed_since(before) == set()


WRONG = [
    ((), 64, "Missing option '--role'"),
    (("--role", "host-login"), 64, "Missing option '--issuer'"),
    ((*HOST_LOGIN, "--allow", ""), 64, "--allow: name groups or users"),
    ((*HOST_LOGIN, "--allow", "group:a everyone"), 64, "everyone alone"),
    ((*HOST_LOGIN, "--allow", 'group:"a'), 64, "No closing quotation"),
    ((*HOST_LOGIN, "--allow", "everyone", "--sshd", "separate"), 64, "--sshd does not belong to --role host-login"),
    ((*HOST_LOGIN, "--allow", "everyone", "--client-secret-file", "/nowhere"), 69, "/nowhere: No such file"),
    ((*HOST_LOGIN, "--allow", "everyone", "--client-secret-file", "/dev/null"), 64, "is empty"),
    (("--role", "factor", "--factor-file", "/etc/hosts"), 64, "not JSON"),
    (("--role", "factor", "--factor-file", "/etc/factor.json", "--client-id", "x"), 64, "does not fit"),
    (("--role", "factor", "--token-endpoint", "https://a.example/t", "--mfa-list-endpoint", "https://a.example/l",
      "--mfa-accept-endpoint", "https://a.example/a", "--client-id", "x"), 78, "needs client_secret"),
    ((*LOCAL[:2], "--public-url", "ftp://x"), 64, "must be https"),
]  # fmt: skip


def test_wrong_options_are_explained_and_nothing_is_written(machine: SetupMachine, factor_file: str) -> None:
    assert factor_file == "/etc/factor.json"
    before = machine.files()
    for options, status, reason in WRONG:
        found, said = machine.run("setup", "--yes", *options)
        assert (found, reason in said) == (status, True), said
    assert machine.changed_since(before) == set()


def test_input_that_is_no_terminal_is_refused(machine: SetupMachine) -> None:
    status, said = machine.run("setup", *HOST_LOGIN, stdin="everyone\n")
    assert status == 64
    assert "no terminal" in said


def test_host_without_the_accounts_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    machine = SetupMachine(tmp_path, with_accounts=False)
    before = machine.files()
    for options in (LOCAL, (*HOST_LOGIN, "--allow", "everyone")):
        status, said = machine.run("setup", "--yes", *options)
        assert (status, "does not exist: install the Debian package" in said) == (78, True)
    assert machine.changed_since(before) == set()


def test_file_that_the_agent_refuses_is_not_written(login: SetupMachine) -> None:
    path = login.path("/etc/sshaft/config.json")
    members = login.config
    members["host_login"]["unknown"] = 1
    path.write_text(json.dumps(members))
    before = login.files()
    status, said = login.run("setup", "--yes", "--role", "host-login", "--client-id", "other")
    assert status == 78
    assert "config.json was not written" in said
    assert "/etc/sshaft/config.json: host_login: unknown key" in said
    assert login.changed_since(before) == set()


def test_full_disk_leaves_the_old_file(login: SetupMachine) -> None:
    before = login.files()
    login.commands = ["mount -t tmpfs -o size=4k tmpfs /var/backups", "head -c 4096 /dev/zero >/var/backups/full"]
    status, said = login.run("setup", "--yes", "--role", "host-login", "--client-id", "other")
    assert (status, "/etc/sshaft/config.json cannot be written: No space left on device" in said) == (78, True), said
    assert login.changed_since(before) == set()


def test_link_in_place_of_a_file_is_refused(login: SetupMachine) -> None:
    path = login.path("/etc/sshaft/config.json")
    path.rename(path.with_name("managed.json"))
    path.symlink_to("managed.json")
    before = login.files()
    status, said = login.run("setup", "--yes", "--role", "host-login", "--client-id", "other")
    assert (status, "is a symbolic link: change /etc/sshaft/managed.json by hand" in said) == (78, True), said
    assert login.changed_since(before) == set()


def test_text_of_the_agents_account_does_not_reach_the_terminal_raw(login: SetupMachine) -> None:
    members = login.config
    members["host_login"] |= {
        "issuer": "https://sso.example.org/\x9b2J",
        "client_id": "\x1b[2J",
        "groups_claim": "\u202e",
    }
    login.path("/etc/sshaft/config.json").write_text(json.dumps(members))
    terminal = login.terminal("--role", "host-login", "--dry-run")
    said = terminal.wait_for("Issuer of the OpenID Provider: ")
    terminal.type("https://sso.example.org\n")
    said += terminal.wait_for("Id of this client there: ")
    terminal.type("c\n")
    said += terminal.wait_for("[everyone]: ")
    terminal.type("\n")
    said += terminal.wait_for("[no]: ")
    terminal.type("\n")
    said += terminal.wait_for("public client): ")
    terminal.type("\n")
    more, status = terminal.end()
    assert status == 0
    assert "groups_claim" in more
    assert not {"\x9b", "\x1b", "\u202e"} & set(said + more)


def test_broken_files_are_named(factor: SetupMachine) -> None:
    for name in ("/var/lib/sshaft-identity/identity.json", "/etc/sshaft/config.json"):
        path = factor.path(name)
        for content in ("{", "[]"):
            path.write_text(content)
            status, said = factor.run("setup", "--yes", *LOCAL)
            assert (status, f"{name}: not " in said) == (78, True), said


def test_link_of_the_service_account_is_not_followed_with_the_rights_of_root(factor: SetupMachine) -> None:
    path = factor.path("/var/lib/sshaft-identity/identity.json")
    path.unlink()
    path.symlink_to("/etc/shadow")
    before = factor.files()
    status, said = factor.run("setup", "--yes", *LOCAL)
    assert (status, "Permission denied" in said) == (78, True), said
    assert "root:" not in said
    assert factor.changed_since(before) == set()


def test_account_without_rights_is_told_to_use_root() -> None:
    command = [*PROGRAM, "setup", "--yes", *LOCAL]
    done = subprocess.run(command, user=65534, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("only root can read this checkout")
    assert (done.returncode, "run it as root" in done.stderr) == (77, True), done.stderr


# Services


def test_services_start_in_order_and_read_a_change(tmp_path: Path) -> None:
    machine = SetupMachine(tmp_path, with_systemd=True)
    said = machine.setup(*LOCAL)
    assert machine.services == [f"enable --now {unit}" for unit in ("sshaft-identity", "sshaft-agent", "sshaft-sshd")]
    assert "start the services" not in said
    machine.setup(*LOCAL)
    assert machine.services == []
    machine.setup(*HOST_LOGIN, "--allow", "everyone")
    assert machine.services == ["reload sshaft-agent"]
    machine.setup(*HOST_LOGIN, "--client-id", "other", "--no-start")
    assert machine.services == []
    again = ["reload sshaft-agent", "reload sshaft-sshd"]
    machine.setup("--role", "factor-and-identity", "--ssh-port", "2022")
    assert machine.services == ["reload sshaft-identity", *again]
    machine.setup("--role", "factor-and-identity", "--listen", "127.0.0.1:8081")
    assert machine.services == ["restart sshaft-identity", *again]


def test_unit_that_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    machine = SetupMachine(tmp_path, with_systemd=True)
    (tmp_path / "backups/missing").write_text("sshaft-accounts.socket\n")
    said = machine.setup(*HOST_LOGIN, "--allow", "everyone", "--create", "yes")
    assert machine.services == ["enable --now sshaft-agent"]
    assert "apt-get install sshaft-accounts\n" in said
    assert "systemctl enable --now sshaft-accounts.socket\n" in said
