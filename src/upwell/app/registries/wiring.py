"""Hands what serves, keeps and copies images the ports that it needs, where images are here."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.routing import BaseRoute

from upwell.app.adapters import Adapters
from upwell.app.cleanup import (
    IN_BUCKET,
    clean_registry,
    follow_bucket,
    scrub_bucket,
    scrub_registry,
    watch_registry,
)
from upwell.app.registries.replica_rights import watch_replica_rights
from upwell.machine.clock import PROCESS_CLOCK, now
from upwell.machine.platform import machine_platform
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.registry.attachments.mirrored import AttachmentMirror
from upwell.registry.client.push import RegistryPusher
from upwell.registry.external.uncopied import Uncopied
from upwell.registry.mirror import Mirror
from upwell.server.distribution.elsewhere import elsewhere
from upwell.server.distribution.image_limits import ImageLimits
from upwell.server.distribution.pushed_streams import PushedStreams
from upwell.server.distribution.routes import create_routes
from upwell.server.images.pushed_stream_creation import PushedStreamCreation
from upwell.store.interface import Store


def image_mirror(adapters: Adapters, beside: AttachmentMirror | None) -> ImageMirror:
    """Return what copies images that builds stand on, and what lies beside them."""
    if adapters.embedded is None or beside is None:
        return Uncopied(adapters.registries, machine_platform())
    return Mirror(adapters.registries, adapters.embedded, machine_platform(), beside.note)


def registry_routes(adapters: Adapters, clients: Store) -> Sequence[BaseRoute]:
    """Return the routes of /v2/; streams that a push makes are written to `clients`."""
    if adapters.embedded is None:
        return elsewhere(adapters.internal.prefix)
    return create_routes(
        adapters.embedded,
        image_limits=ImageLimits(adapters.store),
        streams=PushedStreams(adapters.store, PushedStreamCreation(clients, now).create),
    )


def registry_loops(adapters: Adapters) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
    """Return what cleans and watches the embedded registry, or one that replicas share."""
    if adapters.embedded is None:
        return _rights(adapters)
    components = adapters.components
    clean = partial(clean_registry, adapters.embedded, PROCESS_CLOCK)
    if adapters.bucket is None:
        return (
            clean,
            partial(watch_registry, adapters.embedded, components),
            partial(scrub_registry, adapters.embedded),
        )
    return (
        clean,
        partial(watch_registry, adapters.embedded, components, IN_BUCKET),
        partial(scrub_bucket, adapters.bucket),
        partial(follow_bucket, adapters.bucket, components),
    )


def _rights(adapters: Adapters) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
    if adapters.cluster is None:
        return ()
    pusher = RegistryPusher(adapters.client.connection)
    component = adapters.components.add("shared-content", required=False)
    prefix, namespace = adapters.internal.prefix, adapters.cluster.lease.namespace
    return (partial(watch_replica_rights, pusher, prefix, namespace, component),)
