"""Checks that sshd, and libc in it, ask libnss_sshaft for a name that the host does not know."""

import ctypes
import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sshaft.host import nsswitch
from sshaft.host.nsswitch import OURS, Source
from sshaft_doctor import paths
from sshaft_doctor.findings import Finding, error, warning

MODULE = "libnss_sshaft.so.2"
_SYSTEMD = "libnss_systemd.so.2"
_FOLDERS = ("/usr/lib/*", "/usr/lib64", "/usr/lib", "/lib/*", "/lib64", "/lib", "/usr/local/lib/*", "/usr/local/lib")
_INSTALL = "make -C native install-nss"
_ENABLE = "sshaft host enable --require-approval, and its other options"
_NSCD_SOCKET, _NSCD_CONFIG = Path("/run/nscd/socket"), Path("/etc/nscd.conf")


def examine(backend: str) -> list[Finding]:
    """Returns findings about nsswitch.conf, the module, and the name service cache."""
    found = [*paths.examine("host.nss", nsswitch.PATH), *examine_module()]
    try:
        text = nsswitch.PATH.read_bytes()
    except OSError:
        return found  # `paths.examine` has reported it
    found += judge_order(nsswitch.sources(text))
    if backend == "userdb":
        found += judge_userdb({each: nsswitch.sources(text, each.encode()) for each in ("passwd", "group", "shadow")})
    return [*found, *judge_cache(_NSCD_CONFIG if _NSCD_SOCKET.exists() else None)]


def judge_order(sources: Sequence[Source], where: str = str(nsswitch.PATH)) -> list[Finding]:
    """Checks that ours is asked, and that no other source is asked after it."""
    names = [source.name for source in sources]
    if OURS not in names:
        what = f"{OURS} is not in the line for passwd, so sshd turns away every name that the host does not know"
        return [error("host.nss", what, where, _ENABLE)]
    place = names.index(OURS)
    if end := next((source.name for source in sources[:place] if source.is_end), None):
        what = f"the action [...] after {end} ends the search for an unknown name, so libc never asks {OURS}"
        return [error("host.nss", what, where, f"take the action after {end} out of the line for passwd")]
    if later := names[place + 1 :]:
        what = f"{OURS} is asked before {', '.join(later)}: sshd takes the agent's word for names of others"
        right = " ".join([*(name for name in names if name != OURS), OURS])
        return [error("host.nss", what, where, f"passwd: {right}")]
    return []


def judge_userdb(databases: Mapping[str, Sequence[Source]], where: str = str(nsswitch.PATH)) -> list[Finding]:
    """Checks that the host reads the accounts of the backend `userdb`. `databases` have the sources of each."""
    found = []
    if not _is_loadable(_SYSTEMD):
        what = f"backend is userdb, and {_SYSTEMD} is not installed: the host sees none of the accounts"
        found.append(error("host.userdb", what, where, "apt-get install libnss-systemd"))
    for database, sources in databases.items():
        names = [source.name for source in sources]
        if "systemd" not in names:
            what = f"backend is userdb, and systemd is not in the line for {database}: no account can be made"
            right = [*(name for name in names if name != OURS), "systemd", *(name for name in names if name == OURS)]
            found.append(error("host.userdb", what, where, f"{database}: {' '.join(right)}"))
    return found


def examine_module() -> list[Finding]:
    """Checks that libc can load the module, and that only root can change it: programs of root load it."""
    names = [name for folder in _FOLDERS for name in glob.glob(f"{folder}/{MODULE}")]  # noqa: PTH207 - absolute
    files = dict.fromkeys(Path(name).resolve() for name in names)
    found = [each for file in files for each in paths.examine("host.nss_module", file)]
    if not found and not _is_loadable(MODULE):
        what = f"libc cannot load {MODULE}, so sshd turns away every name that the host does not know"
        return [error("host.nss_module", what, str(next(iter(files), MODULE)), _INSTALL)]
    return found


def _is_loadable(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def judge_cache(config: Path | None) -> list[Finding]:
    """Checks the configuration of a running nscd, which answers in place of all modules. None: it does not run."""
    try:
        text = config.read_text(errors="replace") if config is not None else ""
    except OSError:
        text = ""
    if config is None or re.search(r"^\s*enable-cache\s+passwd\s+no\b", text, re.MULTILINE):
        return []
    what = f"nscd answers in place of {MODULE}, so sshd turns away every name that the host does not know"
    return [warning("host.nscd", what, str(config), "enable-cache passwd no, and: systemctl restart nscd")]
