"""The API against its own OpenAPI documents: no 5xx, no answer that its schema does not allow."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.support.server.api_server import Api, serving

from upwell.api.codec import RESOURCES, decode
from upwell.api.schemas import openapi
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import AlreadyExistsError, RejectedError

if TYPE_CHECKING:
    from schemathesis.core.result import Ok

SECONDS = 10
NAMESPACE, NAME = "shop", "app"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


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


schema = schemathesis.openapi.from_dict(_document())


@dataclass(frozen=True)
class ThreadedApi:
    """The API in a thread of its own: schemathesis waits for its answers."""

    api: Api
    loop: asyncio.AbstractEventLoop
    end: asyncio.Event

    def seed(self) -> None:
        """Make sure that there is an object of every kind."""
        asyncio.run_coroutine_threadsafe(self._seed(), self.loop).result(SECONDS)

    async def _seed(self) -> None:
        for resource in RESOURCES:
            document = {
                "apiVersion": resource.KIND.api_version,
                "kind": resource.KIND.kind,
                "metadata": {
                    "name": NAME,
                    "labels": {"app": NAME},
                    **({"namespace": NAMESPACE} if resource.KIND.namespaced else {}),
                },
            }
            with contextlib.suppress(AlreadyExistsError, RejectedError):
                await self.api.store.create(decode(document))


@pytest.fixture(scope="module")
def served() -> Iterator[ThreadedApi]:
    ready = threading.Event()
    found: list[ThreadedApi] = []

    async def serve() -> None:
        async with serving(ServerLimits(watch_seconds=0.1, body_seconds=1)) as api:
            end = asyncio.Event()
            found.append(ThreadedApi(api, asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(SECONDS)
    yield found[0]
    found[0].loop.call_soon_threadsafe(found[0].end.set)
    thread.join(SECONDS)
    assert not thread.is_alive()


FEW = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def every_operation(test: Callable[..., None]) -> Any:
    """Run a test for each operation.

    Not by schemathesis' own `parametrize`: it gives all the same id, and of tests with the same id
    pytest-xdist runs one.
    """
    found = [cast("Ok[Any]", operation).ok() for operation in schema.get_all_operations()]
    return pytest.mark.parametrize("operation", found, ids=[one.label for one in found])(test)


@every_operation
def test_every_operation_answers_as_it_says(operation: Any, served: ThreadedApi) -> None:
    @FEW
    @given(case=operation.as_strategy())
    def answers(case: schemathesis.Case[Any]) -> None:
        answer = case.call(base_url=served.api.url, timeout=SECONDS)
        case.validate_response(answer, checks=CHECKS)

    answers()


@every_operation
def test_operations_on_objects_that_exist_answer_as_they_say(
    operation: Any, served: ThreadedApi
) -> None:
    @FEW
    @given(case=operation.as_strategy())
    def answers(case: schemathesis.Case[Any]) -> None:
        served.seed()
        place = {"namespace": NAMESPACE, "name": NAME}
        case.path_parameters = {name: place[name] for name in case.path_parameters or {}}
        case.query = {"fieldManager": "test", "force": "true"}
        if isinstance(case.body, dict):
            name = f"new-{uuid4()}" if case.method == "POST" else NAME
            case.body = case.body | {"metadata": {"name": name, "annotations": {"x": "y"}}}
            case.body.pop("apiVersion", None)
            case.body.pop("kind", None)
        answer = case.call(base_url=served.api.url, timeout=SECONDS)
        case.validate_response(answer, checks=CHECKS)

    answers()
