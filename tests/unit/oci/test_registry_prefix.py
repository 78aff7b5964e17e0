"""Test repositories below a prefix, and what other names of the own registry stand for there."""

from collections.abc import Iterator

import pytest

from upwell.oci import Digest, Reference
from upwell.oci.registry_names import OPENSHIFT_NAME, OwnRegistry, canonical_name, serve_as
from upwell.oci.registry_prefix import named_in, reference_in, registry_prefix, repository_in

DIGEST = Digest.of(b"image")


@pytest.fixture
def external() -> Iterator[None]:
    before = serve_as(OwnRegistry.of("registry.example", (OPENSHIFT_NAME,), path="up/well"))
    yield
    serve_as(before)


@pytest.mark.parametrize("prefix", ["registry.example", "registry.example:5000/up/well"])
def test_a_repository_is_found_again_below_its_prefix(prefix: str) -> None:
    image = reference_in(prefix, "shop/app", digest=DIGEST)
    assert str(image) == f"{prefix}/shop/app@{DIGEST}"
    assert repository_in(image, prefix) == "shop/app"
    assert named_in(f" {prefix}/shop/app:v1 ", prefix) == "shop/app"
    assert str(reference_in(prefix, "shop/app", "v1")) == f"{prefix}/shop/app:v1"


@pytest.mark.parametrize(
    "other",
    ["registry.example/upper/shop/app", "registry.example/other/app", "other.example/up/shop/app"],
)
def test_what_lies_beside_a_prefix_is_not_below_it(other: str) -> None:
    assert repository_in(Reference.parse(other), "registry.example/up") is None
    assert named_in(other, "registry.example/up") is None
    assert repository_in(Reference.parse(other), "") is None
    assert named_in("no image at all", "registry.example/up") is None


def test_a_prefix_has_one_spelling() -> None:
    assert registry_prefix("Registry.Example:443/up/well") == "registry.example/up/well"
    for wrong in ("registry.example/", "registry.example/Up", "a b/up", "https://a.example"):
        with pytest.raises(ValueError, match=r"registry|path"):
            registry_prefix(wrong)


@pytest.mark.usefixtures("external")
def test_another_name_of_the_own_registry_stands_for_its_prefix() -> None:
    named = Reference.parse(f"{OPENSHIFT_NAME}/shop/app:v1")
    assert str(named) == "registry.example/up/well/shop/app:v1"
    assert str(Reference.parse(str(named))) == str(named)
    assert canonical_name(f"{OPENSHIFT_NAME}/shop") == "registry.example/up/well/shop"
    assert canonical_name(OPENSHIFT_NAME) == "registry.example/up/well"
    assert canonical_name("registry.example/shop") == "registry.example/shop"
