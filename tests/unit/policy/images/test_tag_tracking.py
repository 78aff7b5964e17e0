from datetime import UTC, datetime

import pytest

from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamStatus,
    LookupPolicy,
    NamedTagEventList,
    TagEvent,
    TagReference,
)
from upwell.api.meta import Condition, ObjectMeta, ObjectReference
from upwell.policy.images.local_names import local_stream, resolve_local
from upwell.policy.images.streams import StreamName
from upwell.policy.images.tracking import (
    follows_other_namespaces,
    source_of,
    track,
    unknown_streams,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def tag(name: str, kind: str, source: str, namespace: str | None = None) -> TagReference:
    return TagReference(
        name=name, from_=ObjectReference(kind=kind, name=source, namespace=namespace)
    )


def stream(name: str, *tags: TagReference, namespace: str = "dev", **images: str) -> ImageStream:
    histories = tuple(
        NamedTagEventList(
            tag=tag_name,
            items=(
                TagEvent(
                    created=NOW,
                    docker_image_reference=f"host.example/{namespace}/{name}@{digest}",
                    image=digest,
                ),
            ),
        )
        for tag_name, digest in images.items()
    )
    return ImageStream(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=ImageStreamSpec(tags=tags),
        status=ImageStreamStatus(
            docker_image_repository=f"host.example/{namespace}/{name}", tags=histories
        ),
    )


def named(*streams: ImageStream) -> dict[StreamName, ImageStream | None]:
    return {StreamName(one.namespace, one.name): one for one in streams}


def result(owner: ImageStream, *others: ImageStream) -> TagEvent | Condition | None:
    outcome = track(owner, owner.spec.tags[0], named(owner, *others), NOW)
    assert outcome is not None
    return outcome.result


@pytest.mark.parametrize(
    ("declared", "source"),
    [
        (tag("t", "ImageStreamTag", "v1"), "dev/app:v1"),
        (tag("t", "ImageStreamTag", "base:v1"), "dev/base:v1"),
        (tag("t", "ImageStreamTag", "base:v1", "prod"), "prod/base:v1"),
        (tag("t", "ImageStreamImage", f"base@{OLD}"), f"dev/base@{OLD}"),
        (tag("t", "ImageStreamImage", OLD), f"dev/app@{OLD}"),
    ],
)
def test_every_form_of_a_name_is_understood(declared: TagReference, source: str) -> None:
    assert str(source_of(stream("app", declared), declared)) == source


def test_a_tag_takes_what_its_source_has() -> None:
    base = stream("base", v1=OLD)
    event = result(stream("app", tag("t", "ImageStreamTag", "base:v1")), base)
    assert isinstance(event, TagEvent)
    assert (event.image, event.docker_image_reference) == (OLD, f"host.example/dev/base@{OLD}")


def test_an_image_of_a_stream_may_be_named_in_short() -> None:
    base = stream("base", v1=OLD)
    event = result(stream("app", tag("t", "ImageStreamImage", f"base@{OLD[:20]}")), base)
    assert isinstance(event, TagEvent)
    assert event.image == OLD
    both = stream("base", v1=OLD, v2=OLD[:30] + "c" * (len(OLD) - 30))
    missing = result(stream("app", tag("t", "ImageStreamImage", f"base@{OLD[:20]}")), both)
    assert isinstance(missing, Condition)


@pytest.mark.parametrize(
    ("declared", "named_in_message"),
    [
        (tag("t", "ImageStreamTag", "gone:v1", "prod"), "ImageStream prod/gone does not exist"),
        (tag("t", "ImageStreamTag", "base:v9"), "dev/base:v9 has no image yet"),
        (tag("t", "ImageStreamImage", f"base@{NEW}"), f"dev/base@{NEW} is not an image"),
    ],
)
def test_a_missing_source_is_said(declared: TagReference, named_in_message: str) -> None:
    condition = result(stream("app", declared), stream("base", v1=OLD))
    assert isinstance(condition, Condition)
    assert condition.reason == "SourceNotFound"
    assert named_in_message in condition.message


def test_a_ring_of_tags_is_refused_and_named() -> None:
    app = stream("app", tag("t", "ImageStreamTag", "base:v1"), t=NEW)
    base = stream("base", tag("v1", "ImageStreamTag", "app:t"), v1=OLD)
    condition = result(app, base)
    assert isinstance(condition, Condition)
    assert condition.reason == "TagCycle"
    assert "dev/app:t -> dev/base:v1 -> dev/app:t" in condition.message
    own = stream("app", tag("t", "ImageStreamTag", "t"), t=NEW)
    assert isinstance(result(own), Condition)


def test_who_follows_a_ring_without_being_in_it_is_served() -> None:
    one = stream("one", tag("t", "ImageStreamTag", "two:t"), t=OLD)
    two = stream("two", tag("t", "ImageStreamTag", "one:t"), t=OLD)
    event = result(stream("app", tag("x", "ImageStreamTag", "one:t")), one, two)
    assert isinstance(event, TagEvent)


def test_what_is_needed_is_found_along_the_chain() -> None:
    app = stream("app", tag("t", "ImageStreamTag", "base:v1"))
    base = stream("base", tag("v1", "ImageStreamTag", "root:v0", "vendor"))
    assert unknown_streams(app, named(app)) == {StreamName("dev", "base")}
    assert unknown_streams(app, named(app, base)) == {StreamName("vendor", "root")}
    known = {**named(app, base), StreamName("vendor", "root"): None}
    assert unknown_streams(app, known) == set()


def test_a_reference_is_a_pull_spec_and_no_image() -> None:
    pointer = tag("t", "DockerImage", "vendor.example/app:1").model_copy(update={"reference": True})
    event = result(stream("app", pointer))
    assert isinstance(event, TagEvent)
    assert (event.image, event.docker_image_reference) == ("", "vendor.example/app:1")


def local(owner: ImageStream) -> ImageStream:
    spec = owner.spec.model_copy(update={"lookup_policy": LookupPolicy(local=True)})
    return owner.model_copy(update={"spec": spec})


def test_short_names_resolve_through_streams_that_allow_it() -> None:
    streams = {StreamName("dev", "mysql"): local(stream("mysql", latest=OLD, v8=NEW))}
    assert resolve_local("mysql", "dev", streams) == f"host.example/dev/mysql@{OLD}"
    assert resolve_local("mysql:v8", "dev", streams) == f"host.example/dev/mysql@{NEW}"
    assert resolve_local("mysql:v9", "dev", streams) == "host.example/dev/mysql:v9"
    assert resolve_local(f"mysql@{NEW}", "dev", streams) == f"host.example/dev/mysql@{NEW}"


def test_other_names_and_other_streams_stay_what_they_are() -> None:
    closed = {StreamName("dev", "mysql"): stream("mysql", latest=OLD)}
    opened = {StreamName("dev", "mysql"): local(stream("mysql", latest=OLD))}
    assert resolve_local("mysql", "dev", closed) is None
    assert (
        resolve_local("mysql", "dev", closed, every_stream=True) == f"host.example/dev/mysql@{OLD}"
    )
    assert resolve_local("mysql", "prod", opened) is None
    assert resolve_local("docker.io/library/mysql", "dev", opened) is None
    assert local_stream("vendor.example/mysql", "dev") is None
    assert local_stream("mysql:8", "dev") == StreamName("dev", "mysql")


def test_a_stream_follows_other_namespaces_if_one_of_its_tags_does() -> None:
    upstream = tag("11", "DockerImage", "vendor.example/debian:11")
    own = tag("1", "ImageStreamTag", "base:1")
    here = tag("2", "ImageStreamTag", "base:2", namespace="dev")
    assert not follows_other_namespaces(stream("app", upstream, own, here))
    assert follows_other_namespaces(stream("app", own, tag("3", "ImageStreamTag", "x:3", "ops")))
    pinned = tag("4", "ImageStreamImage", f"x@{OLD}", namespace="ops")
    assert follows_other_namespaces(stream("app", pinned, upstream))
