"""Roots of retention on a cluster: Upwell's objects, all Pods, and what Pods are made of.

Of the cluster's own kinds the JSON is read, page by page, and only what it names is kept: a field
that nobody here knows counts, and ten thousand workloads are not held in memory.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from upwell.api.apps import CronJob, DaemonSet, Deployment, Job, StatefulSet
from upwell.api.core import ConfigMap
from upwell.api.meta import Kind, Resource
from upwell.api.revisions import ReplicaSet, ReplicationController
from upwell.api.schemas.crds import custom_kinds
from upwell.cluster.errors import AccessDeniedError
from upwell.cluster.interface import ClusterDocuments, ClusterPods
from upwell.oci import Digest, Reference
from upwell.policy.pruning.image_uses import Use, uses_in_document, uses_in_text
from upwell.policy.pruning.rules import PruningRefusedError
from upwell.reconcilers.pruning.ports import FoundRoots
from upwell.store.interface import Store, StoreError

type _NamedImages = dict[tuple[Digest | Reference, Reference | None], Use]
"""Each image, with where it comes from, once: most revisions of a workload name the same."""

CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
NATIVE_ROOTS: Sequence[Kind] = (
    CronJob.KIND,
    Deployment.KIND,
    StatefulSet.KIND,
    DaemonSet.KIND,
    ConfigMap.KIND,
    # Made of those above, so read after them; revisions to roll back to are among them.
    ReplicationController.KIND,
    ReplicaSet.KIND,
    CONTROLLER_REVISION,
    Job.KIND,
)
"""Kinds of a cluster whose objects keep the images that they name, besides Pods."""


@dataclass(frozen=True, slots=True)
class ClusterRoots:
    """Implements RetentionRoots on a cluster; `host` is that of references to the registry."""

    objects: Store
    documents: ClusterDocuments
    pods: ClusterPods
    host: str
    namespaces: Sequence[str] = ()
    """Namespaces that are kept current; empty: all. Of some alone nothing can be decided."""

    async def read(self) -> FoundRoots:
        """Return all of it: what is copied from something else, after that.

        Raises PruningRefusedError, StoreError or a ClusterError.
        """
        if self.namespaces:
            raise PruningRefusedError(
                "[kubernetes] namespaces names some alone, and a Pod of another namespace may run"
                " an image: nothing is pruned. Leave it out, so that all namespaces are seen, or"
                " delete images that nothing needs yourself: skopeo delete"
            )
        try:
            return await self._read_all()
        except (StoreError, AccessDeniedError) as error:
            if error.reason != AccessDeniedError.reason:
                raise
            raise PruningRefusedError(
                f"{error}. What may name an image cannot be seen, so nothing is pruned: give this"
                " server that right, as `upwell install kubernetes` does"
            ) from error

    async def _read_all(self) -> FoundRoots:
        found: list[Resource] = []
        for kind in custom_kinds():
            found += await self._all(kind)
        named: _NamedImages = {}
        for native in NATIVE_ROOTS:
            await self._add_uses(native, named)
        running = await self._add_pods(named)
        return FoundRoots(found, running, tuple(named.values()))

    async def _all[R: Resource](self, kind: type[R]) -> Sequence[R]:
        listing = await self.objects.list(kind)
        if not listing.resource_version:
            raise PruningRefusedError(
                f"the cluster does not serve {kind.KIND.resource}, whose objects may name images:"
                " nothing is pruned. `upwell install kubernetes` installs its definition"
            )
        if listing.unreadable:
            names = ", ".join(map(str, listing.unreadable[:3]))
            raise PruningRefusedError(
                f"what cannot be read may name images, so nothing is pruned: mend or delete {names}"
            )
        return listing.items

    async def _add_uses(self, kind: Kind, named: _NamedImages) -> None:
        def uses_of(page: Sequence[Mapping[str, Any]]) -> list[Use]:
            return [
                use
                for document in page
                for use in uses_in_document(document, _name_of(kind, document), self.host)
            ]

        async with aclosing(self.documents.pages(kind)) as pages:
            async for page in pages:
                for use in await asyncio.to_thread(uses_of, page):
                    named.setdefault((use.image, use.source), use)

    async def _add_pods(self, named: _NamedImages) -> Mapping[Digest, str]:
        """Add what Pods name, and return what they run."""
        pods, _ = await self.pods.list()
        running: dict[str, str] = {}
        images: dict[str, str] = {}
        for pod in pods:
            for container in pod.containers:
                images.setdefault(container.image, f"Pod {pod.namespace}/{pod.name}")
                if container.digest:
                    running.setdefault(container.digest, f"Pod {pod.namespace}/{pod.name}")
        for image, pod_name in images.items():
            for use in uses_in_text(image, pod_name, self.host):
                named.setdefault((use.image, use.source), use)
        return {Digest.parse(digest): pod for digest, pod in running.items()}


def _name_of(kind: Kind, document: Mapping[str, Any]) -> str:
    meta = document.get("metadata") or {}
    return f"{kind.kind} {meta.get('namespace')}/{meta.get('name')}"
