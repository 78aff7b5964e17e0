"""Decision whether a rebase is safe. What is unknown is not."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.formats.s2i.contract import SCRIPTS_LABEL, image_path
from upwell.oci.rebase.documents import RebasedImage
from upwell.oci.rebase.merging import SettingValues, shown
from upwell.oci.rebase.records import (
    BASE_DIGEST,
    BASE_MANIFEST,
    BASE_NAME,
    BUILDPACKS,
    REBASABLE,
)
from upwell.policy.rebase.comparison import BaseUpdate, TooMuchToCompareError
from upwell.policy.rebase.copies import copy_findings
from upwell.policy.rebase.files import file_findings
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding
from upwell.policy.rebase.layered_files import parents
from upwell.policy.rebase.platforms import platform_findings
from upwell.policy.rebase.programs import program_findings
from upwell.policy.rebase.steps import changed_variables, reader_findings, step_findings

_MADE_OF_VARIABLES = (
    "WorkingDir",
    "User",
    "Entrypoint",
    "Cmd",
    "Healthcheck",
    "Volumes",
    "ExposedPorts",
)
"""Fields in which a Dockerfile may name variables, or whose words are likely to have been."""
_MOST_LOOKED_THROUGH = 20_000_000
"""Characters: less than a second."""
_RECORDS = frozenset({BASE_NAME, BASE_DIGEST, BASE_MANIFEST, BUILDPACKS})


@dataclass(frozen=True, slots=True)
class UnreadLayer:
    """A layer that could not be looked at."""

    digest: str
    why: str


def rebase_findings(
    image: RebasedImage, update: BaseUpdate, *, runs_scripts: bool = False
) -> list[RebaseFinding]:
    """Return the reasons against a rebase, all layers of which are known; none: it is safe.

    `runs_scripts`: a build runs Source-to-Image scripts of its base.
    """
    old, new = image.old.image.settings, image.new.image.settings
    found = document_findings(image)
    try:
        found += file_findings(update)
        found += copy_findings(update)
        found += _covered(image, update)
        found += program_findings(update, image.merged.settings)
        found += platform_findings(update, old, new, image.merged.settings)
        found += reader_findings(image, update)
        found += _scripts(image, update) if runs_scripts else ()
    except TooMuchToCompareError:
        why = "image and bases have more programs and libraries than can be compared"
        found.append(RebaseFinding(RebaseFault.UNKNOWN, why))
    return found


def unread_findings(unread: Sequence[UnreadLayer]) -> list[RebaseFinding]:
    """Return that nothing is known of layers, which speaks against a rebase."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for layer in unread:
        reasons[layer.why].append(layer.digest)
    return [
        RebaseFinding(RebaseFault.UNKNOWN, f"{_layers(digests)} cannot be looked at: {why}")
        for why, digests in reasons.items()
    ]


def _layers(digests: Sequence[str]) -> str:
    others = len(digests) - 1
    return f"layer {digests[0]}" + (f" and {others} more" if others else "")


def document_findings(image: RebasedImage) -> list[RebaseFinding]:
    """Return the reasons that the documents of image and bases give, without a look at layers."""
    old, new = image.old.image, image.new.image
    return [
        *_opt_outs(image),
        *_on_build(old.settings, "old"),
        *_on_build(new.settings, "new"),
        *step_findings(image),
        *_derived(image),
        *_uncovered(image),
        *(
            RebaseFinding(RebaseFault.SETTING_CONFLICT, f"{conflict.path}: {conflict.why}")
            for conflict in image.merged.conflicts
        ),
    ]


