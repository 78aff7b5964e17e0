"""The API against its own OpenAPI documents: no 5xx, no answer that its schema does not allow."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from tests.support.server.api_server import Api, serving

from upwell.api.codec import RESOURCES, decode
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import AlreadyExistsError, RejectedError

SECONDS = 10
TO_EXISTING = 2
"""Requests of each operation to an object that exists."""
NAMESPACE, NAME = "shop", "app"


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


class OperationJudge(Protocol):
    """Judgement of the operations on one object each, or of all others."""

    def __call__(self, prepare: Callable[[Any], None], *, named: bool, requests: int) -> None: ...


@pytest.fixture
def judge_operations(served: ThreadedApi, subtests: pytest.Subtests) -> OperationJudge:
    """Give the judgement of operations' answers to requests that a function prepares.

    In one test: schemathesis and all documents are not loaded where tests are only collected.
    """
    from tests.support.server.conformance import judge, operations  # noqa: PLC0415

    def judge_each(prepare: Callable[[Any], None], *, named: bool, requests: int) -> None:
        count = 0
        for operation in operations():
            if ("{name}" in operation.path) is not named:
                continue
            count += 1
            with subtests.test(operation.label):
                judge(operation, served.api.url, prepare, requests)
        assert count > len(RESOURCES)

    return judge_each


def test_operations_on_all_objects_answer_as_they_say(judge_operations: OperationJudge) -> None:
    judge_operations(lambda _: None, named=False, requests=2)


def test_operations_on_one_object_answer_as_they_say(
    judge_operations: OperationJudge, served: ThreadedApi
) -> None:
    """Twice for an object that exists, then for whatever schemathesis thinks of.

    In one go: what an operation's requests may be takes longer to find out than to send them.
    """
    before = ["DELETE"]
    sent = Counter[str]()

    def prepare(case: Any) -> None:
        sent[case.operation.label] += 1
        if sent[case.operation.label] > TO_EXISTING:
            return
        if before[0] == "DELETE":  # nothing else takes objects away
            served.seed()
        before[0] = case.method.upper()
        place = {"namespace": NAMESPACE, "name": NAME}
        case.path_parameters = {name: place[name] for name in case.path_parameters or {}}
        case.query = {"fieldManager": "test", "force": "true"}
        if isinstance(case.body, dict):
            case.body = case.body | {"metadata": {"name": NAME, "annotations": {"x": "y"}}}
            case.body.pop("apiVersion", None)
            case.body.pop("kind", None)

    judge_operations(prepare, named=True, requests=TO_EXISTING + 1)
