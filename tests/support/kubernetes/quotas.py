"""Quotas of a cluster that let nothing more of a kind in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import until


@contextmanager
def no_more_of(cluster: KitCluster, namespace: str, what: str) -> Iterator[None]:
    """Let a quota `few` refuse what it counts (core/v1 ResourceQuota) within the block."""
    quota = ("-n", namespace, "quota", "few")
    cluster.kubectl("-n", namespace, "create", "quota", "few", f"--hard={what}=0")
    try:
        until(lambda: json.loads(cluster.kubectl("get", *quota, "-o", "json"))["status"], bool)
        yield
    finally:
        cluster.kubectl("delete", *quota)
