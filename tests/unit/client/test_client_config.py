"""Tests `sshaft client-config` against a small server. `tests/e2e/test_first_use.py` uses the real one."""

import click
import pytest
from click.testing import CliRunner, Result
from fakes.identity_server import ERROR, HTML, IdentityServer, Reply, redirect, reply_json
from fakes.public_keys import ed25519

from sshaft.errors import RemoteServiceError
from sshaft.host.ssh_server import SshServer, host_keys
from sshaft_client.client_config import client_config

SERVER = SshServer("mfa", "login.example.org", 2222, host_keys([ed25519("host")]))
PATH = "/api/v1/mfa/ssh/server"


def run(identity: IdentityServer, *options: str, answer: Reply | None = None) -> Result:
    identity.replies[PATH] = answer or reply_json(SERVER.as_json())
    return CliRunner().invoke(client_config, [f"{identity.url}/", *options])


def test_lines_for_ssh_config_and_known_hosts_are_printed(identity: IdentityServer) -> None:
    assert run(identity).output == SERVER.config_block("~/.ssh/id_ed25519") + "\n"
    assert run(identity, "--identity-file", "~/.ssh/work").output == SERVER.config_block("~/.ssh/work") + "\n"
    assert run(identity, "--known-hosts").output == SERVER.known_hosts()[0] + "\n"


@pytest.mark.parametrize("url", ["http://id.example.org", "id.example.org", "ftp://127.0.0.1", "file:///etc/passwd"])
def test_address_that_others_could_answer_is_refused(url: str) -> None:
    done = CliRunner().invoke(client_config, [url])
    assert (done.exit_code, "https://" in done.output) == (2, True)


@pytest.mark.parametrize(
    "answer",
    [Reply(404), ERROR, HTML, redirect("https://evil.example/"),
     reply_json(SERVER.as_json() | {"user": "x\n  ProxyCommand y"}),
     reply_json(SERVER.as_json() | {"host_keys": ["x"]})],
)  # fmt: skip
def test_other_answer_prints_nothing(identity: IdentityServer, answer: Reply) -> None:
    done = run(identity, answer=answer)
    assert isinstance(done.exception, RemoteServiceError)
    assert done.output == ""


def test_file_name_with_a_meaning_for_ssh_is_refused(identity: IdentityServer) -> None:
    done = run(identity, "--identity-file", "x\nHost *")
    assert (done.exit_code, "--identity-file" in done.output) == (click.UsageError.exit_code, True)


def test_known_hosts_without_a_host_key_is_an_error(identity: IdentityServer) -> None:
    done = run(identity, "--known-hosts", answer=reply_json(SERVER.as_json() | {"host_keys": []}))
    assert "names no host key" in str(done.exception)
