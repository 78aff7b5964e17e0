"""Decision whether a rebase is safe. What is unknown is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.oci.rebase.documents import RebasedImage
from upwell.oci.rebase.records import REBASABLE
from upwell.policy.rebase.comparison import BaseUpdate
from upwell.policy.rebase.files import file_findings
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding
from upwell.policy.rebase.platforms import platform_findings
from upwell.policy.rebase.programs import program_findings

_STEPS_DEPEND_ON = ("User", "WorkingDir", "Shell")


@dataclass(frozen=True, slots=True)
class UnreadLayer:
    """A layer that could not be looked at."""

    digest: str
    why: str


def rebase_findings(image: RebasedImage, update: BaseUpdate) -> list[RebaseFinding]:
    """Return the reasons against a rebase, all layers of which are known; none: it is safe."""
    old, new = image.old.image.settings, image.new.image.settings
    return [
        *document_findings(image),
        *file_findings(update),
        *_covered(image, update),
        *program_findings(update, image.merged.settings),
        *platform_findings(update, old, new, image.merged.settings),
    ]


def unread_findings(unread: Sequence[UnreadLayer]) -> list[RebaseFinding]:
    """Return that nothing is known of layers, which speaks against a rebase."""
    return [
        RebaseFinding(RebaseFault.UNKNOWN, f"layer {layer.digest} cannot be looked at: {layer.why}")
        for layer in unread
    ]


def document_findings(image: RebasedImage) -> list[RebaseFinding]:
    """Return the reasons that the documents of image and bases give, without a look at layers."""
    old, new = image.old.image, image.new.image
    return [
        *_opt_outs(image),
        *_on_build(old.settings, "old"),
        *_on_build(new.settings, "new"),
        *_build_settings(image),
        *(
            RebaseFinding(RebaseFault.SETTING_CONFLICT, f"{conflict.path}: {conflict.why}")
            for conflict in image.merged.conflicts
        ),
    ]


def _build_settings(image: RebasedImage) -> Iterator[RebaseFinding]:
    """Yield the defaults by which a build runs its steps, and which the base update changes."""
    old, new = image.old.image.settings, image.new.image.settings
    for name in _STEPS_DEPEND_ON:
        was, now = old.get(name) or None, new.get(name) or None
        if image.own_layers and was != now:
            why = f"{name} was {was!r} in the old base, in which it was built, and is {now!r}"
            yield RebaseFinding(RebaseFault.BUILD_SETTING, why)


def _covered(image: RebasedImage, update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield the volumes of the new base that would cover files of the image."""
    for change in image.merged.changes:
        field, _, path = change.path.partition(".")
        if field != "Volumes" or change.after is None:
            continue
        folder = path.strip("/")
        paths = [one for one in update.own.entries if one.startswith(f"{folder}/")]
        if paths:
            why = f"the new base declares the volume {path}, where the image has files"
            yield RebaseFinding(RebaseFault.SETTING_CONFLICT, why, tuple(sorted(paths)))


def _opt_outs(image: RebasedImage) -> Iterator[RebaseFinding]:
    labels = image.merged.settings.get("Labels")
    if isinstance(labels, dict) and str(labels.get(REBASABLE)).lower() == "false":
        yield RebaseFinding(RebaseFault.OPT_OUT, f"its label {REBASABLE} says no")


def _on_build(settings: Mapping[str, Any], which: str) -> Iterator[RebaseFinding]:
    if settings.get("OnBuild"):
        why = f"the {which} base has ONBUILD instructions, which a build alone carries out"
        yield RebaseFinding(RebaseFault.ON_BUILD, why)
