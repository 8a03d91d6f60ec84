"""Tests that the Helm chart knows the present version and configurations of sshaft. tests/chart renders the chart."""

import json
from typing import Any

import yaml

import sshaft
from tools.chart_schema import CHART, SCHEMA, renewed


def test_schema_has_the_present_members_of_the_configurations() -> None:
    text = SCHEMA.read_text()
    assert text == renewed(text), "run .venv/bin/python -m tools.chart_schema"


def test_schema_describes_every_value_and_no_other() -> None:
    schema = json.loads(SCHEMA.read_text())

    def compare(part: Any, values: Any, path: str) -> None:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if not isinstance(values, dict) or "properties" not in part or path.endswith(".config"):
            return
        assert part["additionalProperties"] is False, path
        assert part["properties"].keys() - {"global"} == values.keys(), path
        for name, value in values.items():
            compare(part["properties"][name], value, f"{path}.{name}")

    compare(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "")


def test_chart_has_the_version_of_sshaft() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == sshaft.__version__
