"""Clusters that a session of tests shares; a folder's conftest imports those that it needs.

Each needs about 500 MiB and 6 s: a suite asks for one kind of node, or has a reason for two.
"""

from collections.abc import Iterator

import pytest
from tests.support.kubernetes.cluster import Cluster, started_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with our kinds and the cluster's own controllers; Pods stay pending."""
    with started_cluster(tmp_path_factory.mktemp("kube")) as started:
        yield started


@pytest.fixture(scope="session")
def hollow_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose Pods become ready without containers, so that rollouts finish."""
    with started_cluster(tmp_path_factory.mktemp("kube-hollow"), "hollow") as started:
        yield started


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a node that runs containers; needs root."""
    with started_cluster(tmp_path_factory.mktemp("kube-real"), "real") as started:
        yield started
