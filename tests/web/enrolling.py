"""Plays a person who is invited to register a key, for the browser tests."""

import json
import secrets
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fakes.public_keys import ed25519
from web.served import Identity

from sshaft.public_key import PublicKey, parse
from sshaft_identity.commands.shared import open_store
from sshaft_identity.enrolment.enrolment import Presentation, Verdict
from sshaft_identity.settings import load


@dataclass(frozen=True)
class Guest:
    identity: Identity
    name: str
    code: str
    page: str

    def present(self, key: str | None = None) -> PublicKey:
        """Presents a key of the person, as the sshd side does."""
        presented = parse(key or ed25519(self.name))
        settings = load(self.identity.directory)
        with open_store(self.identity.directory, settings) as store:
            what = Presentation(presented, "192.0.2.7", name="A long name of a laptop " + "w" * 60)
            outcome = store.enrolments.present(self.code, what, datetime.now(UTC), settings.key_policy)
        assert outcome.verdict is Verdict.PRESENTED
        return presented


def guest(identity: Identity, *options: str) -> Guest:
    """Makes a user with an open enrolment."""
    name = f"guest-{secrets.token_hex(4)}"
    identity.run("user", "add", name)
    invited = json.loads(identity.run("invite", name, "--json", *options))
    page = identity.url + invited["page_url"][invited["page_url"].index("/enrol/") :]
    return Guest(identity, name, invited["code"].replace("-", ""), page)


def registered(identity: Identity, someone: Guest) -> list[str]:
    with open_store(identity.directory, load(identity.directory)) as store:
        return [each.key.fingerprint for each in store.keys.all(someone.name)]


def write_signed(command: str, path: Path) -> tuple[Path, Path]:
    """Makes a key and runs the command of the page. Returns the files of the key and of the signature."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=10)
    line = command.replace("~/.ssh/id_ed25519", str(path))
    signature = path.with_suffix(".sig")
    signature.write_bytes(subprocess.run(["sh", "-c", line], check=True, capture_output=True, timeout=10).stdout)
    return path.with_suffix(".pub"), signature
