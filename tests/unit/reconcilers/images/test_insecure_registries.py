"""Registries that may be asked insecurely: by settings, and by the streams that are concerned."""

from typing import Any

from tests.support.rollouts.memory_machine import MemoryClock

from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.pipeline import Pipeline
from upwell.oci import Reference
from upwell.policy.images.repository_tags import INSECURE_ANNOTATION
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.store.memory import MemoryStore

PLAIN = "10.0.0.5:5000"


def reference(registry: str) -> Reference:
    return Reference.parse(f"{registry}/vendor/app:1")


def stream(namespace: str, *, insecure: bool = True, **metadata: Any) -> ImageStream:
    tag = {
        "name": "1",
        "from": {"kind": "DockerImage", "name": f"{PLAIN}/vendor/app:1"},
        "importPolicy": {"insecure": insecure},
    }
    spec = {"tags": [tag, {"name": "mine"}]}
    place = {"namespace": namespace, "name": "app", **metadata}
    return decode_as(ImageStream, {"metadata": place, "spec": spec})


def pipeline(namespace: str) -> Pipeline:
    stages = [{"name": "live", "namespace": "app-live", "workloads": [{"name": "app"}]}]
    source = {"kind": "ImageStreamTag", "name": "app:1", "namespace": "team"}
    spec = {"components": [{"name": "app", "from": source}], "stages": stages}
    return decode_as(Pipeline, {"metadata": {"namespace": namespace, "name": "p"}, "spec": spec})


async def test_settings_and_loopback_hold_everywhere() -> None:
    images = [reference(one) for one in (PLAIN, "127.0.0.1:5000", "localhost:1", "docker.io")]
    insecure = InsecureRegistries(MemoryStore(MemoryClock()), lambda image: image.registry == PLAIN)

    found = await insecure.among(images, "team")

    assert found == {PLAIN, "127.0.0.1:5000", "localhost:1"}


async def test_a_stream_counts_in_its_own_namespace_alone() -> None:
    store = MemoryStore(MemoryClock())
    insecure = InsecureRegistries(store)
    await store.create(stream("team"))
    await store.create(stream("other", insecure=False))

    assert await insecure.among([reference(PLAIN)], "team") == {PLAIN}
    assert await insecure.among([reference(PLAIN)], "other") == frozenset()
    assert await insecure.among([reference("docker.io")], "team") == frozenset()


async def test_a_stream_counts_in_the_stages_that_its_images_go_through() -> None:
    store = MemoryStore(MemoryClock())
    await store.create(stream("team"))
    insecure = InsecureRegistries(store)
    before = await insecure.among([reference(PLAIN)], "app-live")
    await store.create(pipeline("team"))

    assert before == frozenset()
    assert await insecure.among([reference(PLAIN)], "app-live") == {PLAIN}


async def test_the_annotation_is_for_all_that_a_stream_imports() -> None:
    store = MemoryStore(MemoryClock())
    annotations = {INSECURE_ANNOTATION: "true"}
    await store.create(stream("team", insecure=False, annotations=annotations))

    found = await InsecureRegistries(store).among([reference(PLAIN)], "team")

    assert found == {PLAIN}
