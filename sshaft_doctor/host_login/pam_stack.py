"""Reads the PAM stack of a service, and finds out by which results of its modules a person gets in.

It follows libpam: pam.conf(5), pam_handlers.c for the files, pam_dispatch.c for the order of the modules.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FOLDERS = (Path("/etc/pam.d"), Path("/usr/etc/pam.d"), Path("/usr/share/pam.d"), Path("/usr/lib/pam.d"))
"""Where libpam looks, the first one first. Distributions use one of the later ones for files of their own."""
RESULTS = (
    "success", "open_err", "symbol_err", "service_err", "system_err", "buf_err", "perm_denied", "auth_err",
    "cred_insufficient", "authinfo_unavail", "user_unknown", "maxtries", "new_authtok_reqd", "acct_expired",
    "session_err", "cred_unavail", "cred_expired", "cred_err", "no_module_data", "conv_err", "authtok_err",
    "authtok_recover_err", "authtok_lock_busy", "authtok_disable_aging", "try_again", "ignore", "abort",
    "authtok_expired", "module_unknown", "bad_item", "conv_again", "incomplete",
)  # fmt: skip
"""libpam's names. The place in this list is the number of the result."""
_MUST_FAIL = "perm_denied"
_MAX_LEVEL = 16
_KINDS = ("auth", "account", "password", "session")
_ACTIONS = ("ignore", "bad", "die", "ok", "done", "reset")
_PLAIN = {
    "required": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "bad"},
    "requisite": {"success": "ok", "new_authtok_reqd": "ok", "ignore": "ignore", "default": "die"},
    "sufficient": {"success": "done", "new_authtok_reqd": "done", "default": "ignore"},
    "optional": {"success": "ok", "new_authtok_reqd": "ok", "default": "ignore"},
}
_BROKEN = {"default": "bad"}


@dataclass(frozen=True)
class Line:
    """One module of a stack. `module` is empty for a line that libpam cannot use; such a line always fails."""

    path: Path
    number: int
    kind: str
    control: Mapping[str, str]
    module: str = ""
    arguments: tuple[str, ...] = ()
    level: int = 0
    """How many substacks the line is in."""
    is_marker: bool = False
    """Whether the line only says that a substack begins."""

    @property
    def place(self) -> str:
        return f"{self.path}:{self.number}"

    @property
    def name(self) -> str:
        """Returns the file name of the module."""
        return self.module.rpartition("/")[2]

    def action(self, result: str) -> str:
        return self.control.get(result, self.control.get("default", "bad"))

    def argument(self, name: str) -> str | None:
        """Returns the value of `NAME=VALUE`."""
        found = [word.partition("=")[2] for word in self.arguments if word.startswith(f"{name}=")]
        return found[-1] if found else None


@dataclass(frozen=True)
class Stack:
    """All lines of a service in their order, includes followed, and the files that were read."""

    lines: tuple[Line, ...]
    files: tuple[Path, ...]

    def of(self, kind: str) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.kind == kind)


def read(service: str, folders: Sequence[Path] = FOLDERS) -> Stack:
    """Returns the stack of a service. Raises `OSError` if a file that is there cannot be read.

    Where the service has no line of a kind, libpam takes those of the service `other`.
    """
    files: list[Path] = []
    own = list(_read(service, None, 0, 0, folders, files) or ())
    others = list(_read("other", None, 0, 0, folders, files) or ())
    kinds = {line.kind for line in own}
    return Stack((*own, *(line for line in others if line.kind not in kinds)), tuple(dict.fromkeys(files)))


def _read(
    name: str, kind: str | None, depth: int, level: int, folders: Sequence[Path], files: list[Path]
) -> Iterator[Line] | None:
    """Returns the lines of a file, or None without the file. `kind` leaves the others out."""
    path = next((found for folder in folders if (found := folder / name).is_file()), None)
    if path is None or depth >= _MAX_LEVEL:
        return None
    files.append(path)
    return _lines(path, path.read_bytes().decode(errors="replace"), kind, depth, level, folders, files)


def _lines(
    path: Path, text: str, kind: str | None, depth: int, level: int, folders: Sequence[Path], files: list[Path]
) -> Iterator[Line]:
    for number, words in _assembled(text):
        if words[0].lower() == "@include":
            name = words[1] if len(words) > 1 else ""
            included = _read(name, kind, depth + 1, level, folders, files) if name else None
            if included is None:
                yield Line(path, number, kind or "auth", _BROKEN, level=level)
            else:
                yield from included
            continue
        own = words[0].removeprefix("-").lower()
        control = words[1].lower() if len(words) > 1 else ""
        line = Line(path, number, own if own in _KINDS else kind or "auth", _BROKEN, level=level)
        if kind is not None and line.kind != kind:
            continue
        if control in ("include", "substack"):
            is_substack = control == "substack"
            if is_substack:
                yield replace(line, is_marker=True)
            name = words[2] if len(words) > 2 else ""
            included = _read(name, line.kind, depth + 1, level + is_substack, folders, files) if name else None
            if included is None:
                yield line
            else:
                yield from included
        elif own in _KINDS and len(words) > 2:
            yield replace(line, control=_control(control), module=words[2], arguments=tuple(words[3:]))
        else:
            yield line


