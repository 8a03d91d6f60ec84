"""Finds the members of a configuration file in the class that reads it: names, types, defaults and descriptions."""

import dataclasses
import inspect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from tools.manual.documented import texts_below

Schema = dict[str, Any]
_PLURALS = {"string": "strings", "path": "paths", "integer": "integers", "object": "objects"}
_FORMATS = {"path": "path", "duration": "time such as `15m`, `12h` or `30d`"}


@dataclass(frozen=True)
class Member:
    name: str
    kind: str
    default: str
    """`required`, the default value, or an empty text for none."""
    description: str


@dataclass(frozen=True)
class Group:
    """The members of one object. `path` is empty for the file itself, else such as `host_login.allow`."""

    path: str
    description: str
    members: tuple[Member, ...]


def groups(model: type, path: str = "") -> list[Group]:
    """Returns the members of the file, and then those of each object in it. A kind of object appears once."""
    return list(_Reader(model).read(path))


class _Reader:
    def __init__(self, model: type) -> None:
        self._schema = TypeAdapter(model).json_schema()
        self._classes = {each.__name__: each for each in _classes(model)}
        self._model = model
        self._seen: set[str] = set()

    def read(self, path: str) -> Iterator[Group]:
        waiting: deque[tuple[Schema, type, str]] = deque([(self._schema, self._model, path)])
        while waiting:
            schema, model, path = waiting.popleft()
            yield Group(path, inspect.getdoc(model) or "", tuple(self._members(schema, model)))
            for name, each in schema["properties"].items():
                below = f"{path}.{name}" if path else name
                for object_name, more in self._objects(each):
                    if object_name not in self._seen:
                        self._seen.add(object_name)
                        waiting.append((self._schema["$defs"][object_name], self._classes[object_name], below + more))

    def _members(self, schema: Schema, model: type) -> Iterator[Member]:
        texts, needed = texts_below(model), schema.get("required", ())
        for name, each in schema["properties"].items():
            text = each.get("description") or texts.get(name, "")
            yield Member(name, self._kind(each), _default(each, required=name in needed), text)

    def _objects(self, schema: Schema, more: str = "") -> Iterator[tuple[str, str]]:
        """Yields the kinds of objects that a member holds, each with `[]` for a list of them, or `.NAME` for a map."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if "properties" in self._schema["$defs"][name]:
                yield name, more
        for each in schema.get("anyOf", ()):
            yield from self._objects(each, more)
        if "items" in schema:
            yield from self._objects(schema["items"], "[]")
        for each in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
            if isinstance(each, dict):
                yield from self._objects(each, ".NAME")

    def _kind(self, schema: Schema) -> str:
        """Returns the type of a value in words."""
        if "$ref" in schema:
            return self._kind(self._schema["$defs"][schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            kinds = [self._kind(each) for each in schema["anyOf"] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
        if "enum" in schema or "const" in schema:
            *values, last = (f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
            return f"{', '.join(values)} or {last}" if values else last
        if schema.get("type") == "array":
            kind = self._kind(schema["items"])
            return f"list of {_PLURALS.get(kind, kind)}"
        return _simple_kind(schema)


def _simple_kind(schema: Schema) -> str:
    match schema.get("type"):
        case "boolean":
            return "`true` or `false`"
        case "integer" | "number" as kind:
            return f"{kind}{_bounds(schema)}"
        case "string":
            return _FORMATS.get(schema.get("format", ""), "string")
    return "object"


def _bounds(schema: Schema) -> str:
    low, above, high = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    start = f" from {low}" if low is not None else f" above {above}" if above is not None else ""
    return start + (f" to {high}" if high is not None and start.startswith(" from") else
                    f", at most {high}" if high is not None else "")  # fmt: skip


def _default(schema: Schema, *, required: bool) -> str:
    if required:
        return "required"
    value = schema.get("default")
    if value is None or value in ("", []) or isinstance(value, dict):
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if schema.get("format") == "duration":
        value = value.removeprefix("P").lower()  # whole days
    return " ".join(f"`{each}`" for each in (value if isinstance(value, list) else [value]))


def _classes(model: type) -> Iterator[type]:
    """Yields the class, and those of its members, their members and so on."""
    seen: set[type] = set()
    waiting: list[Any] = [model]
    while waiting:
        found = waiting.pop()
        if isinstance(found, type) and found not in seen and (
            issubclass(found, BaseModel) or dataclasses.is_dataclass(found)
        ):  # fmt: skip
            seen.add(found)
            yield found
            if issubclass(found, BaseModel):
                waiting += [each.annotation for each in found.model_fields.values()]
        waiting += get_args(found)
