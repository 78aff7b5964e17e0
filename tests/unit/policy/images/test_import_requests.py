import pytest

from upwell.api.image import (
    ImageManifest,
    ImageStream,
    ImageStreamSpec,
    ImportMode,
    ImportPolicy,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.oci import Platform
from upwell.policy.images.generations import settle_generations
from upwell.policy.images.import_request import PREFER_ARCH, PREFER_OS, ImportRequest, request_of

OURS = (Platform("linux", "arm64"),)
AMD64, ARM64, S390X, WINDOWS = (
    ImageManifest(digest=f"{os}-{arch}", os=os, architecture=arch)
    for os, arch in [
        ("linux", "amd64"),
        ("linux", "arm64"),
        ("linux", "s390x"),
        ("windows", "amd64"),
    ]
)


def tag(name: str = "11", source: str = "debian:11", **changes: object) -> TagReference:
    reference = TagReference(name=name, from_=ObjectReference(kind="DockerImage", name=source))
    return reference.model_copy(update=changes)


def policy(mode: ImportMode) -> ImportPolicy:
    return ImportPolicy(import_mode=mode)


@pytest.mark.parametrize(
    ("declared", "legacy"),
    [
        (tag(), False),
        (tag(import_policy=policy(ImportMode.LEGACY)), True),
        (tag(annotations={PREFER_ARCH: "s390x"}), True),
        (
            tag(
                annotations={PREFER_ARCH: "s390x"},
                import_policy=policy(ImportMode.PRESERVE_ORIGINAL),
            ),
            False,
        ),
    ],
)
def test_an_index_is_kept_unless_someone_asks_for_one_platform(
    declared: TagReference, *, legacy: bool
) -> None:
    request = request_of(declared)
    assert request is not None
    assert request.legacy is legacy
    assert (request.text == "") is not legacy


def test_what_is_not_imported_asks_for_nothing() -> None:
    assert request_of(tag(reference=True)) is None
    assert request_of(TagReference(name="holder", annotations={PREFER_OS: "linux"})) is None


@pytest.mark.parametrize(
    ("request_", "manifests", "chosen"),
    [
        (ImportRequest("", prefer_arch="s390x"), (AMD64, S390X), S390X),
        (ImportRequest("", prefer_os="windows", prefer_arch="amd64"), (AMD64, WINDOWS), WINDOWS),
        (ImportRequest("", prefer_arch="ppc64le"), (ARM64, AMD64), AMD64),
        (ImportRequest("", prefer_arch="ppc64le"), (S390X, WINDOWS), S390X),
        (ImportRequest(""), (AMD64, ARM64), ARM64),
        (ImportRequest(""), (S390X, AMD64), AMD64),
        (ImportRequest(""), (), None),
    ],
)
def test_one_manifest_takes_the_place_of_its_index(
    request_: ImportRequest, manifests: tuple[ImageManifest, ...], chosen: ImageManifest | None
) -> None:
    assert request_.child_of(manifests, OURS) == chosen


def stream(*tags: TagReference, generation: int | None = None) -> ImageStream:
    return ImageStream(
        metadata=ObjectMeta(name="s", generation=generation), spec=ImageStreamSpec(tags=tags)
    )


def generations(old: ImageStream | None, new: ImageStream) -> list[int | None]:
    return [tag.generation for tag in settle_generations(old, new).spec.tags]


def test_a_new_tag_gets_the_generation_that_the_stream_will_have() -> None:
    assert generations(None, stream(tag(generation=9))) == [1]
    assert generations(stream(generation=4), stream(tag())) == [5]


def test_only_a_change_of_the_import_raises_it() -> None:
    old = stream(tag(generation=3), generation=4)
    assert generations(old, stream(tag())) == [3]
    assert generations(old, stream(tag(annotations={"a": "b"}))) == [3]
    assert generations(old, stream(tag(source="debian:12"))) == [5]
    assert generations(old, stream(tag(reference=True))) == [5]
    assert generations(old, stream(tag(import_policy=policy(ImportMode.LEGACY)))) == [5]


def test_a_user_may_write_nothing_but_zero() -> None:
    old = stream(tag(generation=3), generation=4)
    assert generations(old, stream(tag(generation=8))) == [3]
    assert generations(old, stream(tag(generation=0))) == [5]
    assert generations(None, stream(TagReference(name="holder"))) == [None]