def _assembled(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the words of each line with its number. A backslash at the end goes on with the next line."""
    words, first = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].strip(" \t")
        first = first or number
        if line.endswith("\\"):
            words += line[:-1] + " "
            continue
        found = re.findall(r"\[(?:\\\]|[^\]])*\]?|[^ \t]+", words + line)
        if found:
            yield first, found
        words, first = "", 0


def _control(text: str) -> Mapping[str, str]:
    """Returns the action for each result. A line that libpam does not understand always fails."""
    if text in _PLAIN:
        return _PLAIN[text]
    found = re.fullmatch(r"\[(.*)\]", text)
    pairs = re.findall(r"([^\s=]+)\s*=\s*([^\s=]+)", found[1]) if found else []
    actions = dict(pairs)
    is_known = all(name in (*RESULTS, "default") and (action in _ACTIONS or action.isdigit()) for name, action in pairs)
    return actions if actions and is_known else _BROKEN


# --- what the modules decide together


@dataclass(frozen=True)
class _State:
    """Where libpam is: the next line, the level of the last one, its impression, and that of each open substack."""

    at: int = 0
    level: int = 0
    impression: str = "none"
    status: str = _MUST_FAIL
    saved: tuple[tuple[str, str], ...] = (("none", _MUST_FAIL),)


Choose = Callable[[Line], Collection[str]]
"""Returns the results that a module may have. With none of them, the search does not go beyond it."""
Passed = tuple[tuple[Line, str], ...]
"""Lines with their results, in order."""


def way_in(
    lines: Sequence[Line], choose: Choose, opens: Collection[str] = ("success",)
) -> Passed | None:  # fmt: skip
    """Returns the modules that run, and results of them that let the person in. None if nothing does.

    Of several ways it returns the one that takes the earlier results of `choose`.
    """
    seen: set[_State] = set()

    def search(state: _State, passed: Passed) -> Passed | None:
        if state.at >= len(lines):
            is_in = state.impression == "positive" and state.status in opens
            return passed if is_in else None
        if state in seen:
            return None
        seen.add(state)
        line = lines[state.at]
        if line.is_marker:
            return search(_entered(state, line), passed)
        for result in choose(line) if line.module else (_MUST_FAIL,):
            found = search(_after(lines, state, result), (*passed, (line, result)))
            if found is not None:
                return found
        return None

    return search(_State(), ())


def status_of(lines: Sequence[Line], result_of: Callable[[Line], str]) -> str:
    """Returns the result of the whole stack, if each module has the result that is given."""
    state = _State()
    while state.at < len(lines):
        line = lines[state.at]
        if line.is_marker:
            state = _entered(state, line)
        else:
            state = _after(lines, state, result_of(line) if line.module else _MUST_FAIL)
    is_broken = state.status == "success" and state.impression != "positive"
    return _MUST_FAIL if is_broken else state.status


def _entered(state: _State, line: Line) -> _State:
    return replace(state, at=state.at + 1, level=line.level, saved=_saved(state, line))


def _saved(state: _State, line: Line) -> tuple[tuple[str, str], ...]:
    """Returns the impressions to which `reset` goes back, by level."""
    if state.level < line.level:
        return (*state.saved[: line.level], (state.impression, state.status))
    return state.saved


def _after(lines: Sequence[Line], state: _State, result: str) -> _State:
    line = lines[state.at]
    saved, action = _saved(state, line), line.action(result)
    impression, status, at = state.impression, state.status, state.at
    if action == "reset":
        impression, status = saved[line.level]
    elif action in ("ok", "done"):
        if impression == "none" or (impression == "positive" and status == "success"):
            impression, status = "positive", result
    elif action in ("bad", "die") and impression != "negative":
        impression, status = "negative", _MUST_FAIL if result == "ignore" else result
    if action == "die" or (action == "done" and impression == "positive"):
        while at + 1 < len(lines) and lines[at + 1].level >= line.level:
            at += 1
    elif action.isdigit():
        at, is_whole = _jump(lines, at, int(action))
        if not is_whole:
            impression, status = "negative", _MUST_FAIL
    return _State(at + 1, line.level, impression, status, saved)


def _jump(lines: Sequence[Line], at: int, count: int) -> tuple[int, bool]:
    """Returns the last line that a jump leaves out, and whether there were so many. A substack counts as one."""
    level = lines[at].level
    while count > 0 and at + 1 < len(lines) and lines[at + 1].level >= level:
        at += 1
        while at + 1 < len(lines) and lines[at + 1].level > level:
            at += 1
        count -= 1
    return at, count == 0
