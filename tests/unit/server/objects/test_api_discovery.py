from typing import Any

import pytest
from tests.support.server.api_server import Api

from upwell.api.codec import RESOURCES
from upwell.api.schemas.openapi_protobuf import document_v2_protobuf

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def test_the_version_is_one_that_kubernetes_clients_parse(api: Api) -> None:
    version = (await api.get("/version")).json
    assert version["gitVersion"] == "v1.32.0+upwell.1.2.3"


async def test_plain_and_aggregated_discovery_say_the_same(api: Api) -> None:
    plain: dict[tuple[str, str], Any] = {}
    groups = (await api.get("/apis")).json["groups"]
    versions = [version["groupVersion"] for group in groups for version in group["versions"]]
    for group_version in ("v1", *versions):
        path = "/api/v1" if group_version == "v1" else f"/apis/{group_version}"
        for resource in (await api.get(path)).json["resources"]:
            plain[group_version, resource["name"]] = resource["verbs"]

    aggregated: dict[tuple[str, str], Any] = {}
    for path in ("/api", "/apis"):
        answer = await api.get(path, Accept=f"{AGGREGATED},application/json")
        assert answer.headers["Content-Type"] == AGGREGATED
        for group in answer.json["items"]:
            name = group["metadata"]["name"]
            for version in group["versions"]:
                where = f"{name}/{version['version']}" if name else version["version"]
                for resource in version["resources"]:
                    plural = resource["resource"]
                    aggregated[where, plural] = resource["verbs"]
                    for part in resource["subresources"]:
                        aggregated[where, f"{plural}/{part['subresource']}"] = part["verbs"]
    assert aggregated == plain
    assert {key[1] for key in plain if "/" not in key[1]} == {r.KIND.plural for r in RESOURCES}
    assert plain["build.openshift.io/v1", "builds/log"] == ["get"]
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    assert plain["image.openshift.io/v1", "imagestreamtags"] == verbs


async def test_an_old_client_gets_plain_discovery(api: Api) -> None:
    assert (await api.get("/api", Accept="application/json")).json["kind"] == "APIVersions"
    preferred = await api.get("/apis", Accept=f"application/json,{AGGREGATED}")
    assert preferred.json["kind"] == "APIGroupList"
    group = (await api.get("/apis/apps")).json
    assert group["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}


async def test_unknown_groups_are_not_found(api: Api) -> None:
    assert (await api.get("/apis/nope")).status == 404
    assert (await api.get("/apis/apps/v9")).status == 404
    assert (await api.get("/openapi/v3/apis/nope/v1")).status == 404
    assert (await api.get("/openapi/v2", Accept="application/xml")).status == 406


def test_kubectl_gets_the_openapi_document_in_protobuf() -> None:
    """Its fields are those of gnostic's OpenAPIv2.proto; kubectl itself reads it elsewhere."""
    document = document_v2_protobuf()
    assert document.startswith(b"\n\x032.0\x12")
    assert b'"kind": "BuildConfig"' in document


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {found for item in value for found in references(item)}
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*(references(item) for item in value.values()))


async def test_every_openapi_document_is_whole(api: Api) -> None:
    index = (await api.get("/openapi/v3")).json["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/upwell.dev/v1alpha1"} <= index.keys()
    kinds = set()
    for entry in index.values():
        answer = await api.get(entry["serverRelativeURL"])
        assert '"anyOf"' not in answer.text
        document = answer.json
        schemas = document["components"]["schemas"]
        known = {f"#/components/schemas/{name}" for name in schemas}
        assert references(document) <= known
        for schema in schemas.values():
            kinds |= {gvk["kind"] for gvk in schema.get("x-kubernetes-group-version-kind", ())}
        for path in document["paths"].values():
            if patch := path.get("patch"):
                parameters = {parameter["name"] for parameter in patch["parameters"]}
                assert {"dryRun", "fieldValidation"} <= parameters
    assert kinds == {resource.KIND.kind for resource in RESOURCES}


async def test_openapi_shows_types_as_kubernetes_writes_them(api: Api) -> None:
    definitions = (await api.get("/openapi/v2")).json["definitions"]

    def shape(model: str, field: str) -> dict[str, Any]:
        schema = definitions[model]["properties"][field]
        return {name: value for name, value in schema.items() if name != "description"}

    assert shape("RollingUpdate", "maxSurge") == {
        "type": "string",
        "x-kubernetes-int-or-string": True,
    }
    labels = shape("ObjectMeta", "labels")
    assert labels == {"type": "object", "additionalProperties": {"type": "string"}}
    assert shape("ObjectMeta", "generation") == {"type": "integer"}


@pytest.mark.parametrize(
    ("group", "name", "field"),
    [
        ("route.openshift.io", "RouteTls", "destinationCACertificate"),
        ("apps.openshift.io", "ImageTriggerParams", "automatic"),
        ("apps.openshift.io", "DeploymentTrigger", "type"),
    ],
)
async def test_openapi_describes_what_people_ask_to_have_explained(
    api: Api, group: str, name: str, field: str
) -> None:
    schemas = (await api.get(f"/openapi/v3/apis/{group}/v1")).json["components"]["schemas"]
    [found] = [schema for key, schema in schemas.items() if key.rpartition(".")[2] == name]
    assert found["properties"][field]["description"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_health_is_answered(api: Api, path: str) -> None:
    assert (await api.get(path)).text == "ok"


async def test_jobs_are_in_the_category_all(api: Api) -> None:
    resources = (await api.get("/apis/batch/v1")).json["resources"]
    assert {"cronjobs", "jobs"} <= {
        one["name"] for one in resources if "all" in one.get("categories", ())
    }
