"""Test how settings of the server become those of builds' Pods."""

from pathlib import Path
from typing import Any

import pytest

from upwell.app.configuration import Configuration, pod_settings, write_configuration
from upwell.settings import AccessSettings, BuildIsolation, KubernetesSettings, ServerSettings
from upwell.settings.kubernetes import KubernetesBuildSettings, ServerPlatform
from upwell.settings.registries import EmbeddedRegistrySettings

IMAGE = "registry.test/upwell:1"


def server(folder: Path, host: str = "10.1.2.3", **changes: Any) -> ServerSettings:
    builds = KubernetesBuildSettings(image=IMAGE, storage="20Gi")
    chosen = {
        "on": ServerPlatform.KUBERNETES,
        "kubernetes": KubernetesSettings(builds=builds),
        "access": AccessSettings(insecure_listen=True),
    }
    return ServerSettings(data_dir=folder, host=host, **(chosen | changes))


@pytest.fixture
def files(tmp_path: Path) -> Configuration:
    conf, authorities = tmp_path / "registries.conf", tmp_path / "authorities"
    conf.write_text("[[registry]]\n")
    authorities.mkdir()
    (authorities / "0.pem").write_bytes(b"-----BEGIN")
    return Configuration(
        "id", tmp_path / "containers.conf", conf, authorities, "vfs", limits_resources=False
    )


def test_pods_have_what_is_set_and_the_registries_of_the_server(
    tmp_path: Path, files: Configuration
) -> None:
    isolation = BuildIsolation(host_network=True)
    pods = pod_settings(server(tmp_path, build_isolation=isolation), files)
    assert pods is not None
    assert (pods.image, pods.storage, pods.allow_host_network) == (IMAGE, "20Gi", True)
    assert pods.registries.conf == "[[registry]]\n"
    assert pods.registries.authorities == (b"-----BEGIN",)
    assert pods.unreachable == frozenset()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_registry_on_loopback_is_out_of_reach(
    tmp_path: Path, files: Configuration, host: str
) -> None:
    pods = pod_settings(server(tmp_path, host), files)
    assert pods is not None
    assert pods.unreachable == {"127.0.0.1:7080"}


def test_a_registry_with_an_address_is_reached(tmp_path: Path, files: Configuration) -> None:
    address = EmbeddedRegistrySettings(address="upwell.upwell.svc")
    pods = pod_settings(server(tmp_path, "0.0.0.0", embedded_registry=address), files)
    assert pods is not None
    assert pods.unreachable == frozenset()


async def test_pods_trust_the_authority_of_a_registry_with_an_address(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(b"-----BEGIN OURS")
    address = EmbeddedRegistrySettings(address="upwell.upwell.svc")
    settings = server(tmp_path, embedded_registry=address, access=AccessSettings(tls=True))
    written = await write_configuration(settings, authority=authority)
    pods = pod_settings(settings, written)
    assert pods is not None
    assert pods.registries.authorities == (b"-----BEGIN OURS",)


@pytest.mark.parametrize(
    "changes", [{"on": ServerPlatform.MACHINE}, {"kubernetes": KubernetesSettings()}]
)
def test_on_one_machine_and_without_an_image_no_pods_build(
    tmp_path: Path, files: Configuration, changes: dict[str, Any]
) -> None:
    assert pod_settings(server(tmp_path, **changes), files) is None
