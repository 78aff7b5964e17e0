"""One spelling for each registry, and one name for the own one."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.registry_names import (
    OPENSHIFT_NAME,
    OwnRegistry,
    canonical_name,
    canonical_registry,
    serve_as,
)

OWN = "127.0.0.1:5000"
ALIASES = ("localhost:5000", "[::1]:5000", "Registry.Corp:5000", "apps.corp", OPENSHIFT_NAME)


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    before = serve_as(OwnRegistry.of(OWN, ALIASES, 5000))
    yield
    serve_as(before)


def cased(text: str) -> st.SearchStrategy[str]:
    """Return the same text in any case."""
    flips = st.lists(st.booleans(), min_size=len(text), max_size=len(text))
    return flips.map(
        lambda upper: "".join(
            one.upper() if is_upper else one.lower()
            for one, is_upper in zip(text, upper, strict=True)
        )
    )


@st.composite
def spellings(draw: st.DrawFn, hosts: tuple[str, ...], port: int) -> str:
    """A host in any case, with a trailing dot or none, and a port with zeros in front of it."""
    host = draw(st.sampled_from(hosts).flatmap(cased))
    dot = draw(st.sampled_from(["", "."])) if host[-1].isalpha() else ""
    return f"{host}{dot}:{str(port).rjust(draw(st.integers(1, 5)), '0')}"


own_hosts = (
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "localhost",
    "registry.corp",
    "other.localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:2]",
)


@given(
    spellings(own_hosts, 5000)
    | cased(OPENSHIFT_NAME)
    | st.sampled_from(["apps.corp", "APPS.corp:443", "apps.corp.:0443"])
)
def test_every_spelling_of_the_own_registry_is_its_name(text: str) -> None:
    assert canonical_registry(text) == OWN
    assert Reference.parse(f"{text}/shop/app:1") == Reference(OWN, "shop/app", "1")
    assert canonical_name(f"{text}/shop") == f"{OWN}/shop"


@given(spellings(("127.0.0.1", "localhost", "registry.corp", "[::1]"), 5001) | st.just("corp:5000"))
def test_what_listens_elsewhere_is_another_registry(text: str) -> None:
    assert canonical_registry(text) != OWN


@pytest.mark.parametrize(
    "text",
    [
        "127.1:5000",
        "0x7f.0.0.1:5000",
        "2130706433:5000",
        "0177.0.0.1:5000",
        "127.0.0.1%:5000",
        "%6cocalhost:5000",
        "user@localhost:5000",
        "[::1%25lo]:5000",
        "[fe80::1%lo]:5000",
        "localhost:5000:5000",
        "local\u3002host:5000",
        "\uff4cocalhost:5000",
        "localhost\t:5000",
    ],
)
def test_what_only_some_programs_read_as_an_address_names_no_image(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        Reference.parse(f"{text}/shop/app:1")


@given(st.text() | st.from_regex(r"[a-zA-Z0-9:.\[\]-]{0,30}", fullmatch=True))
def test_a_spelling_is_stable(text: str) -> None:
    try:
        known = canonical_registry(text)
    except ValueError:
        return
    assert canonical_registry(known) == known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Quay.IO", "quay.io"),
        ("quay.io:443", "quay.io"),
        ("quay.io.", "quay.io"),
        ("registry.hub.docker.com", "docker.io"),
        ("Index.Docker.io:443", "docker.io"),
        ("[2001:DB8:0::1]:05000", "[2001:db8::1]:5000"),
    ],
)
def test_other_registries_have_one_spelling_too(text: str, expected: str) -> None:
    assert canonical_registry(text) == expected


@pytest.mark.parametrize(
    "text", ["nexus:443/team/app:1", "nexus./team/app:1", "NEXUS:0443/team/app:1"]
)
def test_a_host_without_a_dot_stays_a_host_when_it_is_written(text: str) -> None:
    found = Reference.parse(text)
    assert found.registry == "nexus:443"
    assert Reference.parse(str(found)) == found
