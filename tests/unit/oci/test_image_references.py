import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.oci.reference import MAX_REPOSITORY_LENGTH, is_repository, is_tag

DIGEST = Digest.of(b"image")

components = st.from_regex(r"[a-z0-9]{1,9}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,9}){0,2}", fullmatch=True)
repositories = st.lists(components, min_size=2, max_size=4).map("/".join)
registries = st.sampled_from(
    ["vendor.example", "localhost", "localhost:5000", "10.0.0.1:80", "[::1]:5000", "docker.io"]
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
digests = st.binary(max_size=4).map(Digest.of)


@given(registries, repositories, st.none() | tags, st.none() | digests)
def test_a_reference_survives_its_text_form(
    registry: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    if tag is None and digest is None:
        tag = "latest"
    reference = Reference(registry, repository, tag, digest)
    assert Reference.parse(str(reference)) == reference
    assert is_repository(repository)
    assert tag is None or is_tag(tag)


@given(st.text() | st.from_regex(r"[a-zA-Z0-9:/@._\[\]-]{0,60}", fullmatch=True))
def test_any_text_is_a_reference_with_a_stable_form_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:11", "docker.io/library/debian:11"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest"),
        ("registry-1.docker.io/team/app:1", "docker.io/team/app:1"),
        ("team/app", "docker.io/team/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("vendor.example/app", "vendor.example/app:latest"),
        ("vendor:5000/app:1", "vendor:5000/app:1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        (f"vendor.example/app@{DIGEST}", f"vendor.example/app@{DIGEST}"),
        (f"vendor.example/app:1@{DIGEST}", f"vendor.example/app:1@{DIGEST}"),
    ],
)
def test_short_names_mean_what_docker_means(text: str, expected: str) -> None:
    assert str(Reference.parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        ":",
        "@",
        "Debian",
        "vendor.example/",
        "vendor.example//app",
        "vendor.example/app:",
        "vendor.example/app:-1",
        f"vendor.example/app:{'a' * 129}",
        "vendor.example/app@",
        "vendor.example/app@sha256:abc",
        f"vendor.example/app@{DIGEST}@{DIGEST}",
        "vendor.example/../app",
        "vendor.example/app name",
        "vendor.example/app\n",
        "vendor_x.example/app",
        "https://vendor.example/app",
        f"vendor.example/{'a' * (MAX_REPOSITORY_LENGTH + 1)}",
    ],
)
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="not an image reference"):
        Reference.parse(text)


def test_a_request_names_the_digest_before_the_tag() -> None:
    both = Reference.parse(f"vendor.example/app:1@{DIGEST}")
    assert both.target == str(DIGEST)
    assert Reference.parse("vendor.example/app:1").target == "1"
    assert both.name == "vendor.example/app"


def test_pinning_drops_the_tag_and_tagging_drops_the_digest() -> None:
    pinned = Reference.parse("vendor.example/app:1").with_digest(DIGEST)
    assert str(pinned) == f"vendor.example/app@{DIGEST}"
    assert str(pinned.with_tag("2")) == "vendor.example/app:2"
    with pytest.raises(InvalidReferenceError):
        pinned.with_tag("not a tag")
