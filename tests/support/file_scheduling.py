"""Scheduling of tests by pytest-xdist with `--dist loadfile`: files, and what shares clusters."""

from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

_ON_CLUSTERS = (
    "tests/contract/kubernetes/",
    "tests/contract/test_kubernetes_client.py",
    "tests/contract/test_refused_checks.py",
    "tests/contract/test_store_",
)

_TESTS = 2
"""A worker runs the first of them once it has the second."""


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Files of tests go to one worker each; those on clusters all to one, which starts few of them.

    The slowest come first, so `--no-loadscope-reorder` is for this, too.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_ON_CLUSTERS):
            return "clusters"
        return str(super()._split_scope(nodeid))

    def remove_node(self, node: WorkerController) -> str | None:
        """Take a worker that has ended; return the test that it died of.

        That one has failed: pytest-xdist would give it to the next worker, which dies of it too.
        """
        tests = [(file, test) for file in self.assigned_work[node].values() for test in file]
        died_of = next((test for file, test in tests if not file[test]), None)
        for file, test in tests:
            file[test] |= test == died_of
        super().remove_node(node)
        return died_of

    def _reschedule(self, node: WorkerController) -> None:
        """Give a worker files until it has two tests to run, or end it after its last.

        It keeps one test back until it knows of the next, and pytest-xdist looks again only when
        one has ended: of what a worker that died has left, another may get a file that is done or
        has one test left, and the run would wait for ever.
        """
        super()._reschedule(node)
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) < _TESTS:
            super()._reschedule(node)
