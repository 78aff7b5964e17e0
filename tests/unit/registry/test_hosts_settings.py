import tomllib
from pathlib import Path

import pytest

from upwell.oci import Digest, Reference
from upwell.registry.errors import BlockedError
from upwell.registry.hosts import (
    PullFrom,
    RegistryHost,
    RegistryHosts,
    RegistryLimits,
    RegistryMirror,
    is_loopback,
)


def test_the_longest_prefix_decides() -> None:
    hosts = RegistryHosts(
        [
            RegistryHost("quay.io"),
            RegistryHost("quay.io/team/secret", blocked=True),
            RegistryHost("quay.io/team"),
            RegistryHost("*.example.com"),
            RegistryHost("eu.example.com"),
        ]
    )

    def prefix(name: str) -> str | None:
        host = hosts.find(name)
        return host.prefix if host else None

    assert prefix("quay.io/other/app") == "quay.io"
    assert prefix("quay.io/team/app") == "quay.io/team"
    assert prefix("quay.io/teamwork/app") == "quay.io"
    assert prefix("us.example.com:5000/app") == "*.example.com"
    assert prefix("eu.example.com/app") == "eu.example.com"
    assert prefix("example.com/app") is None


def test_a_blocked_name_is_refused_with_the_prefix_that_blocks_it() -> None:
    hosts = RegistryHosts([RegistryHost("quay.io/team", blocked=True)])
    with pytest.raises(BlockedError, match=r"quay\.io/team/app is blocked .* quay\.io/team"):
        hosts.endpoint(Reference.parse("quay.io/team/app:1"))


def test_a_location_takes_the_place_of_the_prefix() -> None:
    hosts = RegistryHosts([RegistryHost("docker.io/library", location="mirror.test:5000/hub")])
    endpoint = hosts.endpoint(Reference.parse("debian:12"))
    assert endpoint.name == "mirror.test:5000/hub/debian"
    assert endpoint.authority == "mirror.test:5000"
    assert hosts.endpoint(Reference.parse("team/app")).name == "docker.io/team/app"


def test_docker_hub_is_reached_at_its_registry_host() -> None:
    endpoint = RegistryHosts().endpoint(Reference.parse("debian"))
    assert (endpoint.registry, endpoint.authority) == ("docker.io", "registry-1.docker.io")
    assert endpoint.schemes == ("https",)


def test_an_authority_of_a_host_is_trusted_where_no_setting_names_one() -> None:
    own, named = Path("own.pem"), Path("named.pem")
    settings = [RegistryHost("upwell.test:5001", ca_file=named)]
    hosts = RegistryHosts(settings, {"upwell.test": own, "::1": own})

    files = {
        text: hosts.endpoint(Reference.parse(f"{text}/team/app")).ca_file
        for text in ("upwell.test", "upwell.test:5000", "upwell.test:5001", "[::1]:5000", "quay.io")
    }
    assert list(files.values()) == [own, own, named, own, None]


@pytest.mark.parametrize(
    ("text", "insecure", "schemes"),
    [
        ("quay.io/a/b", False, ("https",)),
        ("quay.io/a/b", True, ("https", "http")),
        ("localhost:5000/a", False, ("https", "http")),
        ("127.0.0.1:5000/a", False, ("https", "http")),
        ("[::1]:5000/a", False, ("https", "http")),
        ("10.0.0.1:5000/a", False, ("https",)),
    ],
)
def test_plain_http_is_for_loopback_and_insecure_registries(
    *, text: str, insecure: bool, schemes: tuple[str, ...]
) -> None:
    endpoint = RegistryHosts().endpoint(Reference.parse(text), insecure=insecure)
    assert endpoint.schemes == schemes
    assert endpoint.insecure == insecure


@pytest.mark.parametrize(
    ("authority", "loopback"),
    [
        ("localhost", True),
        ("127.8.9.1:80", True),
        ("[::1]", True),
        ("::1", True),
        ("localhost.evil.test", False),
        ("127.0.0.1.nip.test:80", False),
        ("[::2]:80", False),
    ],
)
def test_loopback_names(*, authority: str, loopback: bool) -> None:
    assert is_loopback(authority) is loopback


