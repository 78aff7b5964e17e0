"""Every store, and Kubernetes API servers with our kinds, started once for all suites."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
from tests.support.kubernetes.fixtures import (
    cluster,
    end_clusters,
    hollow_cluster,
    real_cluster,
)
from tests.support.store.own_server import own_client
from tests.support.store.stores_under_test import NAMESPACE, Port, now
from tests.unit.cli.conftest import FakeClient

from upwell.server.admission.quota import LimitedStore
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.store.clusters.store import ClusterStore
from upwell.store.interface import Store
from upwell.store.memory import MemoryStore
from upwell.store.sqlite import SqliteStore

__all__ = ["cluster", "hollow_cluster", "real_cluster"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """End the clusters with the last of the tests in this folder: after all tries of it."""
    try:
        return (yield)
    finally:
        if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
            end_clusters(item.config)


@pytest.fixture(
    params=[
        "memory",
        "memory within limits",
        "memory for commands",
        "memory as a cluster",
        "sqlite",
        "server",
        "kubernetes",
    ]
)
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Port]:
    match request.param:
        case "memory":
            yield Port(MemoryStore(now), settles_at_once=True)
        case "memory within limits":
            yield Port(LimitedStore(MemoryStore(now), DEFAULT_LIMITS), settles_at_once=True)
        case "memory for commands":
            yield Port(FakeClient(now), settles_at_once=True)
        case "memory as a cluster":
            shown = frozenset({NAMESPACE})
            yield Port(ClusterStore(MemoryStore(now), shown), settles_at_once=True)
        case "sqlite":
            sqlite = await SqliteStore.open(tmp_path / "upwell.db", clock=now)
            yield Port(sqlite, settles_at_once=True)
            await sqlite.close()
        case "server":
            async with own_client(NAMESPACE) as client:
                yield Port(client, settles_at_once=True)
        case _:
            async with request.getfixturevalue("cluster").store(NAMESPACE) as kubernetes:
                yield Port(kubernetes, settles_at_once=False)


@pytest.fixture
def store(port: Port) -> Store:
    return port.store
