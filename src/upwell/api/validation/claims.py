"""Rules of a PersistentVolumeClaim (Kubernetes' ValidatePersistentVolumeClaim)."""

from collections.abc import Iterator

from upwell.api.core import STORAGE
from upwell.api.storage import BLOCK, PersistentVolumeClaim
from upwell.api.validation.formats import subdomain_problem
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity

_ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
_VOLUME_MODES = (BLOCK, "Filesystem")


def validate_claim(claim: PersistentVolumeClaim) -> Iterator[Fault]:
    """Yield every fault of a claim."""
    spec = claim.spec
    if not spec.access_modes:
        yield Fault.required("spec.accessModes", "at least 1 access mode is required")
    for at, mode in enumerate(spec.access_modes):
        if mode not in _ACCESS_MODES:
            yield Fault.not_supported(f"spec.accessModes[{at}]", mode, _ACCESS_MODES)
    if STORAGE not in spec.resources.requests:
        yield Fault.required(f"spec.resources.requests[{STORAGE}]")
    for what, asked in spec.resources.requests.items():
        path = f"spec.resources.requests[{what}]"
        try:
            amount = parse_quantity(asked)
        except InvalidQuantityError as error:
            yield Fault.invalid(path, asked, str(error))
            continue
        if what == STORAGE and amount <= 0:
            yield Fault.invalid(path, asked, "must be greater than zero")
    name = spec.storage_class_name
    if name and (why := subdomain_problem(name)):
        yield Fault.invalid("spec.storageClassName", name, why)
    if spec.volume_mode is not None and spec.volume_mode not in _VOLUME_MODES:
        yield Fault.not_supported("spec.volumeMode", spec.volume_mode, _VOLUME_MODES)