def test_limits_are_found_by_the_registry_that_is_reached() -> None:
    hosts = RegistryHosts([RegistryHost("quay.io", limits=RegistryLimits(2, 5.0))])
    assert hosts.limits("quay.io") == RegistryLimits(2, 5.0)
    assert hosts.limits("docker.io").concurrency == 8


@pytest.mark.parametrize("limits", [(0, None), (1, 0.0), (1, -2.0)])
def test_limits_must_let_something_through(limits: tuple[int, float | None]) -> None:
    with pytest.raises(ValueError, match="positive"):
        RegistryLimits(*limits)


def test_a_wildcard_has_no_location() -> None:
    with pytest.raises(ValueError, match="wildcard"):
        RegistryHost("*.example.com", location="mirror.test")


def test_the_rendered_file_says_the_same_to_buildah_and_podman() -> None:
    hosts = RegistryHosts(
        [
            RegistryHost("docker.io", location="mirror.test/hub"),
            RegistryHost("127.0.0.1:5000", ca_file=Path("/etc/ca.pem")),
            RegistryHost("*.bad.test", blocked=True),
            RegistryHost('odd"\\name', insecure=True),
        ]
    )
    document = tomllib.loads(hosts.render_registries_conf())
    assert document["unqualified-search-registries"] == []
    by_prefix = {entry.pop("prefix"): entry for entry in document["registry"]}
    assert by_prefix == {
        "docker.io": {"location": "mirror.test/hub"},
        "127.0.0.1:5000": {"location": "127.0.0.1:5000", "insecure": True},
        "*.bad.test": {"blocked": True},
        'odd"\\name': {"location": 'odd"\\name', "insecure": True},
    }


def test_no_settings_render_as_a_valid_file() -> None:
    assert tomllib.loads(RegistryHosts().render_registries_conf()) == {
        "unqualified-search-registries": []
    }


def test_mirrors_are_asked_in_turn_and_the_location_last() -> None:
    mirrors = (
        RegistryMirror("mirror.test:5000/hub", insecure=True),
        RegistryMirror("pinned.test", pulls=PullFrom.DIGEST_ONLY),
        RegistryMirror("moving.test", pulls=PullFrom.TAG_ONLY),
    )
    hosts = RegistryHosts([RegistryHost("vendor.test", location="real.test", mirrors=mirrors)])
    tagged = Reference.parse("vendor.test/team/app:1")
    pinned = tagged.with_digest(Digest.of(b"x"))
    names = [endpoint.name for endpoint in hosts.endpoints(tagged)]
    assert names == ["mirror.test:5000/hub/team/app", "moving.test/team/app", "real.test/team/app"]
    assert [endpoint.name for endpoint in hosts.endpoints(pinned)] == [
        "mirror.test:5000/hub/team/app",
        "pinned.test/team/app",
        "real.test/team/app",
    ]
    assert hosts.endpoints(tagged)[0].schemes == ("https", "http")
    assert hosts.endpoints(tagged)[1].schemes == ("https",)
    assert hosts.endpoint(tagged).name == "real.test/team/app"


def test_a_mirror_of_every_subdomain_takes_the_hosts_place() -> None:
    mirrors = (RegistryMirror("cache.test/all"),)
    hosts = RegistryHosts([RegistryHost("*.vendor.test", mirrors=mirrors)])
    reference = Reference.parse("eu.vendor.test/team/app:1")
    names = [endpoint.name for endpoint in hosts.endpoints(reference)]
    assert names == ["cache.test/all/team/app", "eu.vendor.test/team/app"]


def test_mirrors_are_handed_on_to_buildah_and_podman() -> None:
    mirrors = (
        RegistryMirror("mirror.test", insecure=True),
        RegistryMirror("127.0.0.1:5000", pulls=PullFrom.DIGEST_ONLY),
    )
    text = RegistryHosts([RegistryHost("vendor.test", mirrors=mirrors)]).render_registries_conf()
    (registry,) = tomllib.loads(text)["registry"]
    assert registry["mirror"] == [
        {"location": "mirror.test", "insecure": True},
        {"location": "127.0.0.1:5000", "insecure": True, "pull-from-mirror": "digest-only"},
    ]


def test_a_mirror_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        RegistryMirror("/")
