"""Puts small faults into one module, one at a time, and reports the faults that no test notices.

    ./dev mutate sshaft_identity.challenges.limits              every fault of the module
    ./dev mutate sshaft_identity.challenges.limits --lines 60-80
    ./dev mutate sshaft_agent.ssh_factor.tickets tests/unit/agent

A first run traces which test runs which line. Then each fault is compiled into a fresh process, which runs the tests
of its line until one fails. Faults that change nothing are listed with a reason in `tools/survivors.txt`; they count
as noticed. Exit status: 0 if 95 % are noticed, 1 if not, 64 for wrong arguments.
"""

import argparse
import ast
import copy
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

TOP = Path(__file__).resolve().parent.parent
SURVIVORS = TOP / "tools" / "survivors.txt"
GOAL = 0.95
_MAX_TESTS = 400
_SECONDS = 120
_SELECTION = (
    "-m",
    "not root and not image and not debian_host and not e2e and not web and not providers",
    "-k",
    "not postgresql",
)
_QUIET = (
    "-q", "--no-header", "--assert=plain", "-W", "ignore",
    "-p", "no:cacheprovider", "-p", "no:rerunfailures", "-p", "no:xdist",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One changed place of a module: `text` describes the change, `tree` is the whole changed module."""

    line: int
    text: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.line}: {self.text}"


# --- faults

_SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,), ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,), ast.Mult: (ast.Add,), ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.Mult,),
}  # fmt: skip


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may stand in the place of a node."""
    match node:
        case ast.Compare(ops=[operator]):
            for other in _SWAPPED.get(type(operator), ()):
                yield ast.Compare(node.left, [other()], node.comparators)  # type: ignore[list-item]
        case ast.BoolOp(op, values):
            yield ast.BoolOp(_SWAPPED[type(op)][0](), values)  # type: ignore[arg-type]
            yield from (ast.BoolOp(op, values[:n] + values[n + 1 :]) for n in range(len(values)) if len(values) > 2)
            yield from values if len(values) == 2 else ()
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield from (body, orelse)
            del test
        case ast.BinOp(_, ast.BitOr(), ast.Constant(None)):  # a type
            return
        case ast.BinOp(left, ast.BitAnd() | ast.BitOr(), right):
            yield from (left, right)
        case ast.BinOp(left, op, right) if type(op) in _SWAPPED and not isinstance(left, ast.Constant | ast.JoinedStr):
            yield ast.BinOp(left, _SWAPPED[type(op)][0](), right)  # type: ignore[arg-type]
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(str() as value) if value:
            yield ast.Constant(f"{value}X")
        case ast.Call(ast.Attribute(attr="where" | "filter" | "all"), [_, *_] as given):
            for number in range(len(given)):
                yield ast.Call(node.func, given[:number] + given[number + 1 :], node.keywords)
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call() | ast.Await() | ast.YieldFrom()) | ast.Raise() | ast.AugAssign():
            yield ast.Pass()


def _is_left_out(node: ast.AST) -> bool:
    """Whether the node holds no behaviour: imports, docstrings, messages and the calls of the log."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(ast.Constant()):
            return True
        case ast.Call(ast.Attribute(attr="debug" | "info" | "warning" | "error" | "bind")):
            return True
        case ast.Call(ast.Name(id="Field" | "ConfigDict")):
            return True
        case ast.ClassDef(bases=[ast.Name(id="StrEnum")]):  # another text for a value is another name, no fault
            return True
        case _:
            return False


def faults(source: str) -> Iterator[Fault]:
    """Yields every fault of a module."""
    tree = ast.parse(source)

    def visit(node: ast.AST, replace: Callable[[ast.AST], ast.Module]) -> Iterator[Fault]:
        if _is_left_out(node):
            return
        if line := getattr(node, "lineno", 0):
            for changed in _changes(node):
                whole = replace(ast.copy_location(copy.copy(changed), node))
                yield Fault(line, f"{_short(node)}  ->  {_short(changed)}", whole)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            if isinstance(value, ast.AST):
                yield from visit(value, lambda new, name=name: replace(_with(node, name, new)))  # type: ignore[misc]
            elif isinstance(value, list):
                for number, each in enumerate(value):
                    if isinstance(each, ast.AST):
                        yield from visit(
                            each,
                            lambda new, name=name, value=value, number=number: replace(  # type: ignore[misc]
                                _with(node, name, [*value[:number], new, *value[number + 1 :]])
                            ),
                        )

    yield from visit(tree, lambda new: new)  # type: ignore[arg-type,return-value]


def _with(node: ast.AST, name: str, value: Any) -> ast.AST:
    changed = copy.copy(node)
    setattr(changed, name, value)
    return changed


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 90 else f"{text[:87]}..."


# --- which test runs which line


class Tracer:
    """A pytest plugin. `lines` has the tests of each line of the file, with their seconds."""

    def __init__(self, path: str) -> None:
        self.lines: dict[int, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self._path = path
        self._test = ""

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != self._path:
            return None
        if event in ("line", "call"):
            self.lines.setdefault(frame.f_lineno, set()).add(self._test)
        return self._trace

    def pytest_runtest_protocol(self, item: Any) -> None:
        self._test = item.nodeid
        self.seconds[item.nodeid] = -time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.settrace(None)
        self.seconds[nodeid] += time.monotonic()


def trace(module: str, path: str, tests: list[str]) -> dict[str, Any]:
    """Returns the tests of each line, and the seconds of each test. Raises `SystemExit` if a test fails."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as result:
        command = [sys.executable, __file__, "--trace", path, result.name, module, *tests]
        if subprocess.run(command, cwd=TOP, check=False, stdout=subprocess.DEVNULL).returncode != 0:
            sys.exit("mutate: the tests fail without a fault: run them with ./dev test")
        traced: dict[str, Any] = json.load(result)
        return traced


