"""Collects the messages of errors from the source, and what each error means."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HEAD = """\
# Messages of errors

This page is made from the source: it has every text that a program gives to an error. `{...}` stands for a value.
Search the page for words of your message. The text says what to do next; the sentence above the table says what the
error means. [Log events](log-events.md) and what [`sshaft doctor`](doctor.md) finds are other lists.
"""
_LEFT_OUT = frozenset({"sshaft_demo"})
_FEWEST_WORDS = 3


@dataclass(frozen=True, order=True)
class Message:
    """A text in a package. `error` is the class of the error."""

    package: str
    error: str
    text: str


def collect(top: Path) -> tuple[list[Message], dict[tuple[str, str], str]]:
    """Returns the messages, and the first paragraph of each error class by package and name."""
    messages: set[Message] = set()
    meanings: dict[tuple[str, str], str] = {}
    for path in sorted(top.glob("sshaft*/**/*.py")):
        package = path.relative_to(top).parts[0]
        if package in _LEFT_OUT:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                meanings[package, node.name] = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            elif isinstance(node, ast.Call) and _name(node.func).endswith("Error"):
                messages |= {Message(package, _name(node.func), text) for text in _texts(node)}
    return sorted(messages), meanings


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(call: ast.Call) -> Iterator[str]:
    """Yields the sentences among the arguments of a call. A short word is a code, and no message."""
    for argument in (*call.args, *(each.value for each in call.keywords)):
        branches = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
        for text in map(_text, branches):
            if len(text.split()) >= _FEWEST_WORDS:
                yield text


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) if isinstance(value, ast.Constant) else "{...}" for value in node.values)
    return ""


def page(messages: Sequence[Message], meanings: Mapping[tuple[str, str], str]) -> str:
    """Returns the page in Markdown."""
    lines = [HEAD]
    package = error = ""
    for message in messages:
        if message.package != package:
            package, error = message.package, ""
            lines.append(f"\n## {package}\n")
        if message.error != error:
            error = message.error
            lines.append(f"\n### {package}: {error}\n\n{_meaning(package, error, meanings)}\n\n| message |\n|---|")
        lines.append(f"| {_cell(message.text)} |")
    return "\n".join(lines) + "\n"


def _meaning(package: str, error: str, meanings: Mapping[tuple[str, str], str]) -> str:
    everywhere = (text for (_package, name), text in meanings.items() if name == error)
    return meanings.get((package, error)) or next(everywhere, "")


def _cell(text: str) -> str:
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in " ".join(text.split()))
    return escaped.replace("\\{...\\}", "`{...}`")
