"""Rules of a Wave beyond its types."""

from collections.abc import Iterator

from pydantic.alias_generators import to_camel

from upwell.api.values.faults import Fault
from upwell.api.waves.wave import ENDED_WAVES, Wave, WaveApproval
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference

_IS_THE_CHANGE = "field is immutable: another change is another Wave"


def validate_wave(wave: Wave) -> Iterator[Fault]:
    """Yield every fault of a Wave."""
    try:
        Reference.parse(wave.spec.image)
    except InvalidReferenceError as error:
        yield Fault("spec.image", str(error))
    digests = {"digest": wave.spec.digest, "previous": wave.spec.previous}
    for name, digest in digests.items():
        try:
            if digest or name == "digest":
                Digest.parse(digest)
        except InvalidDigestError as error:
            yield Fault(f"spec.{name}", str(error))


def immutable_wave_faults(new: Wave, old: Wave) -> Iterator[Fault]:
    """Yield the fields of the change itself that an update would change."""
    for name in ("image", "digest", "previous", "changed", "requested_by"):
        value = getattr(new.spec, name)
        if value != getattr(old.spec, name):
            yield Fault.invalid(f"spec.{to_camel(name)}", str(value), _IS_THE_CHANGE)
    if old.spec.approval is WaveApproval.MANUAL and new.spec.approval is not old.spec.approval:
        yield Fault.forbidden(
            "spec.approval", f"it needs an approval: `upwell wave approve {old.name}`"
        )
    if new.spec.paused and not old.spec.paused and old.status.phase in ENDED_WAVES:
        yield Fault.forbidden("spec.paused", f"it has ended: {old.status.message}")
