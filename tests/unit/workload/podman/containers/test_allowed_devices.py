"""Devices that instances may have."""

from dataclasses import replace

import pytest

from upwell.oci import Reference
from upwell.workload.errors import ForbiddenError
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner
from upwell.workload.podman.containers.devices import MissingDeviceError, refuse_devices

WEB = ContainerSpec("web", Reference.parse("localhost/web"))


def spec(*devices: str) -> InstanceSpec:
    container = replace(WEB, devices=devices)
    return InstanceSpec("web-1", Owner("Deployment", "shop", "web"), "rev", (container,))


@pytest.mark.parametrize(
    ("device", "allowed"),
    [
        ("/dev/null:/dev/x:r", ("/dev/null",)),
        ("/dev/null", ("/dev",)),
        ("nvidia.com/gpu=0", ("nvidia.com/gpu",)),
        ("nvidia.com/gpu=0", ("nvidia.com/gpu=0",)),
    ],
)
def test_what_is_allowed_is_given(device: str, allowed: tuple[str, ...]) -> None:
    refuse_devices(spec(device), allowed)


@pytest.mark.parametrize(
    ("device", "allowed"),
    [
        ("/dev/null", ()),
        ("/dev/null", ("/dev/nul", "nvidia.com/gpu")),
        ("/dev/dri/../null", ("/dev/dri",)),
        ("nvidia.com/gpu=0", ("nvidia.com/gpu=1", "/")),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(device: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(ForbiddenError, match=r"container web of web-1: device .*allowed-devices"):
        refuse_devices(spec(device), allowed)


def test_a_device_that_is_missing_is_named_and_tried_again() -> None:
    with pytest.raises(MissingDeviceError, match="/dev/none is not there") as missing:
        refuse_devices(spec("/dev/none"), ("/dev",))
    assert missing.value.retryable
