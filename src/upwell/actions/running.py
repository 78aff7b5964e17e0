"""Workloads of a cluster, whoever has made them, and how far behind they are: read alone."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from upwell.actions.known_images import ImageKnowledge
from upwell.api.apps import DeploymentConfig
from upwell.api.builds.build import Build
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.requests.running import RunningWorkload, RunningWorkloadStatus, WorkloadImage
from upwell.cluster.interface import PodRecord
from upwell.policy.explain.ancestry import KnownImages, LayersOf, MayRead, most_behind
from upwell.policy.promotion.stages import STAGED
from upwell.policy.rollouts.triggers import followers_of
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.images.layers import LayerReader, PulledImage
from upwell.reconcilers.rollouts.index import WorkloadIndex

MOST_WORKLOADS = 500
"""Workloads of one answer."""
_MOST_IMAGES = 50
"""Images of one workload that are told of."""
_BUILD_PODS = frozenset({Build.KIND.kind})
_KINDS = {kind.KIND.kind: kind for kind in STAGED}


class PodsNotListedError(Exception):
    """The Pods of the cluster were not listed yet."""

    def __init__(self) -> None:
        super().__init__("the Pods of the cluster are still being listed: ask again in a moment")


@dataclass(frozen=True, slots=True, order=True)
class WorkloadName:
    """A workload that has Pods, by the name of the view of it."""

    namespace: str
    name: str
    key: ObjectKey


@dataclass(frozen=True, slots=True)
class _Counted:
    """An image of a workload, as its Pods name it, with their number and that of their nodes."""

    image: str
    digest: str
    pods: int
    nodes: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """A workload as it is now."""

    name: WorkloadName
    pods: int
    given: bool
    images: Sequence[_Counted]
    left_out: int


class RunningActions:
    """Tells what Pods run, and what their images stand on."""

    def __init__(self, index: WorkloadIndex, pods: Sequence[PodIndex], layers: LayerReader) -> None:
        """`layers` reads those of images that no object describes."""
        self._index = index
        self._pods = pods
        self._known = ImageKnowledge(index.cache)
        self._layers = layers

    def names(self, sees: Callable[[str], bool], namespace: str = "") -> Sequence[WorkloadName]:
        """Return the workloads that have Pods in namespaces that somebody sees, in order.

        Raises PodsNotListedError.
        """
        self._require_listed()
        found = {
            key
            for pods in self._pods
            for key in pods.workloads()
            if key.kind not in _BUILD_PODS and namespace in {"", key.namespace}
        }
        visible = {one for one in {key.namespace for key in found} if sees(one)}
        return sorted(
            WorkloadName(key.namespace, f"{key.kind.lower()}.{key.name}", key)
            for key in found
            if key.namespace in visible
        )

    def pods(self, workload: ObjectKey) -> Sequence[PodRecord]:
        """Return the Pods of a workload, by name. Raises PodsNotListedError."""
        self._require_listed()
        found = (pod for index in self._pods for pod in index.of(workload))
        return sorted(found, key=lambda one: one.name)

    def _require_listed(self) -> None:
        if not all(one.is_listed for one in self._pods):
            raise PodsNotListedError

    async def look(
        self, names: Sequence[WorkloadName], may_read: MayRead
    ) -> Sequence[RunningWorkload]:
        """Return what these workloads run; streams that may not be read are not named."""
        known = await self._known.now()
        await self._index.ready()
        seen = [self._seen(name) for name in names]
        unknown = [
            PulledImage(one.name.namespace, image.image, image.digest)
            for one in seen
            for image in one.images
            if not known.is_known(image.digest)
        ]
        layers = await self._layers.layers(unknown)

        def views() -> Sequence[RunningWorkload]:
            return [_view(one, known, layers, may_read) for one in seen]

        return await asyncio.to_thread(views)

    def _seen(self, name: WorkloadName) -> _Seen:
        images = list(self._counted(name.key))
        return _Seen(
            name,
            sum(len(one.of(name.key)) for one in self._pods),
            self._is_given(name.key),
            images[:_MOST_IMAGES],
            max(len(images) - _MOST_IMAGES, 0),
        )

    def _counted(self, workload: ObjectKey) -> Iterator[_Counted]:
        pods: defaultdict[tuple[str, str], int] = defaultdict(int)
        nodes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for index in self._pods:
            for one in index.running(workload):
                pods[one.image, one.digest] += one.pods
                nodes[one.image, one.digest].add(one.node)
        for (image, digest), count in sorted(pods.items()):
            yield _Counted(image, digest, count, len(nodes[image, digest]))

    def _is_given(self, key: ObjectKey) -> bool:
        """Return True if Upwell sets the images of a workload, or rolls it out itself."""
        kind = _KINDS.get(key.kind)
        workload = None
        if kind is not None:
            workload = self._index.cache.get(kind, key.namespace, key.name)
        if workload is None:
            return False
        if isinstance(workload, DeploymentConfig):
            return True
        return bool(followers_of(workload).entries) or any(self._index.stages_of(workload))


def _view(seen: _Seen, known: KnownImages, layers: LayersOf, may_read: MayRead) -> RunningWorkload:
    name = seen.name
    status = RunningWorkloadStatus(
        workload_kind=name.key.kind,
        workload_name=name.key.name,
        given=seen.given,
        pods=seen.pods,
        images=tuple(_described(one, known, layers, may_read) for one in seen.images),
        left_out=seen.left_out,
    )
    metadata = ObjectMeta(namespace=name.namespace, name=name.name)
    return RunningWorkload(metadata=metadata, status=status)


def _described(
    image: _Counted, known: KnownImages, layers: LayersOf, may_read: MayRead
) -> WorkloadImage:
    ancestors = tuple(known.ancestors(image.digest, image.image, layers, may_read))
    unknown = None
    if not ancestors and not known.is_known(image.digest) and image.digest not in layers:
        unknown = "its registry has not given its layers"
    elif not ancestors:
        unknown = "no ImageStream that you may read has it, or what it stands on"
    return WorkloadImage(
        image=image.image,
        digest=image.digest,
        pods=image.pods,
        nodes=image.nodes,
        ancestors=ancestors,
        behind=most_behind(ancestors),
        unknown=unknown,
    )
