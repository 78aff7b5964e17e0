"""Rules of a Wave beyond its types."""

from collections.abc import Collection, Iterator, Mapping

from pydantic.alias_generators import to_camel

from upwell.api.image import ImageStream
from upwell.api.values.faults import Fault
from upwell.api.waves.wave import (
    APPROVAL_ANNOTATION,
    ENDED_WAVES,
    SEVERITIES,
    SEVERITY,
    Wave,
    WaveApproval,
)
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
    yield from _one_of(wave.metadata.labels, "labels", SEVERITY, SEVERITIES)


def stream_wave_faults(stream: ImageStream) -> Iterator[Fault]:
    """Yield the annotations of an ImageStream about Waves whose values are not known."""
    yield from _one_of(stream.annotations, "annotations", APPROVAL_ANNOTATION, WaveApproval)
    yield from _one_of(stream.annotations, "annotations", SEVERITY, SEVERITIES)


def _one_of(
    found: Mapping[str, str], field: str, name: str, values: Collection[str]
) -> Iterator[Fault]:
    value = found.get(name)
    if value is not None and value not in tuple(values):
        yield Fault.not_supported(f"metadata.{field}[{name}]", value, values)


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
