from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from upwell.api.builds.build import (
    Build,
    BuildPhase,
    BuildSpec,
    BuildStatus,
    ImageInput,
    ResolvedImage,
)
from upwell.api.builds.config import (
    PAUSED_ANNOTATION,
    BuildConfig,
    BuildConfigSpec,
    BuildTriggerPolicy,
)
from upwell.api.builds.inputs import BuildStrategy, DockerBuildStrategy
from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImageStreamStatus,
    NamedTagEventList,
    TagEvent,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.policy.builds.failures import NOT_REBASED
from upwell.policy.builds.triggers import (
    CONFIG_CHANGE,
    IMAGE_CHANGE,
    FollowedTag,
    Hold,
    StartBuild,
    UpToDate,
    decide,
    followed_images,
    has_built_since,
    image_inputs,
)
from upwell.policy.images.names import ImageNames
from upwell.policy.images.streams import StreamName, StreamTag

OLD = f"vendor.example/debian@sha256:{'1' * 64}"
NEW = f"vendor.example/debian@sha256:{'2' * 64}"
TAG = ObjectReference(kind="ImageStreamTag", namespace="shop", name="debian:11")


def config(*triggers: BuildTriggerPolicy, **annotations: str) -> BuildConfig:
    base = ObjectReference(kind="ImageStreamTag", name="debian:11")
    return BuildConfig(
        metadata=ObjectMeta(name="app", namespace="shop", annotations=annotations),
        spec=BuildConfigSpec(
            strategy=BuildStrategy(docker_strategy=DockerBuildStrategy(from_=base)),
            triggers=triggers,
        ),
    )


def followed(
    asked: BuildConfig, streams: Mapping[StreamName, ImageStream], newest: Build | None
) -> list[FollowedTag]:
    return followed_images(asked, streams, ImageNames(streams.values()), newest)


def stream(
    pull_spec: str, name: str = "debian", source: str = "vendor.example/debian:11"
) -> ImageStream:
    event = TagEvent(
        created=datetime.now(UTC),
        docker_image_reference=pull_spec,
        image=pull_spec.partition("@")[2],
    )
    return ImageStream(
        metadata=ObjectMeta(name=name, namespace="shop"),
        spec=ImageStreamSpec(
            tags=(TagReference(name="11", from_=ObjectReference(kind="DockerImage", name=source)),)
        ),
        status=ImageStreamStatus(tags=(NamedTagEventList(tag="11", items=(event,)),)),
    )


def built_with(pull_spec: str, *images: ResolvedImage) -> Build:
    return Build(
        metadata=ObjectMeta(name="app-1", namespace="shop"),
        spec=BuildSpec(image_inputs=(ImageInput(from_=TAG, image=pull_spec),)),
        status=BuildStatus(images=images),
    )


ON_CONFIG = BuildTriggerPolicy(type="ConfigChange")
ON_IMAGE = BuildTriggerPolicy(type="ImageChange")


def test_a_new_config_is_built_for_its_configuration() -> None:
    decision = decide(config(ON_CONFIG), [], is_new=True, busy=())
    assert isinstance(decision, StartBuild)
    assert [cause.message for cause in decision.causes] == [CONFIG_CHANGE]


def test_a_new_config_with_an_image_is_built_once_and_for_the_image() -> None:
    image = FollowedTag(TAG, NEW, None)
    decision = decide(config(ON_CONFIG, ON_IMAGE), [image], is_new=True, busy=())
    assert isinstance(decision, StartBuild)
    assert [cause.message for cause in decision.causes] == [IMAGE_CHANGE]


def test_a_changed_digest_names_the_old_and_the_new_one() -> None:
    decision = decide(config(ON_IMAGE), [FollowedTag(TAG, NEW, OLD)], is_new=False, busy=())
    assert isinstance(decision, StartBuild)
    change = decision.causes[0].image_change_build
    assert change is not None
    assert (change.previous_image_id, change.image_id) == (OLD, NEW)


def test_the_same_digest_under_another_name_is_no_change() -> None:
    mirrored = NEW.replace("vendor.example", "mirror.example")
    image = FollowedTag(TAG, mirrored, NEW)
    assert isinstance(decide(config(ON_IMAGE), [image], is_new=False, busy=()), UpToDate)


