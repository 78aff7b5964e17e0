"""Warnings about volumes that the images of a workload declare, as far as images are known."""

from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.policy.images.streams import StreamName, resolve_tag
from upwell.policy.rollouts.settings import WORKLOADS, Workload, template_of
from upwell.policy.rollouts.triggers import followers_of
from upwell.policy.rollouts.volumes.written import declared_volumes, declared_warnings
from upwell.server.objects.shown_images import shown_image
from upwell.store.interface import NotFoundError, Store


async def image_volume_warnings(
    store: Store, resource: Resource, old: Resource | None
) -> tuple[str, ...]:
    """Return what `resource` should be told of its images' volumes, and `old` was not told."""
    if not isinstance(resource, WORKLOADS):
        return ()
    known = set(await _warnings(store, old)) if isinstance(old, WORKLOADS) else set()
    return tuple(said for said in await _warnings(store, resource) if said not in known)


async def _warnings(store: Store, workload: Workload) -> tuple[str, ...]:
    containers = template_of(workload).spec.containers
    images = {container.name: container.image for container in containers}
    shown_in = dict.fromkeys(images, workload.namespace)
    for entry in followers_of(workload).entries:
        name, init = entry.slot
        if not init and (found := await _image_of(store, entry.stream, entry.tag.tag)):
            images[name], shown_in[name] = found, entry.stream.namespace
    declared = {
        name: await _declared(store, image, shown_in[name]) for name, image in images.items()
    }
    return tuple(declared_warnings(workload, declared))


async def _image_of(store: Store, stream: StreamName, tag: str) -> str:
    try:
        return resolve_tag(await store.get(ImageStream, stream.namespace, stream.name), tag) or ""
    except NotFoundError:
        return ""


async def _declared(store: Store, image: str, namespace: str) -> tuple[str, ...]:
    _, _, digest = image.partition("@")
    found = await shown_image(store, digest, [namespace]) if digest else None
    return declared_volumes(found.docker_image_metadata) if found is not None else ()
