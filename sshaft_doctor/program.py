"""Checks the interpreter of the keys command and all folders of its code. sshd checks argv[0] only."""

import ast
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sshaft_doctor import paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, warning

SECONDS = 10
INSTALL = "sshaft install-commands"
_REINSTALL = f"install sshaft as docs/install.md says, then run: {INSTALL} /usr/libexec/sshaft"
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


@dataclass(frozen=True)
class Program:
    """A command. `interpreter` and `script` are None for a program without them; `flags` are Python's (`-IS`)."""

    path: Path
    interpreter: Path | None = None
    flags: tuple[str, ...] = ()
    script: Path | None = None


def look(words: list[str]) -> Program:
    """Finds interpreter and script of a command. Raises `OSError` if the file cannot be read."""
    path = Path(words[0])
    with path.open("rb") as file:
        first = file.readline(256)
    if first.startswith(b"#!"):
        line = first[2:].decode(errors="replace").split()
        flags = tuple(line[1:])
        return Program(path, Path(line[0]) if line else None, flags, path)
    if re.fullmatch(r"(python|pypy)[\d.]*", path.resolve().name):
        script = next((i for i, word in enumerate(words[1:], 1) if not word.startswith("-")), None)
        if script is not None:
            return Program(path, path, tuple(words[1:script]), Path(words[script]))
    return Program(path)


def examine(program: Program, keys_user: Account | None, as_user: dict[str, Any] | None) -> list[Finding]:
    """Returns findings about the interpreter, the script and the packages.

    `as_user` has the arguments of Popen that change to the command's account; None: this process may not change.
    """
    found: list[Finding] = []
    for file in dict.fromkeys([program.interpreter, program.script]):
        if file is not None and file != program.path:
            found += paths.examine("path.interpreter" if file == program.interpreter else "path.script", file)
    if keys_user is not None:
        found += paths.reach("path.reach", program.path, keys_user, 5 if program.script == program.path else 1)
        if program.interpreter not in (None, program.path):
            found += paths.reach("path.reach", program.interpreter, keys_user, 1)
        if program.script not in (None, program.path):
            found += paths.reach("path.reach", program.script, keys_user, 4)
    if program.interpreter is None or program.script is None:
        return found
    return found + _python(program, program.interpreter, program.script, keys_user, as_user)


def _python(
    program: Program, interpreter: Path, script: Path, keys_user: Account | None, as_user: dict[str, Any] | None
) -> list[Finding]:
    again = f"{INSTALL} {script.parent}"
    if interpreter.name == "env":
        what = f"{script} takes whichever Python it finds first in PATH"
        return [error("path.interpreter", what, str(script), again)]
    if not interpreter.name.startswith(("python", "pypy")):
        return []  # the packages of a shell or another language are not known
    found = []
    if not any("I" in flag.lstrip("-") for flag in program.flags if not flag.startswith("--")):
        what = f"{script} runs Python without -I: the working folder and the environment could choose what is loaded"
        found.append(warning("path.isolated", what, str(script), again))
    if paths.examine("path.interpreter", interpreter):
        return found  # reported already, and a file that others can change is not started
    own = added_paths(script)
    known: list[str] = []
    try:
        # Without -S it loads code from site-packages before they are examined: root must not run it.
        if os.geteuid() != 0 or (as_user and keys_user is not None):
            known = module_paths(interpreter, program.flags, as_user or {})
    except (OSError, ValueError, subprocess.SubprocessError) as failure:
        what = f"{interpreter} does not start: {getattr(failure, 'strerror', None) or type(failure).__name__}"
        return [*found, error("path.interpreter", what, str(interpreter), again)]
    for folder in dict.fromkeys(map(Path, [*known, *own])):
        if (folder / "pyproject.toml").exists():
            what = f"{script} loads the source checkout {folder}: its next change would change every login"
            found.append(error("path.packages", what, str(folder), _REINSTALL))
        else:
            found += _packages(folder, keys_user if str(folder) in own else None)
    return found


def _packages(folder: Path, keys_user: Account | None) -> list[Finding]:
    if not os.path.lexists(folder):  # other accounts must not be able to make it
        above = next(parent for parent in folder.parents if parent.exists())
        return paths.examine("path.packages", above)
    found = paths.examine("path.packages", folder)
    if keys_user is not None:
        found += paths.reach("path.reach", folder, keys_user, 5)
    return found or (paths.examine_tree("path.packages", folder) if folder.is_dir() else [])


def module_paths(interpreter: Path, flags: tuple[str, ...], as_user: dict[str, Any]) -> list[str]:
    """Returns the folders in which this interpreter looks for modules, when the command's account runs it."""
    isolated = flags if any("I" in flag for flag in flags) else ("-I", *flags)
    done = subprocess.run(  # noqa: S603 - `paths.examine` has checked it
        [str(interpreter), *isolated, "-c", "import json, sys; print(json.dumps(sys.path))"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        env=ENVIRONMENT,
        timeout=SECONDS,
        check=True,
        **as_user,
    )
    return [entry for entry in json.loads(done.stdout) if isinstance(entry, str) and entry.startswith("/")]


def added_paths(script: Path) -> list[str]:
    """Returns the folders that a launcher adds: `sys.path += [...]` (see `sshaft.launchers`)."""
    try:
        tree = ast.parse(script.read_text(errors="replace"))
    except (OSError, ValueError, SyntaxError):
        return []
    added = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "sys.path":
            try:
                added += [str(entry) for entry in ast.literal_eval(node.value)]
            except (ValueError, TypeError):
                continue
    return added
