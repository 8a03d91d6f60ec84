"""Compares the host keys that the identity service publishes with those of the sshd at the published address."""

import json
import subprocess
from urllib.parse import urljoin

from sshaft.addresses import bracketed
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import InvalidKeyError, SshaftError
from sshaft.host.ssh_server import HOST_KEY_TYPES, SshServer
from sshaft.http_client import HttpClient
from sshaft.public_key import PublicKey, parse
from sshaft_doctor.findings import Finding, error, note, ok, warning

CHECK = "service.host_key"
SECONDS = 10.0
_SCAN_SECONDS = 5


def examine(config: Config) -> list[Finding]:
    """Returns a finding, or nothing for another identity service than ours, which publishes no host keys."""
    server = _published(config)
    if server is None:
        return []
    where = f"ssh://{bracketed(server.host)}:{server.port}"
    if not server.host_keys:
        remedy = "sshaft identity init --ssh-host-key /etc/ssh/ssh_host_ed25519_key.pub, with the key of this sshd"
        return [note(CHECK, "the pages cannot tell people which host key to expect", where, remedy)]
    return judge(server, scan(server), where)


def judge(server: SshServer, offered: list[PublicKey], where: str) -> list[Finding]:
    """Compares the published keys with the `offered` ones, of which none means that no sshd answered."""
    if not offered:
        remedy = "check ssh_host and ssh_port in identity.json, and run sshaft doctor while sshd runs"
        return [note(CHECK, "not checked: no sshd answers where the pages send people", where, remedy)]
    remedy = "sshaft identity init --ssh-host-key FILE.pub, once for each host key of this sshd"
    foreign = [each for each in server.host_keys if each not in offered]
    if foreign:
        told = ", ".join(each.fingerprint for each in foreign)
        return [error(CHECK, f"the pages tell people to expect {told}, and sshd does not have this key", where, remedy)]
    missing = [each for each in offered if each not in server.host_keys]
    if missing:
        others = ", ".join(each.fingerprint for each in missing)
        return [warning(CHECK, f"the pages do not name a host key that ssh may show people: {others}", where, remedy)]
    return [ok(CHECK, "the pages tell people the host keys that sshd has", where)]


def _published(config: Config) -> SshServer | None:
    http = HttpClient(ca_file=config.ca_file, proxy=config.proxy, max_answer=64 * 1024)
    try:
        answer = http.send("GET", urljoin(config.mfa_list_endpoint, "server"), Deadline.after(SECONDS))
        return SshServer.of_json(json.loads(answer.body)) if answer.status == 200 else None
    except (SshaftError, ValueError):
        return None  # `service` has found whether the service answers
    finally:
        http.close()


def scan(server: SshServer) -> list[PublicKey]:
    """Returns the host keys that an sshd offers at the published address, as people's ssh gets them."""
    command = ["ssh-keyscan", "-T", str(_SCAN_SECONDS), "-p", str(server.port), "-t", "ed25519,ecdsa,rsa", server.host]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * _SCAN_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return []
    found = []
    for line in done.stdout.splitlines():
        try:
            found.append(parse(line.partition(" ")[2], HOST_KEY_TYPES))
        except InvalidKeyError:
            continue  # a comment, or a key that no page may name
    return list(dict.fromkeys(found))
