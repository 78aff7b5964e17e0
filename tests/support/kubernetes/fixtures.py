"""Clusters that consecutive modules of tests share; a conftest imports those that it needs.

Each needs about 500 MiB and ten seconds of a processor to start, and a twentieth of one at rest: a
suite asks for one kind of node, or has a reason for two, and `end_clusters` is called at its end.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.kubernetes.cluster import KitCluster, NodeKind, started_cluster
from tests.support.kubernetes.leftovers import objects_there
from tests.support.kubernetes.served_cluster import until

_ENDS = pytest.StashKey[dict[NodeKind, ExitStack]]()
_STARTED = pytest.StashKey[dict[NodeKind, KitCluster]]()
_THERE = pytest.StashKey[dict[NodeKind, frozenset[str]]]()
"""Objects on each after the module before, by which the next one is asked what it leaves."""


def end_clusters(config: pytest.Config) -> None:
    """End the clusters that run; one that is asked for again is started anew."""
    config.stash.setdefault(_STARTED, {}).clear()
    ends = config.stash.setdefault(_ENDS, {})
    with ExitStack() as each:
        while ends:
            each.push(ends.popitem()[1])


def shared_cluster(
    node: NodeKind, config: pytest.Config, paths: pytest.TempPathFactory
) -> Iterator[KitCluster]:
    """Give the cluster with this kind of node: the one that runs, if it still answers."""
    started = config.stash.setdefault(_STARTED, {})
    there = config.stash.setdefault(_THERE, {})
    ends = config.stash.setdefault(_ENDS, {})
    if node in started and not started[node].is_ready():
        del started[node]
        ends.pop(node).close()
    if node not in started:
        ends[node] = ExitStack()
        made = started_cluster(paths.mktemp(f"kube-{node}"), node)
        started[node] = ends[node].enter_context(made)
        there[node] = objects_there(started[node])
    before = there[node]
    yield started[node]

    def left() -> frozenset[str]:
        there[node] = objects_there(started[node])
        return there[node] - before

    until(left, lambda names: not names)


@pytest.fixture(scope="module")
def cluster(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KitCluster]:
    """An API server with our kinds and the cluster's own controllers; Pods stay pending."""
    yield from shared_cluster("none", pytestconfig, tmp_path_factory)


@pytest.fixture(scope="module")
def hollow_cluster(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KitCluster]:
    """A cluster whose Pods become ready without containers, so that rollouts finish."""
    yield from shared_cluster("hollow", pytestconfig, tmp_path_factory)


@pytest.fixture(scope="module")
def real_cluster(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KitCluster]:
    """A cluster with a node that runs containers; needs root."""
    yield from shared_cluster("real", pytestconfig, tmp_path_factory)