def _derived(image: RebasedImage) -> Iterator[RebaseFinding]:
    """Yield settings of the image that have the value of a variable which the base changes."""
    old = image.old.image.settings
    below, above = SettingValues(old), SettingValues(image.image.settings)
    own = dict(_own_texts(old, image.source.settings))
    variables = {
        change.path.removeprefix("Env."): str(change.before)
        for change in image.merged.changes
        if change.path.startswith("Env.") and change.before
        if below.value(change.path) == change.before
    }
    if len(variables) * sum(map(len, own.values())) > _MOST_LOOKED_THROUGH:
        why = "the base changes more variables than can be looked for in all settings"
        yield RebaseFinding(RebaseFault.UNKNOWN, why)
        return
    for name, before in variables.items():
        value = re.compile(rf"(?<![A-Za-z0-9]){re.escape(before)}(?![A-Za-z0-9])")
        for path, text in own.items():
            if value.search(text) and value.search(str(above.value(path))):
                why = f"{path} may be made of {name}, which was {shown(before)} in the old base"
                yield RebaseFinding(RebaseFault.SETTING_CONFLICT, why)


def _own_texts(old: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings that are not those of the old base, each as a text."""
    for name in ("Env", "Labels", *_MADE_OF_VARIABLES):
        value, before = settings.get(name), old.get(name)
        if name == "Env" and isinstance(value, list):
            entries = [str(one).partition("=") for one in value]
            value = {key: text for key, _, text in entries}
            before = dict(str(one).split("=", 1) for one in before or () if "=" in str(one))
        if isinstance(value, dict) and name in {"Env", "Labels"}:
            known = before if isinstance(before, dict) else {}
            for key, text in value.items():
                if text != known.get(key) and key not in _RECORDS:
                    yield f"{name}.{key}", str(text)
        elif value and value != before:
            yield name, json.dumps(value)


def _uncovered(image: RebasedImage) -> Iterator[RebaseFinding]:
    """Yield the volumes of the old base alone: what steps wrote there, no layer has."""
    for change in image.merged.changes if image.own_layers else ():
        name, _, path = change.path.partition(".")
        if name == "Volumes" and change.after is None:
            why = f"the old base declares the volume {path}, and the new does not: a build would"
            yield RebaseFinding(RebaseFault.SETTING_CONFLICT, f"{why} keep what its steps write")


def _covered(image: RebasedImage, update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield the volumes of the new base that would cover files of the image."""
    declared = [
        path
        for change in image.merged.changes
        for field, _, path in [change.path.partition(".")]
        if field == "Volumes" and change.after is not None
    ]
    covered: dict[str, list[str]] = {path.strip("/"): [] for path in declared}
    for path in update.own.entries if covered else ():
        for folder in parents(path):
            if folder in covered:
                covered[folder].append(path)
    for volume in declared:
        if paths := covered[volume.strip("/")]:
            why = f"the new base declares the volume {volume}, where the image has files"
            yield RebaseFinding(RebaseFault.SETTING_CONFLICT, why, tuple(sorted(paths)))


def _scripts(image: RebasedImage, update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield the scripts of the bases that a build runs, and that the base update changes."""
    urls = [base.image.labels.get(SCRIPTS_LABEL) or "" for base in (image.old, image.new)]
    folders = [path.strip("/") for path in map(image_path, urls) if path is not None]
    changed = sorted(
        path for path in update.changed if any(path.startswith(f"{one}/") for one in folders)
    )
    if changed:
        why = "a build would run other scripts of its builder image"
        yield RebaseFinding(RebaseFault.BUILD_SCRIPT, why, tuple(changed))
    if variables := sorted(changed_variables(image)):
        why = f"a build's scripts may read {variables[0]}, which the base update changes"
        yield RebaseFinding(RebaseFault.BUILD_SCRIPT, why)


def _opt_outs(image: RebasedImage) -> Iterator[RebaseFinding]:
    labels = image.merged.settings.get("Labels")
    if isinstance(labels, dict) and str(labels.get(REBASABLE)).lower() == "false":
        yield RebaseFinding(RebaseFault.OPT_OUT, f"its label {REBASABLE} says no")


def _on_build(settings: Mapping[str, Any], which: str) -> Iterator[RebaseFinding]:
    if settings.get("OnBuild"):
        why = f"the {which} base has ONBUILD instructions, which a build alone carries out"
        yield RebaseFinding(RebaseFault.ON_BUILD, why)