@pytest.mark.parametrize(
    ("images", "annotations", "busy", "reason"),
    [
        ([FollowedTag(TAG, NEW, OLD)], {PAUSED_ANNOTATION: "true"}, (), "Paused"),
        ([FollowedTag(TAG, NEW, OLD)], {}, ("build parent-2",), "UpstreamBuilding"),
        (
            [FollowedTag(TAG, NEW, OLD), FollowedTag(TAG, None, None)],
            {},
            (),
            "ImageNotResolved",
        ),
    ],
)
def test_what_is_due_but_cannot_start_says_why(
    images: list[FollowedTag], annotations: dict[str, str], busy: tuple[str, ...], reason: str
) -> None:
    decision = decide(config(ON_IMAGE, **annotations), images, is_new=False, busy=busy)
    assert isinstance(decision, Hold)
    assert decision.reason == reason


def test_a_paused_trigger_starts_nothing_and_is_named() -> None:
    image = FollowedTag(TAG, NEW, OLD, paused=True)
    decision = decide(config(ON_IMAGE), [image], is_new=False, busy=())
    assert isinstance(decision, UpToDate)
    assert decision.reason == "TriggerPaused"
    assert "shop/debian:11" in decision.message


def test_a_trigger_without_from_follows_the_strategys_image() -> None:
    streams = {StreamName("shop", "debian"): stream(NEW)}
    (image,) = followed(config(ON_IMAGE), streams, built_with(OLD))
    assert (image.name, image.now, image.built) == ("shop/debian:11", NEW, OLD)
    assert image.changed
    assert image_inputs([image])[0].image == NEW


def test_the_status_remembers_when_every_build_is_deleted() -> None:
    streams = {StreamName("shop", "debian"): stream(NEW)}
    remembered = config(ON_IMAGE)
    (image,) = followed(remembered, streams, None)
    assert image.built is None
    assert image.changed


def test_images_of_other_stages_are_followed_through_the_stream_that_imports_them() -> None:
    streams = {
        StreamName("shop", "debian"): stream(NEW),
        StreamName("shop", "tools"): stream(
            NEW.replace("debian", "tools"), "tools", "vendor.example/tools:1"
        ),
    }
    tools_before = OLD.replace("debian", "tools")
    build = built_with(NEW, ResolvedImage(name="vendor.example/tools:1", reference=tools_before))
    images = followed(config(ON_IMAGE), streams, build)
    assert {image.name: image.changed for image in images} == {
        "shop/debian:11": False,
        "shop/tools:11": True,
    }


def test_without_an_image_change_trigger_no_image_is_followed() -> None:
    build = built_with(OLD, ResolvedImage(name="vendor.example/debian:11", reference=OLD))
    streams = {StreamName("shop", "debian"): stream(NEW)}
    assert followed(config(ON_CONFIG), streams, build) == []


def test_the_tag_behind_an_image_name_is_found_whatever_its_spelling() -> None:
    streams = {StreamName("shop", "web"): stream(NEW, "web", "docker.io/library/nginx:1.27")}
    names = ImageNames(streams.values())
    assert names.keeper("nginx:1.27", "shop") == StreamTag("shop", "web", "11")
    assert names.keeper("nginx:1.27", "elsewhere") is None
    assert names.keeper("Not A Name", "shop") is None


@pytest.mark.parametrize(
    ("phase", "reason", "counts"),
    [
        pytest.param(BuildPhase.COMPLETE, None, True, id="complete"),
        pytest.param(BuildPhase.FAILED, "DockerBuildFailed", True, id="failed"),
        pytest.param(BuildPhase.CANCELLED, NOT_REBASED, True, id="not rebased"),
        pytest.param(BuildPhase.CANCELLED, "CancelledBuild", False, id="cancelled"),
        pytest.param(BuildPhase.RUNNING, None, False, id="running"),
    ],
)
def test_what_has_ended_by_itself_since_is_not_waited_for_again(
    phase: BuildPhase, reason: str | None, *, counts: bool
) -> None:
    began = datetime(2026, 5, 1, tzinfo=UTC)
    ended = Build(status=BuildStatus(phase=phase, reason=reason, start_timestamp=began))
    assert has_built_since([ended], began) is counts
