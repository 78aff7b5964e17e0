"""Plans of rebases, for people and as JSON data."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.oci import Descriptor
from upwell.oci.rebase.documents import NamedBase, RebasedImage
from upwell.policy.rebase.plan import PlatformPlan, RebasePlan


def plan_lines(plan: RebasePlan, *, checked: bool) -> Iterator[str]:
    """Yield what a rebase changes, and whether it is safe."""
    for one in plan.platforms:
        yield f"{plan.image} ({one.platform})"
        if one.rebased is None:
            yield f"  is on {one.new.name} already"
            continue
        yield from _base_lines(one.rebased)
        yield from _change_lines(one.rebased)
        yield from _verdict(one, checked=checked)
    for entry in plan.dropped:
        yield f"left out: {entry.digest}, which is about the images before"
    if not plan.is_current:
        yield "signatures and SBOMs of the image before are not those of the new digest"


def verdict_lines(plan: RebasePlan) -> Iterator[str]:
    """Yield why a rebase is not safe."""
    for one in plan.platforms:
        for finding in one.findings:
            yield f"{one.platform}: {finding}"


def plan_data(plan: RebasePlan, *, written: bool, checked: bool) -> dict[str, Any]:
    """Return a plan as JSON data."""
    return {
        "image": str(plan.image),
        "target": str(plan.target.name),
        "digest": str(plan.digest),
        "current": plan.is_current,
        "safe": plan.is_safe if checked else None,
        "written": written,
        "platforms": [_platform_data(one) for one in plan.platforms],
        "leftOut": [str(entry.digest) for entry in plan.dropped],
    }


def _platform_data(one: PlatformPlan) -> dict[str, Any]:
    data: dict[str, Any] = {
        "platform": str(one.platform),
        "from": str(one.source.digest),
        "newBase": _base_data(one.new),
    }
    if (made := one.rebased) is None:
        return {**data, "current": True}
    return {
        **data,
        "current": False,
        "to": str(made.manifest.digest),
        "oldBase": _base_data(made.old),
        "changes": [
            {"path": change.path, "before": change.before, "after": change.after}
            for change in made.merged.changes
        ],
        "ownLayers": [_layer_data(layer) for layer in made.own_layers],
        "findings": [
            {"reason": str(one.fault), "message": one.why, "paths": list(one.paths)}
            for one in one.findings
        ],
    }


def _base_data(base: NamedBase) -> Mapping[str, Any]:
    return {
        "name": str(base.name),
        "digest": str(base.digest),
        "manifest": str(base.image.digest),
        "layers": [_layer_data(layer) for layer in base.image.layers],
    }


def _layer_data(layer: Descriptor) -> Mapping[str, Any]:
    return {"digest": str(layer.digest), "size": layer.size}


def _base_lines(made: RebasedImage) -> Iterator[str]:
    for title, base, sign in (("old", made.old, "-"), ("new", made.new, "+")):
        yield f"  {title} base {base.name.name}@{base.image.digest}"
        for layer in base.image.layers:
            yield f"  {sign} layer {layer.digest} ({layer.size} bytes)"
    for layer in made.own_layers:
        yield f"    layer {layer.digest} ({layer.size} bytes)"


def _change_lines(made: RebasedImage) -> Iterator[str]:
    if not made.merged.changes:
        yield "  the configuration stays"
    for change in made.merged.changes:
        yield f"  {change.path}: {_shown(change.before)} -> {_shown(change.after)}"


def _verdict(one: PlatformPlan, *, checked: bool) -> Iterator[str]:
    for finding in one.findings:
        yield f"  not safe: {finding}"
    if not one.findings:
        yield (
            "  safe: nothing of the image depends on what the base update changes"
            if checked
            else "  unknown: the layers were not looked into"
        )


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
