"""Test the documents between the server and a build's Pod."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from upwell.builder.interface import (
    BuildError,
    BuilderStrategy,
    BuildLimits,
    BuildPlan,
    BuildResult,
    HostVolume,
    ImagePath,
    InjectedFiles,
    LimitedPushError,
    MountedFiles,
    Placement,
    PostCommit,
    RegistryLogin,
    RuntimeImage,
    SourceImage,
    SourceOptions,
)
from upwell.builder.kubernetes.documents import (
    InvalidDocumentError,
    PodInput,
    RegistryFiles,
    decode_end,
    decode_input,
    encode_error,
    encode_input,
    encode_plan,
    encode_result,
)
from upwell.git.interface import Proxies
from upwell.oci import Digest, Reference

IMAGE = Reference("registry.test", "shop/app", "1", Digest.of(b"image"))
FULL = BuildPlan(
    id="uid-1",
    namespace="shop",
    name="app-1",
    strategy=BuilderStrategy.SOURCE,
    context=Path("source"),
    images={"builder": IMAGE},
    push=IMAGE,
    base_name="base:1",
    base_digest=str(IMAGE.digest),
    dockerfile="FROM base:1\n",
    dockerfile_path="docker/Dockerfile",
    env=(("A", "1"), ("B", "")),
    build_env=(("C", "2"),),
    build_args=(("D", "3"),),
    secret_env=(("E", "secret"),),
    labels={"z": "1", "a": "2"},
    annotations={"b": "1"},
    scripts_url="image:///s2i",
    no_cache=True,
    cache_key="key",
    step_scope="scope",
    limits=BuildLimits(1024, 0.5, 10),
    deadline_seconds=60.0,
    logins=(RegistryLogin("registry.test", "ann", "secret"),),
    insecure_registries=frozenset({"b.test", "a.test"}),
    host_network=True,
    final_image=IMAGE,
    inputs=(InjectedFiles("settings", {"a/b": b"\x00\xff"}, "/etc", secret=False),),
    volumes=(MountedFiles("keys", {"k": b"\xfe"}, ("/run/keys", "/keys")),),
    source_images=(SourceImage(IMAGE, (ImagePath("/a/.", "b"),), ("x",)),),
    post_commit=PostCommit("true", ("a",), ("b",)),
    source=SourceOptions(
        previous=IMAGE,
        previous_required=True,
        runtime=RuntimeImage(IMAGE, (("/a", "b"),)),
        assemble_user="1",
        volumes=(HostVolume(Path("/a"), "/b"),),
        exclude="x",
    ),
    display_name="app",
    local_name="localhost/app",
    squash=True,
    force_pull=True,
    pull_policies={IMAGE: "never"},
    proxies=Proxies("http://proxy.test"),
    build_document="{}",
    docker_socket=True,
    placement=Placement("builder", {"disk": "fast"}, {"cpu": "1"}, {"memory": "1Gi"}),
)
LEAST = BuildPlan("u", "n", "b", BuilderStrategy.DOCKER, None, {}, None)


def test_every_field_of_a_plan_arrives() -> None:
    missing = [
        one.name for one in fields(FULL) if getattr(FULL, one.name) == getattr(LEAST, one.name)
    ]
    assert missing == [], "set them in FULL, or this shows nothing of them"
    for plan in (FULL, LEAST):
        assert decode_input(encode_input(PodInput(plan))).plan == plan


def test_settings_of_registries_arrive() -> None:
    given = PodInput(LEAST, RegistryFiles("[[registry]]\n", (b"-----BEGIN\xff",)))
    assert decode_input(encode_input(given)) == given


def test_the_order_of_mappings_changes_no_document() -> None:
    turned = replace(FULL, labels={"a": "2", "z": "1"})
    assert encode_plan(turned) == encode_plan(FULL)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"plan":{"id":"u"}}', encode_input(PodInput(LEAST))[:-9], b"\xff"]
)
def test_what_is_no_input_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        decode_input(raw)


@pytest.mark.parametrize("digest", [Digest.of(b"image"), None])
def test_a_result_arrives(digest: Digest | None) -> None:
    result = BuildResult(digest, {"Build": 1.5}, "id")
    assert decode_end(encode_result(result)) == result


def test_an_error_arrives_with_its_class_and_fits_into_a_message() -> None:
    error = LimitedPushError("PushImageToRegistryFailed", "é" * 9000, retryable=True, retry_after=3)
    text = encode_error(error)
    assert len(text.encode()) <= 4096
    with pytest.raises(LimitedPushError) as caught:
        decode_end(text)
    assert (caught.value.reason, caught.value.retryable) == (error.reason, True)
    assert caught.value.retry_after == 3


@pytest.mark.parametrize(
    "text", ["", "Killed", "[]", "{}", '{"error":"BuildError"}', '{"digest":1}']
)
def test_what_is_no_end_is_told_apart_from_a_failure(text: str) -> None:
    with pytest.raises(InvalidDocumentError):
        decode_end(text)


def test_an_unknown_class_of_error_is_still_an_error() -> None:
    text = encode_error(BuildError("Reason", "why")).replace('"BuildError"', '"OtherError"')
    with pytest.raises(BuildError, match="why"):
        decode_end(text)
