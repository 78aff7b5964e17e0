"""Devices of the machine: which of them instances may have."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from upwell.api.values.devices import is_cdi_device, path_of
from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError
from upwell.workload.instance_spec import InstanceSpec


class MissingDeviceError(RuntimeUnavailableError):
    """The machine has no such device, at the moment."""

    reason = "DeviceNotFound"


def refuse_devices(spec: InstanceSpec, allowed: Collection[str]) -> None:
    """Raise ForbiddenError for a device that is not allowed, MissingDeviceError for none.

    `allowed` has paths, with all below them, and names or kinds (`nvidia.com/gpu`) of CDI devices.
    """
    for container in (*spec.init, *spec.containers):
        for device in container.devices:
            name = path_of(device)
            about = f"container {container.name} of {spec.name}: device {name}"
            if not _is_allowed(name, allowed):
                raise ForbiddenError(
                    f"{about} is not allowed; an administrator can allow it with the setting"
                    " allowed-devices"
                )
            # Podman names the CDI devices that it does not find.
            if not is_cdi_device(device) and not Path(name).exists():
                raise MissingDeviceError(
                    f"{about} is not there: is it plugged in, its driver loaded?"
                )


def _is_allowed(name: str, allowed: Collection[str]) -> bool:
    if is_cdi_device(name):
        return name in allowed or name.partition("=")[0] in allowed
    path = PurePosixPath(name)
    return ".." not in path.parts and any(
        path.is_relative_to(one) for one in allowed if one.startswith("/")
    )