def _run_traced(path: str, result: str, tests: list[str]) -> int:
    import pytest  # noqa: PLC0415 - the parent of the runs needs no pytest

    tracer = Tracer(path)
    status = pytest.main([*_QUIET, *_SELECTION, "-x", *tests], plugins=[tracer])
    lines = {str(line): sorted(found) for line, found in tracer.lines.items()}
    loaded = [name for name in sys.modules if not name.startswith(("tests.", "test_"))]
    Path(result).write_text(json.dumps({"lines": lines, "seconds": tracer.seconds, "loaded": loaded}))
    return int(status)


# --- the runs


class _Blocker:
    """Refuses to import one module, so that nothing that depends on it is loaded."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        if name == self._module:
            raise ImportError(name)


def load_all_but(module: str, names: list[str]) -> None:
    """Imports what does not depend on the module, once, before the processes that run the tests are forked."""
    sys.path[:0] = [str(TOP), str(TOP / "tests")]
    blocker = _Blocker(module)
    sys.meta_path.insert(0, blocker)  # type: ignore[arg-type]
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
    sys.meta_path.remove(blocker)  # type: ignore[arg-type]


class _Finder:
    """Gives the changed code for one module."""

    def __init__(self, module: str, path: str, code: CodeType) -> None:
        self._module, self._path, self._code = module, path, code

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        if name != self._module:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)  # type: ignore[arg-type]

    def create_module(self, _spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self._code, module.__dict__)


def is_noticed(fault: Fault, module: str, path: str, tests: list[str], usual: float) -> bool:
    """Whether one of the tests fails, or never ends, with this fault. Without a fault they end in `usual` seconds."""
    if not tests:  # without a name, pytest would run every test of the project
        return False
    code = compile(ast.fix_missing_locations(fault.tree), path, "exec")
    child = os.fork()
    if child == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        status = 1
        try:
            import pytest  # noqa: PLC0415

            sys.meta_path.insert(0, _Finder(module, path, code))  # type: ignore[arg-type]
            status = int(pytest.main([*_QUIET, "-x", *tests]))
        finally:
            os._exit(status)
    deadline = time.monotonic() + _SECONDS + usual
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _constant_of(source: str, line: int) -> str:
    """Returns the name that the statement of the module at this line gives a value, or an empty string."""
    for statement in ast.parse(source).body:
        if statement.lineno <= line <= (statement.end_lineno or 0):
            match statement:
                case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
                    return name
    return ""


def _tests_of(fault: Fault, traced: dict[str, Any], source: str) -> list[str]:
    """Returns the tests of the line, then other tests of the module, the fastest first, at most `_MAX_TESTS`.

    A statement of the module itself, and of a function with a cache, is traced in few of the tests that depend on it.
    Tests of the lines that name a constant of the module are tests of the constant.
    """
    lines, seconds = traced["lines"], traced["seconds"]
    uses = rf"\b{_constant_of(source, fault.line) or '(?!)'}\b"
    numbers = [
        number for number, line in enumerate(source.splitlines(), 1) if number == fault.line or re.search(uses, line)
    ]
    of_line = {test for number in numbers for test in lines.get(str(number), ())}
    of_module = {each for found in lines.values() for each in found if each in seconds}
    return sorted(of_module, key=lambda each: (each not in of_line, float(seconds[each])))[:_MAX_TESTS]


def _known_survivors(module: str) -> dict[str, str]:
    """Returns the reasons of the faults of a module that may survive. A line is `module | fault | reason`."""
    lines = SURVIVORS.read_text().splitlines() if SURVIVORS.exists() else []
    parts = [[part.strip() for part in line.split(" | ")] for line in lines if line and not line.startswith("#")]
    return {" | ".join(part[1:-1]): part[-1] for part in parts if len(part) >= 3 and part[0] == module}


def main() -> int:
    if sys.argv[1:2] == ["--trace"]:
        return _run_traced(sys.argv[2], sys.argv[3], sys.argv[5:])
    parser = argparse.ArgumentParser(
        prog="./dev mutate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("module", help="such as sshaft_identity.challenges.limits")
    parser.add_argument("tests", nargs="*", default=["tests/unit", "tests/store"])
    parser.add_argument("--lines", default="1-100000", help="such as 60-80")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    path = TOP / f"{given.module.replace('.', '/')}.py"
    if not path.exists():
        parser.error(f"there is no module {given.module}")
    first, last = (int(each) for each in given.lines.split("-"))
    source = path.read_text()
    found = [fault for fault in faults(source) if first <= fault.line <= last]
    print(f"{len(found)} faults; tracing the tests of {given.module} ...", flush=True)
    traced = trace(given.module, str(path), given.tests)
    load_all_but(given.module, traced["loaded"])
    known, survived, started = _known_survivors(given.module), [], time.monotonic()

    def judge(fault: Fault) -> tuple[Fault, bool]:
        tests = _tests_of(fault, traced, source)
        usual = sum(traced["seconds"][each] for each in tests)
        return fault, is_noticed(fault, given.module, str(path), tests, usual)

    with ThreadPoolExecutor(given.jobs) as pool:
        for number, (fault, noticed) in enumerate(pool.map(judge, found), 1):
            if not noticed and fault.text not in known:
                survived.append(fault)
                print(f"survived  {path.relative_to(TOP)}:{fault}", flush=True)
            if number % 25 == 0:
                print(f"          {number} of {len(found)}, {time.monotonic() - started:.0f} s", flush=True)
    share = 1 - len(survived) / max(1, len(found))
    print(f"{given.module}: {len(found)} faults, {len(survived)} survived, {share:.1%} noticed")
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
