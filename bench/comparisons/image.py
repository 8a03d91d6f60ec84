"""Compares containers of the image with one of sshd alone: size, time until it serves, and memory at rest.

The time begins with `docker run`. It ends with the first login that is accepted, or with the first good health check.
All containers have the rights of docs/container.md. Needs root and Docker, and builds the image first.

    .venv/bin/python -m bench.comparisons.image [--rounds 10]
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from bench.comparisons.report import TOP, Comparison, Table, table_of
from bench.load.container_engine import Engine, UnavailableError, build, engine_with_base
from bench.load.trial import memory_mb
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft_demo.parts import free_port

ALONE, FACTOR, IDENTITY, WEB = "sshd alone", "factor", "identity service", "sshaft web"
IMAGE, IMAGE_ALONE, SUITE = "sshaft:bench", "sshd:bench", "trixie"
LIMIT_SECONDS = 30

_ALONE = f"""FROM debian:{SUITE}-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-server systemd-standalone-sysusers \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /etc/ssh/ssh_host_*_key* \
 && install -d -m 0755 /run/sshd && useradd --create-home --shell /bin/sh --password '*' person
"""
_UNPRIVILEGED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
_SSHD = (*_UNPRIVILEGED, *(f"--cap-add={name}" for name in ("SETUID", "SETGID", "SYS_CHROOT", "CHOWN", "AUDIT_WRITE")))
_FACTOR = (*_SSHD, "--tmpfs=/run/sshaft:uid=480,mode=0755", "--tmpfs=/tmp")


class Site:
    """The images, an identity service with one person, and what each container needs."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine, self.directory = engine, directory
        build(engine, TOP, IMAGE, SUITE)
        (directory / "alone").mkdir()
        (directory / "alone" / "Dockerfile").write_text(_ALONE)
        engine("build", "-t", IMAGE_ALONE, directory / "alone", timeout=600)
        for name in ("person", "keys/ssh_host_ed25519_key"):
            (directory / name).parent.mkdir(mode=0o700, exist_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        self.volume = f"-v={engine.volume()}:/var/lib/sshaft-identity"
        self.ssh_port = free_port()
        self._identity("init", "--listen", "127.0.0.1:8080")
        self._identity("user", "add", "person")
        self._identity("key", "add", "person", "-", text=(directory / "person.pub").read_text())
        printed = self._identity("client", "add", "sshaft", "--scope", "mfa:list", "--scope", "mfa:accept", "--json")
        text = (TOP / "config.json").read_text().replace("https://identity.example.com", "http://127.0.0.1:8080")
        self._write("config.json", text.replace("change-me", json.loads(printed)["client_secret"]), 480)
        web = json.loads((TOP / "examples" / "web" / "web.json").read_text()) | {"host": "0.0.0.0"}  # noqa: S104 - of its container
        self._write("examples/web/web.json", json.dumps(web), 484)
        self._write("web/web-client-secret", "secret", 484)
        key = (directory / "keys/ssh_host_ed25519_key.pub").read_text()
        self._write("web/web-known-hosts", f"login.example.org {key}", 484)
        # The agent speaks plain http to loopback only, so the factor shares this container's network.
        serve = ("--user=sshaft-identity", "--tmpfs=/tmp", self.volume, IMAGE, "sshaft", "identity", "serve")
        self.service = engine.run(*_UNPRIVILEGED, f"-p=127.0.0.1:{self.ssh_port}:2222", *serve)

    def starts(self) -> dict[str, Callable[[], tuple[str, float]]]:
        """Returns for each kind of container how to start it. The calls return its id and the seconds."""
        return {ALONE: self.start_alone, FACTOR: self.start_factor, IDENTITY: self.start_identity, WEB: self.start_web}

    def start_alone(self) -> tuple[str, float]:
        port, keys = free_port(), self.directory / "keys"
        mounts = (f"-v={keys}:/etc/ssh/keys:ro", f"-v={self.directory}/person.pub:/etc/ssh/authorized_keys:ro")
        sshd = ("/usr/sbin/sshd", "-D", "-e", "-h", "/etc/ssh/keys/ssh_host_ed25519_key", "-o", "UsePAM=no",
                "-o", "AuthorizedKeysFile=/etc/ssh/authorized_keys")  # fmt: skip
        words = (*_SSHD, f"-p=127.0.0.1:{port}:22", *mounts, IMAGE_ALONE, *sshd)
        return self._time(words, lambda: self._ssh(port, "person", "true"))

    def start_factor(self) -> tuple[str, float]:
        words = ("exec", self.service, "sshaft", "identity", "challenge", "open", "person", "--json")
        code = json.loads(self.engine(*words).stdout)["code"]
        mounts = (f"-v={self.directory}/config.json:/sshaft/config.json:ro",
                  f"-v={self.directory}/keys:/etc/ssh/keys:ro")  # fmt: skip
        network = f"--network=container:{self.service}"
        return self._time((*_FACTOR, network, *mounts, IMAGE), lambda: self._ssh(self.ssh_port, "mfa", code))

    def start_identity(self) -> tuple[str, float]:
        port = free_port()
        serve = ("sshaft", "identity", "serve", "--listen", "0.0.0.0:8080")
        options = ("--user=sshaft-identity", "--tmpfs=/tmp", self.volume, f"-p=127.0.0.1:{port}:8080")
        return self._time(
            (*_UNPRIVILEGED, *options, IMAGE, *serve), lambda: _is_good(f"http://127.0.0.1:{port}/readyz")
        )

    def start_web(self) -> tuple[str, float]:
        port = free_port()
        options = ("--user=sshaft-web", f"-v={self.directory}/web:/etc/sshaft:ro", f"-p=127.0.0.1:{port}:8090")
        words = (*_UNPRIVILEGED, *options, IMAGE, "sshaft", "web")
        return self._time(words, lambda: _is_good(f"http://127.0.0.1:{port}/healthz"))

    def megabytes(self, container: str) -> float:
        """Returns what all processes of the container have in memory."""
        return sum(memory_mb(pid) for pid in self.engine.processes(container))

    def _time(self, words: tuple[str, ...], serves: Callable[[], bool]) -> tuple[str, float]:
        begin = time.monotonic()
        container = self.engine.run(*words)
        while not serves():
            if time.monotonic() > begin + LIMIT_SECONDS:
                raise SystemExit(f"it does not serve after {LIMIT_SECONDS} s:\n{self.engine.logs(container)}")
            time.sleep(0.005)
        return container, time.monotonic() - begin

    def _ssh(self, port: int, user: str, word: str) -> bool:
        options = ("IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "StrictHostKeyChecking=no")
        options += ("UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        command = ["ssh", "-F", "none", "-T", "-p", str(port), "-i", str(self.directory / "person")]
        command += [*(f"-o{each}" for each in options), f"{user}@127.0.0.1", word]
        return subprocess.run(command, check=False, capture_output=True, input=b"").returncode == 0

    def _identity(self, *words: str, text: str | None = None) -> str:
        once = ("--rm", "-i", "--user=sshaft-identity", self.volume, IMAGE, "sshaft", "identity")
        return self.engine("run", *once, *words, text=text).stdout

    def _write(self, name: str, text: str, uid: int) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o400)
        os.chown(path, uid, -1)


def _is_good(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@contextmanager
def site() -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="sshaft-bench-image-"))
    directory.chmod(0o711)
    try:
        with engine_with_base(SUITE) as engine:
            yield Site(engine, directory)
    except UnavailableError as error:
        raise SystemExit(f"the comparison of the image cannot run here: {error}") from None
    finally:
        shutil.rmtree(directory)


def run(rounds: int = 10) -> Rounds:
    with site() as here:
        size = {name: int(here.engine.inspect(name, "{{.Size}}")) / 1e6
                for name in (IMAGE, IMAGE_ALONE, f"debian:{SUITE}-slim")}  # fmt: skip
        seconds, memory = defaultdict(list), defaultdict(list)
        for done in range(1, rounds + 1):
            for name, start in here.starts().items():
                container, took = start()
                seconds[name].append(took)
                memory[name].append(here.megabytes(container))
                here.engine.remove(container)
            alone = statistics.median(seconds[ALONE])
            figures = {
                name: {
                    "image_mb": round(size[IMAGE_ALONE if name == ALONE else IMAGE]),
                    "more_than_debian_mb": round(
                        size[IMAGE_ALONE if name == ALONE else IMAGE] - size[f"debian:{SUITE}-slim"]
                    ),
                    "start_ms": round(statistics.median(times) * 1000),
                    "times_sshd_alone": round(statistics.median(times) / alone, 2),
                    "memory_mb": round(statistics.median(memory[name]), 1),
                }
                for name, times in seconds.items()
            }
            yield Measured(done, rounds, figures)


def table(figures: Figures) -> Table:
    columns = {
        "image_mb": "image, MB",
        "more_than_debian_mb": "more than Debian, MB",
        "start_ms": "until it serves, ms",
        "times_sshd_alone": "times as long as sshd alone",
        "memory_mb": "memory at rest, MB",
    }
    return table_of("container", columns, figures)


COMPARISON = Comparison(
    "size, start and memory of the container image, beside sshd alone (needs root and Docker)",
    seconds=150,
    quick_seconds=80,
    whole=run,
    quick=lambda: run(1),
    table=table,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
