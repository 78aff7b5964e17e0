"""Requests of schemathesis for each operation of the API, and the judgement of its answers.

Loads schemathesis, which takes a second.
"""

from collections.abc import Callable, Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from upwell.api.schemas import openapi

SECONDS = 10
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FEW = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def operations() -> Iterator[Any]:
    """Yield schemathesis' operations, each with its `label`."""
    found: Any
    for found in schemathesis.openapi.from_dict(_document()).get_all_operations():
        yield found.ok()


def judge(operation: Any, url: str, prepare: Callable[[Any], None], requests: int) -> None:
    """Send so many requests of an operation, each prepared, and judge the answers."""

    @settings(FEW, max_examples=requests)
    @given(case=operation.as_strategy())
    def answers(case: schemathesis.Case[Any]) -> None:
        prepare(case)
        answer = case.call(base_url=url, timeout=SECONDS)
        case.validate_response(answer, checks=CHECKS)

    answers()


def _document() -> dict[str, Any]:
    """Return one document with the paths of every group."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for path in openapi.index_v3()["paths"]:
        group = openapi.document_v3(path)
        assert group is not None
        paths |= group["paths"]
        for name, schema in group["components"]["schemas"].items():
            assert schemas.setdefault(name, schema) == schema
    document: dict[str, Any] = _loose(
        {
            "openapi": "3.0.0",
            "info": {"title": "Upwell", "version": "v1"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
    )
    return document


def _loose(schema: Any) -> Any:
    """Let what is an integer or a string be either: OpenAPI 3.0 cannot say so by itself."""
    if isinstance(schema, list):
        return [_loose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    either = schema.get("x-kubernetes-int-or-string") is True
    return {key: _loose(value) for key, value in schema.items() if not (either and key == "type")}
