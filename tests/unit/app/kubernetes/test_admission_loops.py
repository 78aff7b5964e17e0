"""The loops that keep a cluster's admission in force, while its API server is too busy."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.clocks import SecondsClock

from upwell.api.meta import Resource
from upwell.app.kubernetes.admission import ClusterWebhook
from upwell.cluster.errors import ClusterUnavailableError
from upwell.cluster.kubernetes_admission import KubernetesAdmission
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.store.interface import UnavailableError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_errors import BusyError
from upwell.store.memory import MemoryStore

NAMESPACE = "upwell"
ASKED = 7.0
"""Seconds of the API server's Retry-After."""


class EndedError(Exception):
    """The loop has waited often enough."""


class BusyStore(MemoryStore):
    """A store behind an API server that answers 429 with Retry-After while it is busy."""

    is_busy = True
    is_gone = False
    reads = 0

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        self.reads += 1
        if self.is_gone:
            raise UnavailableError("connection refused")
        if self.is_busy:
            raise BusyError(f"{name}: too many requests", ASKED)
        return await super().get(kind, namespace, name)


class BusyWebhook:
    """A webhook on a busy store, whose loops wait by a clock that their waits move."""

    def __init__(self, folder: Path, store: BusyStore) -> None:
        self.clock = SecondsClock()
        self.waits: list[float] = []
        self.most_waits = 3
        unasked = KubernetesStore("http://127.0.0.1:1")
        self.webhook = ClusterWebhook(
            store,
            KubernetesAdmission(unasked.connection),
            "system:serviceaccount:upwell:upwell",
            NAMESPACE,
            folder,
            ("upwell.test",),
            lambda: datetime(2026, 1, 1, tzinfo=UTC),
            elapsed=self.clock,
            sleep=self.wait,
        )
        self.webhook.looks = replace(self.webhook.looks, jitter=lambda: 0.0)

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.now += seconds
        if len(self.waits) == self.most_waits:
            raise EndedError


@pytest.fixture
def store() -> BusyStore:
    return BusyStore(now)


@pytest.fixture
def busy(tmp_path: Path, store: BusyStore) -> BusyWebhook:
    return BusyWebhook(tmp_path, store)


async def test_each_loop_comes_back_when_the_api_server_asks_for_it(busy: BusyWebhook) -> None:
    loops = (busy.webhook.keep(), busy.webhook.watch(Components().add("admission")))
    for loop in loops:
        busy.waits.clear()
        with pytest.raises(EndedError):
            await loop
        assert busy.waits == [ASKED] * 3


async def test_looks_become_rare_while_nothing_changes(busy: BusyWebhook, store: BusyStore) -> None:
    store.is_busy = False
    busy.most_waits = 7
    with pytest.raises(EndedError):
        await busy.webhook.watch(Components().add("admission"))
    assert busy.waits == [0.5, 1, 2, 4, 8, 10, 10]
    busy.waits.clear()
    busy.most_waits = 1

    store.is_gone = True
    with pytest.raises(EndedError):
        await busy.webhook.watch(Components().add("admission"))
    assert busy.waits == [0.5], "another fault is news"


async def test_no_request_asks_before(busy: BusyWebhook, store: BusyStore) -> None:
    for _ in range(5):
        with pytest.raises(ClusterUnavailableError) as caught:
            await busy.webhook.admission()
        assert caught.value.retry_after == ASKED
    assert store.reads == 1

    busy.clock.now += ASKED
    store.is_busy = False
    assert await busy.webhook.admission() == ""
    assert "has not made Secret" in busy.webhook.state.fault
