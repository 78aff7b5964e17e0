"""Clusters that modules of tests share: one that a test has left dead is nobody's after it."""

import os
import signal
from contextlib import ExitStack, contextmanager

import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.fixtures import end_clusters, shared_cluster


@on_demand(
    "tests/contract/kubernetes/test_cluster_faults.py"
    "::test_an_api_server_and_an_etcd_that_die_and_forget_lose_nothing"
)
def test_a_cluster_that_answers_no_more_is_started_anew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = pytest.Config.fromdictargs({}, [])  # whose clusters are not those of other tests
    given = contextmanager(shared_cluster)
    with ExitStack() as ends:
        ends.callback(end_clusters, config)
        with given("none", config, tmp_path_factory) as first:
            assert first.is_ready()
        with given("none", config, tmp_path_factory) as again:
            assert again is first
        os.kill(int((first.folder / "pids/etcd.pid").read_text()), signal.SIGKILL)
        with given("none", config, tmp_path_factory) as anew:
            assert anew.base_url != first.base_url
            assert anew.is_ready()
