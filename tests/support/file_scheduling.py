"""Scheduling of tests by pytest-xdist with `--dist loadfile`: files, and what shares clusters."""

from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped]

_ON_CLUSTERS = (
    "tests/contract/kubernetes/",
    "tests/contract/test_kubernetes_client.py",
    "tests/contract/test_refused_checks.py",
    "tests/contract/test_store_",
)


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Files of tests go to one worker each; those on clusters all to one, which starts few of them.

    The slowest come first, so `--no-loadscope-reorder` is for this, too.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_ON_CLUSTERS):
            return "clusters"
        return str(super()._split_scope(nodeid))
