"""OpenAPI documents of every kind, made from the models themselves (OpenAPI 3.0.3 and 2.0).

Clients read from them which fields exist (`kubectl explain`) and which parameters the server knows
(`kubectl apply` asks for `fieldValidation` and `dryRun` before it uses them).
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from upwell.api.codec import RESOURCES
from upwell.api.meta import Kind, Resource
from upwell.api.patches.content_types import APPLY, JSON_PATCH, MERGE_PATCH
from upwell.api.schemas.descriptions import DescribedSchema, describe_references

type Document = dict[str, Any]

_STATUS_FIELDS = {
    "kind": {"type": "string", "enum": ["Status"]},
    "status": {"type": "string"},
    "message": {"type": "string"},
    "reason": {"type": "string"},
    "code": {"type": "integer"},
}
_STATUS = {"type": "object", "required": list(_STATUS_FIELDS), "properties": _STATUS_FIELDS}
_FAILED = {"description": "Refused", "content": {"application/json": {"schema": _STATUS}}}
"""Every refusal is a Status (meta/v1)."""

_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_PATCH_TYPES = (APPLY, JSON_PATCH, MERGE_PATCH)


def group_path(kind: Kind) -> str:
    """Return where a kind's group and version are served: `api/v1` or `apis/GROUP/VERSION`."""
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


def collection_path(kind: Kind) -> str:
    """Return the path of a kind's objects, with `{namespace}` where they live in one."""
    namespace = "namespaces/{namespace}/" if kind.namespaced else ""
    return f"/{group_path(kind)}/{namespace}{kind.plural}"


@functools.cache
def index_v3() -> Document:
    """Return the index of `/openapi/v3`: each group's document, its hash in the address."""
    paths = {}
    for path in dict.fromkeys(group_path(resource.KIND) for resource in RESOURCES):
        text = json.dumps(document_v3(path), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


@functools.cache
def document_v3(path: str) -> Document | None:
    """Return the OpenAPI 3 document of `api/v1` or `apis/GROUP/VERSION`; None if unknown."""
    resources = [resource for resource in RESOURCES if group_path(resource.KIND) == path]
    if not resources:
        return None
    paths: Document = {}
    for resource in resources:
        paths.update(_paths(resource))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Upwell", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas(resources, "#/components/schemas/{model}")},
    }


@functools.cache
def document_v2() -> Document:
    """Return the OpenAPI 2 document: the definitions of every kind."""
    return {
        "swagger": "2.0",
        "info": {"title": "Upwell", "version": "v1"},
        "paths": {},
        "definitions": schemas(RESOURCES, "#/definitions/{model}"),
    }


def schemas(resources: Iterable[type[Resource]], template: str) -> Document:
    """Return the definitions of kinds and of all that they hold, by name.

    `template` makes the address of one: `#/definitions/{model}`.
    """
    listed = tuple(resources)
    names, schema = models_json_schema(
        [(resource, "validation") for resource in listed],
        ref_template=template,
        schema_generator=DescribedSchema,
    )
    definitions: Document = {
        name: _as_openapi(definition) for name, definition in schema["$defs"].items()
    }
    models = {name: one.get("description", "") for name, one in definitions.items()}
    for definition in definitions.values():
        describe_references(definition, models)
    for resource in listed:
        name = names[resource, "validation"]["$ref"].rsplit("/", 1)[1]
        definition = definitions[name]
        definition["x-kubernetes-group-version-kind"] = [_gvk(resource.KIND)]
        definition["properties"]["apiVersion"]["type"] = "string"
    return definitions


def _gvk(kind: Kind) -> Document:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _as_openapi(schema: Any) -> Any:
    """Translate JSON Schema: no null types, no unions; unknown fields are kept by the server."""
    if isinstance(schema, list):
        return [_as_openapi(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {
        key: _as_openapi(value)
        for key, value in schema.items()
        if key not in {"anyOf", "title", "default", "const", "additionalProperties"}
    }
    if isinstance(properties := schema.get("properties"), Mapping):
        # Properties may be named like keywords ("default", "title").
        result["properties"] = {name: _as_openapi(value) for name, value in properties.items()}
    elif isinstance(values := schema.get("additionalProperties"), Mapping):
        result["additionalProperties"] = _as_openapi(values)
    members = [member for member in schema.get("anyOf", ()) if member.get("type") != "null"]
    if len(members) == 1:
        return _as_openapi(members[0]) | result
    if {"integer", "string"} <= {member.get("type") for member in members}:
        return result | {"type": "string", "x-kubernetes-int-or-string": True}
    return result


def _paths(resource: type[Resource]) -> Document:
    kind = resource.KIND
    collection = collection_path(kind)
    place = ["namespace"] if kind.namespaced else []
    writes = [_parameter(name, "query") for name in _WRITE_PARAMETERS]
    body = {"requestBody": {"content": {"application/json": {"schema": _reference(kind)}}}}
    return {
        collection: {
            "parameters": [_parameter(name, "path") for name in place],
            "get": _operation(kind, "list", []),
            "post": _operation(kind, "post", writes) | body,
            "delete": _operation(kind, "deletecollection", writes[:1]),
        },
        f"{collection}/{{name}}": {
            "parameters": [_parameter(name, "path") for name in (*place, "name")],
            "get": _operation(kind, "get", []),
            "put": _operation(kind, "put", writes) | body,
            "patch": _operation(kind, "patch", writes)
            | {"requestBody": {"content": {name: {"schema": {}} for name in _PATCH_TYPES}}},
            "delete": _operation(kind, "delete", writes[:1]),
        },
    }


def _operation(kind: Kind, action: str, parameters: list[Document]) -> Document:
    return {
        "operationId": f"{action}{kind.group.title().replace('.', '')}{kind.kind}",
        "parameters": parameters,
        "responses": _responses(kind, action),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }


def _reference(kind: Kind) -> Document:
    return {"$ref": f"#/components/schemas/{kind.kind}"}


def _responses(kind: Kind, action: str) -> Document:
    """Return what the server answers: objects, a list of them, and a Status for all else."""
    one = _reference(kind)
    answers: dict[str, Document]
    match action:
        case "list" if kind.verbs and "get" not in kind.verbs:
            # A request of which there are none: whether it may be made is told by a Status.
            answers = {"200": {"type": "object"}}
        case "list":
            many = {"type": "array", "items": one}
            answers = {
                "200": {"type": "object", "required": ["items"], "properties": {"items": many}}
            }
        case "post":
            answers = {"201": one}
        case "put" | "get":
            answers = {"200": one}
        case "patch":
            answers = {"200": one, "201": one}
        case _:
            answers = {"200": {"type": "object"}}
    return {
        code: {"description": "OK", "content": {"application/json": {"schema": schema}}}
        for code, schema in answers.items()
    } | {"default": _FAILED}


def _parameter(name: str, place: str) -> Document:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": "boolean" if name == "force" else "string"},
    }
