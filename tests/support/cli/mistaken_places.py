"""Images, addresses and Releases that went wrong, as reconcilers report them.

Each is in a namespace of its own, but the Release, which is one of the Pipeline of all commands.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.builds.memory_builds import (
    BuildMachine,
    image_stream,
    imported,
    stream_key,
)
from tests.support.cli.mistaken_commands import Group, Mistake
from tests.support.promotion.pipeline_objects import promotion, rejection_of, release
from tests.support.promotion.verification_in_memory import VerifiedPromotion
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.route import Route
from upwell.oci import Reference
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.registry.errors import RegistryUnavailableError
from upwell.verification.interface import ProbeError

_AWAY = "registry.invalid/vendor/debian:13"
_NOBODY = "10.88.0.7:8080 cannot be reached: Connection refused"


async def objects(folder: Path) -> AsyncIterator[Resource]:
    """Yield the objects with their statuses; `folder` is for the registries that are asked."""
    yield await _stream(folder / "tags", "tagless", "vendor.example/debian:99")
    yield await _stream(folder / "away", "away", _AWAY)
    async for one in _addresses():
        yield one
    async for one in _deaf_release(folder / "release"):
        yield one


async def _stream(folder: Path, namespace: str, image: str) -> Resource:
    """Return a stream whose only tag could not be imported."""
    machine = BuildMachine(folder)
    if image == _AWAY:
        why = "connect to registry.invalid:443: Name or service not known"
        machine.vendor.failure = RegistryUnavailableError(Reference.parse(image).name, why)
    stored = await machine.store.create(image_stream("debian", imported("1", image)))
    await machine.streams().reconcile(stream_key("debian"))
    found = await machine.store.get(ImageStream, stored.namespace, "debian")
    metadata = ObjectMeta(namespace=namespace, name="debian")
    return found.model_copy(update={"metadata": metadata})


async def _addresses() -> AsyncIterator[Resource]:
    """Yield two Routes of one host, and two workloads of one port of the machine."""
    setup = RolloutSetup()
    for name in ("web", "other"):
        place = {"namespace": "twice", "name": name}
        selector = {"app": name}
        port = {"containerPort": 8080, "hostPort": 8080}
        container = {"name": "app", "image": GOOD, "ports": [port]}
        template = {"metadata": {"labels": selector}, "spec": {"containers": [container]}}
        workload = {"selector": {"matchLabels": selector}, "template": template}
        service = {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}
        host = {"host": "shop.example", "to": {"kind": "Service", "name": name}}
        made = decode_as(Deployment, _with_spec(place, workload))
        await setup.apply(made)
        await setup.settle(made.key)
        await setup.apply(decode_as(Service, _with_spec(place, service)))
        await setup.apply(decode_as(Route, _with_spec(place, host)))
        setup.clock.advance(1)
    await setup.routing.reconcile(ROUTER_KEY)
    for kind in (Deployment, Service, Route):
        for one in (await setup.store.list(kind)).items:
            yield one


def _with_spec(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": metadata, "spec": spec}


async def _deaf_release(folder: Path) -> AsyncIterator[Resource]:
    """Yield a Release whose application listens nowhere, after the check of its first stage."""
    verified = VerifiedPromotion(folder)
    verified.probes.tcp = ProbeError(_NOBODY)
    await verified.begin({"name": "answers", "tcp": {}})
    await verified.look(2)
    ended = await verified.look_after(60)
    times = {"started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z"}
    failed = promotion("shop-2.dev", status={"phase": "Failed", "message": ended.message, **times})
    for one in rejection_of(failed, release(2, f"sha256:{'3' * 64}", f"sha256:{'2' * 64}")):
        yield one


PLACES = Group(
    "Images and addresses that are not there",
    (
        Mistake("a tag that is not there", "status -n tagless"),
        Mistake("the same, of an image", "explain istag/debian:1 -n tagless"),
        Mistake("a registry that is not there", "status -n away"),
        Mistake("a host, and a port of the machine, that another has", "status -n twice"),
        Mistake("an application that listens nowhere", "promote shop-2 --stage staging"),
    ),
)
