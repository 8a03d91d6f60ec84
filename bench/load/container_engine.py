"""Finds the container engine of this host, or starts a private dockerd and cleans up after it. Builds the image.

The base of the image is made from Debian's own packages, and kept between runs.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DAEMON_PROGRAMS = ("dockerd", "mmdebstrap", "iptables", "iptables-save", "iptables-restore", "ip")
DIRECTORIES = Path("/var/tmp")  # noqa: S108 - mkdtemp makes folders in it
PREFIX = "sshaft-engine-"
BASE_TAR = Path(__file__).parents[2] / "tools" / "debian" / "base-tar"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
INTERFACES = Path("/sys/class/net")


class UnavailableError(Exception):
    """There can be no container or Debian here. The message states the reason."""


class Engine:
    """The docker client, bound to one engine. Everything made with `run` or `volume` is removed by `clean`."""

    def __init__(self, client: str, environment: dict[str, str]) -> None:
        self.client = client
        # Programs that call docker themselves must find the same client. An old client needs a flag for BuildKit.
        path = f"{Path(client).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "DOCKER_BUILDKIT": "1", "PATH": path, **environment}
        self._containers: list[str] = []
        self._volumes: list[str] = []

    def __call__(
        self, *arguments: str | Path, check: bool = True, text: str | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return self.execute(self.client, *arguments, check=check, text=text, timeout=timeout)

    def execute(
        self, *command: str | Path, check: bool = True, text: str | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Runs any program that talks to this engine. `text` is its input."""
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            input=text or "",
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, (
            f"{command}: {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
        return done

    def run(self, *arguments: str | Path) -> str:
        """Runs `docker run -d ARGUMENTS` and returns the id of the container."""
        container = self("run", "-d", *arguments).stdout.strip()
        self._containers.append(container)
        return container

    def volume(self) -> str:
        name = self("volume", "create").stdout.strip()
        self._volumes.append(name)
        return name

    def remove(self, container: str) -> None:
        self("rm", "-f", container, check=False)

    def inspect(self, container: str, template: str) -> str:
        return self("inspect", "-f", template, container).stdout.strip()

    def logs(self, container: str) -> str:
        done = self("logs", container)
        return done.stdout + done.stderr

    def wait_for_end(self, container: str, seconds: float = 20) -> int:
        """Returns the exit status of the container."""
        return int(self("wait", container, timeout=seconds).stdout)

    def processes(self, container: str) -> list[int]:
        """Returns the process ids of a container on the host."""
        return [int(line) for line in self("top", container, "-eo", "pid").stdout.split()[1:]]

    def clean(self) -> None:
        for container in self._containers:
            self.remove(container)
        for volume in self._volumes:
            self("volume", "rm", "-f", volume, check=False)


def need_root() -> None:
    if os.geteuid() != 0:
        raise UnavailableError("needs root: what is mounted has owners")


def base_tar(suite: str, *packages: str) -> Path:
    """Returns a tar of a slim Debian with these packages. Raises `UnavailableError`."""
    made = subprocess.run([BASE_TAR, suite, *packages], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise UnavailableError(f"no base of Debian's packages: {made.stderr[-1000:]}")
    return Path(made.stdout.strip())


@contextmanager
def engine_with_base(suite: str) -> Iterator[Engine]:
    """Yields the engine that runs here or a private one, with the image `debian:SUITE-slim`. Needs root."""
    need_root()
    base = f"debian:{suite}-slim"
    running = running_engine()
    if running is not None:
        if running("image", "inspect", base, check=False).returncode != 0:
            pulled = running("pull", base, check=False)
            if pulled.returncode != 0:
                raise UnavailableError(f"the engine that runs here can't pull {base}: {pulled.stderr.strip()[-300:]}")
        try:
            yield running
        finally:
            running.clean()
        return
    tar = base_tar(suite)
    with private_engine() as private:
        private("import", "-c", 'CMD ["bash"]', tar, base)
        try:
            yield private
        finally:
            private.clean()


def build(engine: Engine, checkout: Path, image: str, suite: str) -> None:
    """Builds the image from the Dockerfile. Build secrets give pip and npm the host's certificates and registries."""
    pip_conf, npmrc = "[global]\n", ""
    with tempfile.TemporaryDirectory() as folder:
        if CA_BUNDLE.exists():
            pip_conf += "cert = /run/secrets/ca_crt\n"
            npmrc += "cafile=/run/secrets/ca_crt\n"
            shutil.copy(CA_BUNDLE, Path(folder) / "ca_crt")
        if index := os.environ.get("PIP_INDEX_URL"):
            pip_conf += f"index-url = {index}\n"
        lower = os.environ.get("npm_config_registry")  # noqa: SIM112 - npm's own name
        if registry := os.environ.get("NPM_CONFIG_REGISTRY") or lower:
            npmrc += f"registry={registry}\n"
        (Path(folder) / "pip_conf").write_text(pip_conf)
        (Path(folder) / "npmrc").write_text(npmrc)
        secrets = [f"--secret=id={path.name},src={path}" for path in Path(folder).iterdir()]
        base = [] if suite == "trixie" else [f"--build-arg=BASE=docker.io/library/debian:{suite}-slim"]
        engine("build", *secrets, *base, "-t", image, checkout, timeout=600)


def client() -> str:
    """Returns a docker client. Debian's client comes first: other clients may lack BuildKit."""
    found = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    if found is None:
        raise UnavailableError("the docker client is missing")
    return found


def running_engine() -> Engine | None:
    """Returns the engine of DOCKER_HOST or of the standard socket."""
    engine = Engine(client(), {})
    if engine("version", check=False, timeout=20).returncode == 0:
        return engine
    if "DOCKER_HOST" in os.environ:
        raise UnavailableError(f"no engine answers at DOCKER_HOST {os.environ['DOCKER_HOST']}")
    return None


@contextmanager
def private_engine() -> Iterator[Engine]:
    """Runs a dockerd with its own data, and afterwards restores the network of the host."""
    missing = [program for program in DAEMON_PROGRAMS if shutil.which(program) is None]
    if missing:
        raise UnavailableError(f"missing programs: {', '.join(missing)}")
    _clear_after_dead_engines()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=DIRECTORIES))
    _write_network(directory)
    try:
        with _daemon(directory) as engine:
            yield engine
    finally:
        _clear(directory)


