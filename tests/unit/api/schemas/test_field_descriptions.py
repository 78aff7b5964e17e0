"""Descriptions of fields in the OpenAPI documents, as `oc explain` shows them."""

import json
import tomllib
from importlib.resources import files
from typing import Any

import pytest

from upwell.api.codec import RESOURCES
from upwell.api.meta import Resource
from upwell.api.schemas import openapi

MOST_BYTES = 300_000
"""Of the document of all kinds: clients fetch it, and the server keeps it."""
OPENSHIFTS = {
    *("BuildConfig", "Build", "DeploymentConfig", "ImageStream", "ImageStreamTag", "Route"),
    "Template",
}
BESIDE = {"Condition", "ObjectMeta", "ObjectReference", "OwnerReference", "LocalReference"}


def definitions() -> dict[str, Any]:
    found: dict[str, Any] = openapi.document_v2()["definitions"]
    return found


def undescribed(kind: type[Resource]) -> list[str]:
    """Return the fields of a kind without a description, but for those of Kubernetes' models."""
    known = definitions()
    foreign = {resource.KIND.kind for resource in RESOURCES if resource.KIND.group in {"", "apps"}}
    found: list[str] = []

    def walk(name: str, path: str, seen: frozenset[str]) -> None:
        for field, schema in (known[name].get("properties") or {}).items():
            if not schema.get("description"):
                found.append(f"{path}.{field}")
            target = str((schema.get("items") or schema).get("$ref", "")).rpartition("/")[2]
            if target and target not in {*seen, *foreign, *BESIDE, "PodTemplate", "EnvVar"}:
                walk(target, f"{path}.{field}", seen | {target})

    walk(kind.KIND.kind, kind.KIND.singular, frozenset({kind.KIND.kind}))
    return found


@pytest.mark.parametrize(
    "kind",
    [one for one in RESOURCES if one.KIND.group == "upwell.dev" or one.KIND.kind in OPENSHIFTS],
    ids=lambda kind: kind.KIND.kind,
)
def test_every_field_that_people_write_has_a_description(kind: type[Resource]) -> None:
    assert [path for path in undescribed(kind) if ".status." not in path] == []


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [
        ("Stage", "soakSeconds", "Time that a Release must serve well"),  # below the field
        ("DeploymentTrigger", "type", "a changed template is rolled out"),  # in its declaration
        ("SourceBuildStrategy", "incremental", "save-artifacts"),  # in the table
        ("BuildSpec", "runPolicy", ""),
        ("BuildConfigSpec", "contextDir", ""),
        ("Pipeline", "spec", "What is wanted"),
    ],
)
def test_a_description_is_that_of_the_field(model: str, field: str, words: str) -> None:
    schema = definitions()[model]["properties"].get(field, {})
    assert words in schema.get("description", "")
    assert bool(schema) is bool(words)


def test_a_field_that_holds_a_model_says_what_that_is() -> None:
    labels = definitions()["BuildOutput"]["properties"]["imageLabels"]
    assert labels["items"] == {"$ref": "#/definitions/ImageLabel"}
    assert labels["description"]
    v3 = openapi.document_v3("apis/route.openshift.io/v1")
    assert v3 is not None
    assert v3["components"]["schemas"]["RouteSpec"]["properties"]["tls"]["description"]


def test_every_field_of_pods_and_claims_is_described() -> None:
    known = definitions()
    models = ("PodSpec", "Container", "PodStatus", "ContainerStatus", "PersistentVolumeClaimSpec")
    missing = [
        f"{model}.{name}"
        for model in models
        for name, field in known[model]["properties"].items()
        if not field.get("description")
    ]
    assert missing == []


def test_the_table_describes_fields_that_there_are() -> None:
    table = tomllib.loads(files("upwell.api.schemas").joinpath("descriptions.toml").read_text())
    known = {name: one.get("properties") or {} for name, one in definitions().items()}
    bases = {"WorkloadSpec", "CommonSpec"}
    assert set(table) - {"*"} - set(known) <= bases
    for model, texts in table.items():
        if model in known:
            assert set(texts) <= set(known[model]), model


def test_the_documents_stay_small() -> None:
    assert len(json.dumps(openapi.document_v2())) < MOST_BYTES
