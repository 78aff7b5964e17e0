"""The one answer to which registries may be asked over plain HTTP or without valid TLS.

Imports, builds, mirrors and the pulls of workloads all go by it: what can be imported can be run.
"""

from collections.abc import Callable, Iterable

from upwell.api.image import ImageStream
from upwell.api.pipeline import Pipeline
from upwell.oci import Reference
from upwell.policy.images.insecure import insecure_registries
from upwell.policy.promotion.stages import namespace_of
from upwell.registry.hosts import is_loopback
from upwell.store.interface import Selector, Store


class InsecureRegistries:
    """Asks the settings (`configured`), and the ImageStreams that a namespace has images from.

    These are its own, and those of the Pipelines that have a stage in it. Another namespace's
    streams do not count: nobody makes the pulls of others insecure. Loopback always is.
    """

    def __init__(
        self, store: Store, configured: Callable[[Reference], bool] = lambda _: False
    ) -> None:
        self._store = store
        self._configured = configured

    async def among(self, images: Iterable[Reference], namespace: str) -> frozenset[str]:
        """Return the registries of these images that may be asked insecurely."""
        wanted = frozenset(images)
        found = {
            image.registry
            for image in wanted
            if is_loopback(image.registry) or self._configured(image)
        }
        left = {image.registry for image in wanted} - found
        if not left:
            return frozenset(found)
        return frozenset(found | (left & await self._imported(namespace)))

    async def _imported(self, namespace: str) -> frozenset[str]:
        namespaces = {namespace}
        for pipeline in (await self._store.list(Pipeline)).items:
            if namespace in {namespace_of(pipeline, stage) for stage in pipeline.spec.stages}:
                namespaces |= {
                    one.from_.namespace or pipeline.namespace for one in pipeline.spec.components
                }
        return insecure_registries(
            [
                stream
                for place in namespaces
                for stream in (await self._store.list(ImageStream, Selector(place))).items
            ]
        )
