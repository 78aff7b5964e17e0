"""Devices of a service: paths of the machine, and GPUs, as Podman's `--device` takes them.

A GPU is a CDI device, as `nvidia-ctk cdi generate` declares them: VENDOR/gpu=NUMBER, UUID or all.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.values.devices import is_cdi_device, is_device
from upwell.formats.compose import values
from upwell.formats.compose.document import Document, Path

_VENDORS = {"": "nvidia.com", "nvidia": "nvidia.com", "amd": "amd.com", "intel": "intel.com"}
_EVERY = {"all", "-1"}
_COUNT = re.compile(r"[1-9][0-9]?")
"""GPUs that may be asked for by their number: no machine has more than some dozens."""


def read_devices(document: Document, path: Path, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what `devices`, `gpus` and the reservations of `deploy` ask for."""
    found = [*_paths(document, (*path, "devices"), body.get("devices"))]
    gpus = body.get("gpus")
    requests = [{"count": gpus}] if isinstance(gpus, str | int) else gpus
    found += _requests(document, (*path, "gpus"), requests, {"gpu"})
    below: Any = body
    for key in ("deploy", "resources", "reservations"):
        below = below.get(key) if isinstance(below, Mapping) else None
    reserved = below.get("devices") if isinstance(below, Mapping) else None
    place = (*path, "deploy", "resources", "reservations", "devices")
    found += _requests(document, place, reserved, set())
    return tuple(dict.fromkeys(found))


def _paths(document: Document, path: Path, value: Any) -> Iterator[str]:
    if value is not None and not isinstance(value, list):
        document.fault(path, "must be a list")
        return
    for at, entry in enumerate(value or ()):
        if isinstance(entry, Mapping):
            parts = [str(entry.get(key) or "") for key in ("source", "target", "permissions")]
            text = ":".join(part for part in parts if part)
        else:
            text = str(entry)
        if is_device(text):
            yield text
        else:
            document.fault((*path, at), f"{text!r} is no device: /dev/NAME, or VENDOR/CLASS=NAME")


def _requests(document: Document, path: Path, value: Any, given: set[str]) -> Iterator[str]:
    """Yield the devices of requests; they have the capabilities `given` besides their own."""
    if value is not None and not isinstance(value, list):
        document.fault(path, "must be a list")
        return
    for at, entry in enumerate(value or ()):
        place = (*path, at)
        request = values.mapping(document, place, entry)
        capabilities = given | set(
            values.texts(document, (*place, "capabilities"), request.get("capabilities"))
        )
        ids = values.texts(document, (*place, "device_ids"), request.get("device_ids"))
        count = values.text(document, (*place, "count"), request.get("count")) or "all"
        driver = values.text(document, (*place, "driver"), request.get("driver"))
        devices = requested_devices(driver, count, ids, capabilities)
        if devices:
            yield from devices
        else:
            document.fault(
                place,
                "not supported: only GPUs of NVIDIA, AMD and Intel (capabilities: [gpu]; 1 to 99 of"
                " them, or all), and the driver cdi with device_ids",
            )


def requested_devices(
    driver: str, count: str, ids: tuple[str, ...], capabilities: set[str]
) -> tuple[str, ...]:
    """Return the CDI devices of a request to Docker; none where nobody knows what it is."""
    if driver == "cdi":
        return ids if all(map(is_cdi_device, ids)) else ()
    vendor = _VENDORS.get(driver)
    if vendor is None or "gpu" not in capabilities:
        return ()
    if not ids and count in _EVERY:
        return (f"{vendor}/gpu=all",)
    numbers = ids or tuple(map(str, range(int(count) if _COUNT.fullmatch(count) else 0)))
    found = tuple(f"{vendor}/gpu={one}" for one in numbers)
    return found if all(map(is_cdi_device, found)) else ()