def _clear_after_dead_engines() -> None:
    """Removes mounts, bridges and packet filter rules of an earlier test run that was killed."""
    if running := _daemons():
        raise UnavailableError(f"another dockerd runs here that this test can't reach: process {running[0]}")
    for directory in DIRECTORIES.glob(f"{PREFIX}*"):
        _clear(directory)
    if (INTERFACES / "docker0").exists():
        subprocess.run(["ip", "link", "delete", "docker0"], check=True)


def _daemons() -> list[int]:
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if comm.read_text() == "dockerd\n":
                found.append(int(comm.parent.name))
    return found


def _clear(directory: Path) -> None:
    for mount in _mounts_below(directory):
        subprocess.run(["umount", mount], check=False)
    _restore_network(directory)
    if not _mounts_below(directory):
        shutil.rmtree(directory)


@contextmanager
def _daemon(directory: Path) -> Iterator[Engine]:
    socket = f"unix://{directory}/docker.sock"
    engine = Engine(client(), {"DOCKER_HOST": socket})
    command = ["dockerd", "--host", socket, "--pidfile", str(directory / "pid")]
    command += ["--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")]
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 30
        while engine("version", check=False).returncode != 0:
            if daemon.poll() is not None or time.monotonic() > end:
                raise UnavailableError(f"dockerd did not start: {(directory / 'log').read_text()[-1000:]}")
            time.sleep(0.1)
        yield engine
    finally:
        with suppress(subprocess.TimeoutExpired):
            containers = engine("ps", "-aq", check=False).stdout.split()
            if containers:
                engine("rm", "-f", *containers, check=False)
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _mounts_below(directory: Path) -> list[str]:
    """Returns the mount points, the deepest first."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((place for place in places if place.startswith(f"{directory}/")), reverse=True)


def _write_network(directory: Path) -> None:
    """Writes down the present bridges, packet filter rules and forwarding."""
    programs = [name for name in ("iptables", "ip6tables") if shutil.which(f"{name}-save")]
    network = {
        "forward": FORWARD.read_text(),
        "interfaces": [path.name for path in INTERFACES.iterdir()],
        "tables": {name: _tables(name) for name in programs},
    }
    (directory / "network.json").write_text(json.dumps(network))


def _restore_network(directory: Path) -> None:
    """Restores the network that `_write_network` wrote."""
    with suppress(FileNotFoundError):
        network = json.loads((directory / "network.json").read_text())
        for path in INTERFACES.iterdir():
            if path.name not in network["interfaces"] and path.name.startswith(("docker0", "br-", "veth")):
                subprocess.run(["ip", "link", "delete", path.name], check=False)
        for name, before in network["tables"].items():
            for table, _ in _tables(name).items() - before.items():
                _restore(name, table, before.get(table))
        FORWARD.write_text(network["forward"])


def _tables(name: str) -> dict[str, str]:
    """Returns the rules of each table from `iptables-save`, without comments and counters."""
    saved = subprocess.run([f"{name}-save"], check=True, capture_output=True, text=True).stdout
    tables: dict[str, str] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        if not line.startswith("#"):
            tables[table] = tables.get(table, "") + line.partition(" [")[0] + "\n"
    return tables


def _restore(name: str, table: str, content: str | None) -> None:
    if content is not None:
        subprocess.run([f"{name}-restore"], check=True, input=content, text=True)
        return
    chains = [line[1:].split() for line in _tables(name)[table].splitlines() if line.startswith(":")]
    for chain, policy in chains:
        if policy != "-":
            subprocess.run([name, "-t", table, "-P", chain, "ACCEPT"], check=True)
    for option in ("-F", "-X"):
        subprocess.run([name, "-t", table, option], check=True)
