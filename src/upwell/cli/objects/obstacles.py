"""Faults of images and builds that new workloads wait for, told while a command waits."""

from collections.abc import Callable, Iterator, Sequence

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.cli.core.errors import CommandError
from upwell.cli.core.waiting import listed
from upwell.cli.presentation.following import on_changes
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.health.builds import has_failed, outcome_of
from upwell.policy.images.outcome import without_next_attempt
from upwell.policy.images.streams import StreamTag
from upwell.store.interface import ApiClient, Selector

_MAKES = (ImageStream, BuildConfig, Build)


async def tell_obstacles(
    client: ApiClient, created: Sequence[Resource], tell: Callable[[str], None]
) -> None:
    """Tell each fault of what leads to the created objects, once, until cancelled.

    Raises CommandError once the newest of their builds has failed for good: no wait mends that.
    """
    made = [one for one in created if isinstance(one, _MAKES)]
    if not made:
        return
    namespace, told = made[0].namespace, set[str]()

    async def look() -> bool:
        objects: list[Resource] = []
        for kind in _MAKES:
            objects += (await listed(client, kind, Selector(namespace))).items
        for fault in _faults(Snapshot(objects, namespace), made):
            what = without_next_attempt(fault)
            if what not in told:
                told.add(what)
                tell(fault)
        return False

    await on_changes(client, _MAKES, namespace, look)


def _faults(snapshot: Snapshot, made: Sequence[Resource]) -> Iterator[str]:
    """Yield the faults of objects and of what they are built from; raises CommandError."""
    for one in made:
        for node in (*snapshot.graph.ancestors(one.key), one.key):
            if isinstance(node, StreamTag):
                yield from map(str, snapshot.faults_about(node.stream_key, node.tag))
            elif isinstance(node, ObjectKey):
                _raise_failure(snapshot, node)
                yield from map(str, snapshot.faults_about(node))


def _raise_failure(snapshot: Snapshot, config: ObjectKey) -> None:
    newest = next(iter(snapshot.builds(config)), None)
    if newest is not None and has_failed(newest):
        hint = f"`upwell logs buildconfig/{config.name} -n {config.namespace}` says why"
        raise CommandError(f"{outcome_of(newest)}; {hint}")
