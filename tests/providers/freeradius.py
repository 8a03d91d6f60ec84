"""Starts the real FreeRADIUS of Debian, with rlm_rest only. `radclient` plays the VPN of the person."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULES = Path("/usr/lib/freeradius")


@dataclass
class FreeRadius:
    port: int
    secret: str
    log: Path

    def accepts(self, user: str, password: str) -> bool:
        """Whether FreeRADIUS accepts this password from a VPN."""
        question = f"User-Name = {user}, User-Password = {password}, Calling-Station-Id = 127.0.0.1\n"
        done = subprocess.run(
            ["radclient", "-D", "/usr/share/freeradius", "-t", "20", "-r", "1", f"127.0.0.1:{self.port}", "auth",
             self.secret],
            input=question, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Received Access-" in done.stdout, (done, self.log.read_text()[-3000:])
        return "Received Access-Accept" in done.stdout


def free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(directory: Path, printed: str) -> Iterator[FreeRadius]:
    """Starts FreeRADIUS with the module and the site of the recipe `printed`."""
    program = shutil.which("freeradius", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or not shutil.which("radclient") or not (MODULES / "rlm_rest.so").exists():
        pytest.skip("needs FreeRADIUS: apt-get install freeradius freeradius-rest freeradius-utils")
    module, site = (_block(printed, name) for name in ("rest sshaft {", "authorize {"))
    authenticate = _block(printed, "authenticate {\n        Auth-Type")
    server = FreeRadius(free_udp_port(), secrets.token_hex(8), directory / "radius.log")
    (directory / "radiusd.conf").write_text(
        f"prefix = {directory}\nlibdir = {MODULES}\nlogdir = {directory}\nrun_dir = {directory}\n"
        f"raddbdir = {directory}\n"
        f"log {{\ndestination = files\nfile = {server.log}\n}}\n"
        f"client local {{\nipaddr = 127.0.0.1\nsecret = {server.secret}\n}}\n"
        f"modules {{\nexpr {{\n}}\n{module}\n}}\n"  # expr is there in every installation
        f"server default {{\nlisten {{\ntype = auth\nipaddr = 127.0.0.1\nport = {server.port}\n}}\n"
        f"{site.replace('...', '')}\n{authenticate}\n}}\n"
    )
    (directory / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
    command = [program, "-f", "-d", str(directory), "-n", "radiusd"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not (server.log.exists() and "Ready to process requests" in server.log.read_text()):
                assert process.poll() is None, server.log.read_text() if server.log.exists() else "it did not start"
                assert time.monotonic() < deadline, server.log.read_text()
                time.sleep(0.05)
            yield server
        finally:
            process.terminate()


def _block(text: str, begin: str) -> str:
    """Returns the block from `begin` to its closing brace."""
    start = text.index(begin)
    depth = 0
    for found in re.finditer(r"[{}]", text[start:]):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return text[start : start + found.end()]
    raise ValueError(begin)
