"""Devices among the resources of a container."""

import pytest

from upwell.api.values.devices import device_of, is_cdi_device, path_of, resource_of


@pytest.mark.parametrize(
    ("device", "resource", "path"),
    [
        ("/dev/dri", "podman.io/device=/dev/dri", "/dev/dri"),
        ("/dev/a:/dev/b:rwm", "podman.io/device=/dev/a:/dev/b:rwm", "/dev/a"),
        ("nvidia.com/gpu=all", "nvidia.com/gpu=all", "nvidia.com/gpu=all"),
        ("vendor.com/net=GPU-1:0", "vendor.com/net=GPU-1:0", "vendor.com/net=GPU-1:0"),
    ],
)
def test_a_device_is_a_resource_and_back(device: str, resource: str, path: str) -> None:
    assert resource_of(device) == resource
    assert device_of(resource) == device
    assert path_of(device) == path


@pytest.mark.parametrize(
    "resource",
    ["cpu", "nvidia.com/gpu", "podman.io/device=/etc/passwd", "podman.io/device=/dev/a:b", "a=b"],
)
def test_other_resources_are_no_devices(resource: str) -> None:
    assert device_of(resource) == ""
    assert not is_cdi_device(resource)
