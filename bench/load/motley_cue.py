"""Runs the real motley_cue of the Python package index. Needs root: it makes accounts, in its own copy of /etc."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load.python_packages import installed
from sshaft_demo.parts import free_port, wait_for

LOCK = Path(__file__).parent / "motley-cue" / "requirements.lock"
_STARTED = "Application startup complete."
_INSIDE = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd
shift
exec "$@"
"""
_MOTLEY_CUE = """\
[mapper]
log_level = WARNING
log_file = {folder}/mapper.log
[mapper.otp]
use_otp = True
backend = sqlite
db_location = {folder}/tokenmap.db
keyfile = {folder}/motley_cue.key
[DEFAULT]
scopes = ["openid", "profile"]
[authorisation.provider]
op_url = {issuer}
authorise_all = True
"""
_FLAAT = """\
[ops]
ops_that_support_jwt = ["{issuer}"]
ops_that_support_audience = []
"""
_FEUDAL = """\
[ldf_adapter]
backend = local_unix
fallback_group = nogroup
[messages]
log_file = {folder}/feudal.log
log_level = WARNING
[approval]
enabled = False
user_db_location = {folder}/pending_users.db
[username_generator]
mode = friendly
[groups]
policy = all
method = classic
[login_info]
description = A host for tests
ssh_host = localhost
[backend.local_unix]
shell = /bin/sh
home_base = {folder}/home
deploy_user_ssh_keys = no
"""


@dataclass
class MotleyCue:
    """A running service. `master` is the pid of gunicorn, whose mount namespace has the accounts."""

    url: str
    master: int

    def command(self, *words: str | Path) -> list[str]:
        """Returns a command that sees the accounts of the service."""
        return ["nsenter", f"--target={self.master}", "--mount", *map(str, words)]

    def workers(self) -> list[int]:
        """Returns the pids of the processes that answer requests."""
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text()
        return [int(each) for each in children.split()]


@contextmanager
def motley_cue(folder: Path, issuer: str, authorities: Path, workers: int = 2) -> Iterator[MotleyCue]:
    """Yields a service for all people of the issuer. `authorities` are the certificates that it trusts.

    gunicorn listens before it starts its workers, so this waits until each worker has said that it is ready.
    """
    programs = installed("motley-cue", LOCK, builds=True)
    port = free_port()
    files = {"MOTLEY_CUE_CONFIG": _MOTLEY_CUE, "FLAAT_CONFIG": _FLAAT, "FEUDAL_ADAPTER_CONFIG": _FEUDAL}
    environment = {"PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin", "HOME": str(folder)}
    environment |= dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(authorities))
    for name, text in files.items():
        path = folder / f"{name.lower()}.conf"
        path.write_text(text.format(folder=folder, issuer=issuer))
        environment[name] = str(path)
    (folder / "home").mkdir()
    (folder / "private").mkdir()
    serve = [programs / "gunicorn", "-k", "uvicorn.workers.UvicornWorker", "-w", str(workers)]
    serve += ["-b", f"127.0.0.1:{port}", "motley_cue.api:api"]
    start = ["unshare", "--mount", "sh", "-c", _INSIDE, "sh", folder / "private", *serve]
    log = folder / "motley_cue.log"
    with log.open("wb") as output:
        process = subprocess.Popen(start, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        wait_for(lambda: log.read_text().count(_STARTED) == workers, process, log.read_text, "motley_cue", seconds=120)
        yield MotleyCue(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(30)
