"""The view of builds shows each BuildConfig what a look at everything would, and no more."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.authors import FixedAuthors

from upwell.api.apps import Deployment
from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.values.author import with_author
from upwell.controller import ObjectCache
from upwell.policy.explain.graph import build_graph
from upwell.policy.images.streams import StreamTag
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import AlreadyExistsError
from upwell.store.memory import MemoryStore

NAMESPACES = ("shop", "tools")
HOST = "registry.internal"


def stream(
    name: str, namespace: str, source: dict[str, Any] | None = None, *, local: bool = False
) -> ImageStream:
    tag = {"name": "latest", **({"from": source} if source else {})}
    return ImageStream.model_validate_json(
        json.dumps(
            {
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"tags": [tag], "lookupPolicy": {"local": local}},
                "status": {"dockerImageRepository": f"{HOST}/{namespace}/{name}"},
            }
        )
    )


def config(
    name: str,
    namespace: str,
    base: dict[str, Any],
    output: dict[str, Any],
    tracked: Sequence[str] = (),
) -> BuildConfig:
    return BuildConfig.model_validate_json(
        json.dumps(
            {
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "strategy": {"type": "Docker", "dockerStrategy": {"from": base}},
                    "output": {"to": output},
                    "triggers": [{"type": "ImageChange", "imageChange": {}}],
                },
                "status": {"trackedImages": list(tracked)},
            }
        )
    )


_NAMES = st.sampled_from(["a", "b", "c"])
_TEXTS = st.one_of(
    st.builds("{}/{}/{}:latest".format, st.just(HOST), st.sampled_from(NAMESPACES), _NAMES),
    st.builds("vendor.example/{}:latest".format, _NAMES),
    st.builds("{}:latest".format, _NAMES),
    _NAMES,
)
_REFERENCES = st.one_of(
    st.fixed_dictionaries({"kind": st.just("DockerImage"), "name": _TEXTS}),
    st.fixed_dictionaries(
        {
            "kind": st.just("ImageStreamTag"),
            "name": _NAMES.map("{}:latest".format),
            "namespace": st.sampled_from(NAMESPACES),
        }
    ),
)
_STREAMS = st.builds(
    stream,
    _NAMES,
    st.sampled_from(NAMESPACES),
    st.none() | _REFERENCES,
    local=st.booleans(),
)
_CONFIGS = st.builds(
    config,
    _NAMES,
    st.sampled_from(NAMESPACES),
    _REFERENCES,
    _REFERENCES,
    st.lists(_TEXTS, max_size=2),
)


@settings(deadline=None)
@given(st.lists(st.one_of(_STREAMS, _CONFIGS), max_size=14))
def test_a_config_is_shown_all_that_is_above_it(writes: list[ImageStream | BuildConfig]) -> None:
    asyncio.run(_compare(writes))


async def _compare(writes: list[ImageStream | BuildConfig]) -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    index = BuildIndex(ObjectCache(store))
    for resource in writes:
        await _put(store, resource)
        await index.context_of(
            ObjectKey("BuildConfig", "shop", "a")
        )  # the cache lists on each look
    configs = (await store.list(BuildConfig)).items
    graph = build_graph([*configs, *(await store.list(ImageStream)).items])
    for each in configs:
        context = await index.context_of(each.key)
        assert context.graph.upstream(each.key) == graph.upstream(each.key)
        assert context.graph.cycle_of(each.key) == graph.cycle_of(each.key)
        assert context.configs.keys() - {each.key} == {
            node for node in graph.ancestors(each.key) if isinstance(node, ObjectKey)
        } - {each.key}


async def _put(store: MemoryStore, resource: ImageStream | BuildConfig) -> None:
    """Write the object as it is, in the place of one of its name."""
    try:
        stored = await store.create(resource)
    except AlreadyExistsError:
        stored = await store.update(resource)
    await store.update_status(stored.with_status(resource.status))


async def test_a_change_concerns_those_that_read_or_write_the_stream() -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    by_tag = {"kind": "ImageStreamTag", "name": "base:latest"}
    by_name = {"kind": "DockerImage", "name": "vendor.example/base:latest"}
    out = {"kind": "ImageStreamTag", "name": "out:latest"}
    for each in (
        config("by-tag", "shop", by_tag, out),
        config("by-name", "shop", out, by_name),
        config("by-tracking", "shop", out, out, ("vendor.example/base:latest",)),
        config("elsewhere", "tools", by_tag, out),
    ):
        await _put(store, each)
    index = BuildIndex(ObjectCache(store))
    await index.context_of(ObjectKey("BuildConfig", "shop", "by-tag"))
    base = stream("base", "shop", by_name)
    found = {key.name for key in index.followers(base)}
    assert found == {"by-tag", "by-name", "by-tracking"}
    assert {key.name for key in index.followers(stream("other", "shop"))} == set()


async def test_only_those_that_wait_downstream_are_looked_at_again() -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    out = {"kind": "ImageStreamTag", "name": "out:latest"}
    for name, base in (("top", "base"), ("mid", "top-copy"), ("tip", "mid"), ("other", "base")):
        waits = name in {"tip", "other"}
        made = config(
            name,
            "shop",
            {"kind": "ImageStreamTag", "name": f"{base}:latest"},
            {**out, "name": f"{name}:latest"},
        )
        await _put(store, _waiting(made) if waits else made)
    copy = {"kind": "ImageStreamTag", "name": "top:latest"}
    await _put(store, stream("top-copy", "shop", copy))
    index = BuildIndex(ObjectCache(store))
    top = ObjectKey("BuildConfig", "shop", "top")
    await index.context_of(top)
    assert [key.name for key in index.waiting_below(top)] == ["tip"]


async def test_dependents_are_counted_through_every_copy_once() -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    for name, base in (("top", "debian"), ("mid", "top-copy"), ("tip", "mid"), ("other", "debian")):
        source = {"kind": "ImageStreamTag", "name": f"{base}:latest"}
        made = {"kind": "ImageStreamTag", "name": f"{name}:latest"}
        await _put(store, config(name, "shop", source, made))
    copied = {"kind": "ImageStreamTag", "name": "top:latest"}
    await _put(store, stream("top-copy", "shop", copied))
    for name, followed in (("web", ["tip", "mid"]), ("jobs", ["tip"]), ("aside", ["other"])):
        await store.create(deployment(name, followed))
    index = BuildIndex(ObjectCache(store))
    await index.cache.ready(BuildConfig, ImageStream, Deployment)
    expected = {"top": 4, "mid": 3, "tip": 2, "other": 1, "unknown": 0}  # mid, tip, web, jobs
    keys = {name: ObjectKey("BuildConfig", "shop", name) for name in expected}
    assert {name: index.dependents(key) for name, key in keys.items()} == expected


async def test_dependents_in_a_ring_come_to_an_end() -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    for name, base in (("a", "b"), ("b", "a")):
        source = {"kind": "ImageStreamTag", "name": f"{base}:latest"}
        await _put(store, config(name, "shop", source, {**source, "name": f"{name}:latest"}))
    index = BuildIndex(ObjectCache(store))
    await index.cache.ready(BuildConfig)
    assert index.dependents(ObjectKey("BuildConfig", "shop", "a")) == 1


@pytest.mark.parametrize(
    ("grants", "awaited"),
    [(("builder@tools",), []), (("builder@tools,shop",), ["build overwrite-1"])],
)
async def test_only_who_may_write_into_a_namespace_is_awaited_there(
    grants: tuple[str, ...], awaited: list[str]
) -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    output = {"kind": "ImageStreamTag", "name": "app:latest", "namespace": "shop"}
    base = {"kind": "DockerImage", "name": "vendor.example/base:latest"}
    made = config("overwrite", "tools", base, output)
    await _put(store, with_author(made, "eve"))
    await _put(store, config("dep", "shop", output, {**output, "name": "dep:latest"}))
    await store.create(_build("overwrite", "tools"))
    authority = Authority(FixedAuthors({"eve": grants}))
    index = BuildIndex(ObjectCache(store), authority=authority)
    dependent = ObjectKey("BuildConfig", "shop", "dep")
    assert (await index.context_of(dependent)).busy_upstream(dependent) == awaited
    assert await index.coming(StreamTag("shop", "app", "latest")) == awaited


async def test_a_build_that_waits_for_a_right_is_not_awaited() -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    tags = [{"kind": "ImageStreamTag", "name": f"{name}:latest"} for name in ("base", "app", "dep")]
    await _put(store, config("app", "shop", tags[0], tags[1]))
    await _put(store, config("dep", "shop", tags[1], tags[2]))
    build = await store.create(_build("app", "shop"))
    index = BuildIndex(ObjectCache(store))
    dependent = ObjectKey("BuildConfig", "shop", "dep")
    assert (await index.context_of(dependent)).busy_upstream(dependent) == ["build app-1"]
    status = build.status.model_copy(update={"reason": "MissingRight"})
    await store.update_status(build.with_status(status))
    assert (await index.context_of(dependent)).busy_upstream(dependent) == []


def _build(of: str, namespace: str) -> Build:
    labels = {BUILD_CONFIG_LABEL: of}
    document = {"metadata": {"name": f"{of}-1", "namespace": namespace, "labels": labels}}
    return Build.model_validate_json(json.dumps(document))


def deployment(name: str, followed: Sequence[str]) -> Deployment:
    """Return a Deployment with a container for each stream of its namespace that it follows."""
    triggers = [
        {
            "from": {"kind": "ImageStreamTag", "name": f"{stream_name}:latest"},
            "fieldPath": f"spec.template.spec.containers[{at}].image",
        }
        for at, stream_name in enumerate(followed)
    ]
    labels = {"app": name}
    containers = [{"name": f"c{at}", "image": "x"} for at in range(len(followed))]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    annotations = {"image.openshift.io/triggers": json.dumps(triggers)}
    return Deployment.model_validate_json(
        json.dumps(
            {
                "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            }
        )
    )


def _waiting(made: BuildConfig) -> BuildConfig:
    document = {
        "conditions": [{"type": "Current", "status": "False", "reason": "UpstreamBuilding"}]
    }
    return made.with_status(type(made.status).model_validate_json(json.dumps(document)))
