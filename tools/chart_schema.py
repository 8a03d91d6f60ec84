"""Writes what identity.json, config.json and web.json may hold into charts/sshaft/values.schema.json.

    .venv/bin/python -m tools.chart_schema

The rest of the file is written by hand. Run this after a change of a configuration: a test compares the file.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sshaft.config import Config
from sshaft_identity.settings import Settings as IdentitySettings
from sshaft_web.configuration import Settings as WebSettings

CHART = Path(__file__).parents[1] / "charts" / "sshaft"
SCHEMA = CHART / "values.schema.json"

# The members that the chart sets itself, and those that make no sense in a pod or hold a secret.
_IDENTITY = {"database", "database_file", "host", "port", "metrics_host", "metrics_port", "metrics_token_file"}
_FACTOR = {name for name, field in Config.model_fields.items() if field.is_required()}
_FACTOR |= {"client_secret", "client_secret_file", "token_scope", "mfa_reject_endpoint", "mfa_enrol_endpoint"}
_WEB = {"host", "port", "certificate_file", "private_key_file", "metrics", "recording"}

_FOR_PEOPLE_OR_PYTHON = {"title", "default", "format", "writeOnly"}


def definitions() -> dict[str, Any]:
    """Returns the JSON schemas of the three configurations, without the members of the chart."""
    found: dict[str, Any] = {}
    for name, model, without in (
        ("identity", IdentitySettings, _IDENTITY), ("factor", Config, _FACTOR), ("web", WebSettings, _WEB)
    ):  # fmt: skip
        found |= _definitions(name, model, without)
    return found


def _definitions(name: str, model: type[BaseModel], without: set[str]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    parts = {f"{name}.{part}": each for part, each in schema.pop("$defs", {}).items()}
    for member in without:
        del schema["properties"][member]
    schema.pop("required", None)  # the templates say what is missing, and where it is described
    parts = {name: schema, **parts}
    used = json.dumps(parts)
    return {part: _short(each) for part, each in parts.items() if part == name or f'"#/$defs/{part}"' in used}


def _short(schema: Any) -> Any:
    """Returns the schema without what does not decide."""
    if isinstance(schema, list):
        return [_short(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "patternProperties" in schema else {}  # pydantic refuses other names
    return closed | {
        key: {name: _short(each) for name, each in value.items()} if key == "properties" else _short(value)
        for key, value in schema.items()
        if key not in _FOR_PEOPLE_OR_PYTHON
    }


def renewed(text: str) -> str:
    """Returns the text of values.schema.json with the present configurations."""
    schema = json.loads(text)
    generated = definitions()
    parts = tuple(name for name in generated if "." not in name)
    by_hand = {name: each for name, each in schema["$defs"].items() if name.partition(".")[0] not in parts}
    schema["$defs"] = {**by_hand, **generated}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(renewed(SCHEMA.read_text()))
