"""Devices of the machine among the resources of a container, named as Podman names them there.

`resources.limits` has `podman.io/device=/dev/dri: 1` for a path, and `nvidia.com/gpu=all: 1` for a
device of a CDI specification on the machine. Sources: podman-kube-play(1), podman-run(1) --device,
https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md.
"""

import re

_PREFIX = "podman.io/device="
_PATH = re.compile(r"/dev/[^:=\s]+(?::/[^:\s]+)?(?::[rwm]{1,3})?")
_CDI = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z][A-Za-z0-9._-]*=[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)


def is_cdi_device(text: str) -> bool:
    """Return True for a device's qualified name, VENDOR/CLASS=NAME."""
    return not text.startswith(_PREFIX) and _CDI.fullmatch(text) is not None


def is_device(text: str) -> bool:
    """Return True for what `--device` takes: HOST[:CONTAINER][:PERMISSIONS], or a CDI device."""
    return is_cdi_device(text) or _PATH.fullmatch(text) is not None


def device_of(resource: str) -> str:
    """Return the device that a resource is, as `--device` takes it; empty: it is none."""
    if resource.startswith(_PREFIX):
        path = resource.removeprefix(_PREFIX)
        return path if _PATH.fullmatch(path) else ""
    return resource if is_cdi_device(resource) else ""


def resource_of(device: str) -> str:
    """Return the resource of what `--device` takes."""
    return device if is_cdi_device(device) else f"{_PREFIX}{device}"


def path_of(device: str) -> str:
    """Return the path on the machine; of a CDI device, its name."""
    return device if is_cdi_device(device) else device.partition(":")[0]
