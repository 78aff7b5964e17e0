"""Values that Helm refuses before it installs anything, by the chart's schema."""

import json
import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from upwell.cli.install.files import helm_files

FILES = helm_files()
SCHEMA = json.loads(FILES["values.schema.json"])
DEFAULTS = yaml.safe_load(FILES["values.yaml"])
DIGEST = "sha256:" + "a" * 64


def faults(values: dict[str, Any]) -> list[str]:
    """Return the paths of values that are refused, merged into the defaults as Helm does."""
    features = {**DEFAULTS["features"], **values.get("features", {})}
    merged = {**DEFAULTS, **values, "features": features}
    return sorted(one.json_path for one in Draft7Validator(SCHEMA).iter_errors(merged))


def test_the_schema_is_one_that_every_helm_reads() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert not re.search(r"\(\?[=!<]", FILES["values.schema.json"]), "Go has no look-around"


def test_it_knows_every_value_that_the_chart_has() -> None:
    assert set(SCHEMA["properties"]) == {*DEFAULTS, "global"}
    assert set(SCHEMA["properties"]["features"]["properties"]) == set(DEFAULTS["features"])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"global": {"imagePullSecrets": []}},
        {"image": f"registry.example:5000/upwell@{DIGEST}", "replicas": 3},
        {"namespaces": ["shop", "dev-2"], "features": {"builds": False}},
        {"registryAddress": "registry.example:5000"},
        {"externalRegistry": "registry.example:5000/team/up-well"},
        {"settings": "# ours\n\n  [outbound]\nallow = [\n  [1],\n]\n"},
        {"settings": '[embedded-registry.bucket]\nname = "b"\n[[kubernetes.clusters]]\n'},
        {"settings": "# nothing but a comment"},
        {"data": {"name": "data", "persistentVolumeClaim": {"claimName": "upwell"}}},
    ],
)
def test_values_with_a_meaning_are_taken(values: dict[str, Any]) -> None:
    assert faults(values) == []


@pytest.mark.parametrize(
    ("values", "at"),
    [
        ({"features": {"buildz": False}}, "$.features"),
        ({"features": {"builds": "no"}}, "$.features.builds"),
        ({"replica": 2}, "$"),
        ({"replicas": "two"}, "$.replicas"),
        ({"replicas": 0}, "$.replicas"),
        ({"image": 5}, "$.image"),
        ({"image": ""}, "$.image"),
        ({"image": 'x"\n  evil: true'}, "$.image"),
        ({"namespaces": "shop"}, "$.namespaces"),
        ({"namespaces": ["Shop"]}, "$.namespaces[0]"),
        ({"registryAddress": "https://r.example"}, "$.registryAddress"),
        ({"externalRegistry": 'r.example"\n[x]'}, "$.externalRegistry"),
        ({"registryAddress": "a.example", "externalRegistry": "b.example"}, "$.registryAddress"),
        ({"settings": {"outbound": {}}}, "$.settings"),
        ({"settings": 'address = "other"\n'}, "$.settings"),
        ({"settings": "[outbound]\nallow = []\n [ kubernetes ]\n"}, "$.settings"),
        ({"settings": "[kubernetes.builds]\n"}, "$.settings"),
        ({"settings": "[embedded-registry]\n"}, "$.settings"),
        ({"data": {"name": "other", "emptyDir": {}}}, "$.data.name"),
    ],
)
def test_values_that_the_chart_cannot_mean_are_refused(values: dict[str, Any], at: str) -> None:
    assert set(faults(values)) == {at}
