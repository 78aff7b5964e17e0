"""Views of a plan: a tree, data, a graph in the languages of Graphviz and Mermaid; pure."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from upwell.api.meta import format_time
from upwell.api.values.base_changes import OnBaseChange
from upwell.api.waves.plan import ImpactPlanStatus, PlannedObject
from upwell.cli.core.output import shortened
from upwell.cli.explain.tree_lines import tree_lines
from upwell.formats.human_duration import human_duration
from upwell.policy.waves.impact import StepAction

_DONE = {
    StepAction.IMPORT: "has it",
    StepAction.TAG: "has it",
    StepAction.REBUILD: "is built on it",
    StepAction.ROLL_OUT: "runs it",
    StepAction.PROMOTE: "runs it",
}

_ENTITIES = {one: f"#{ord(one)};" for one in '#"<>&%`'}
"""Characters by which a label would end, be a directive (`%%{init: …}%%`), or have markup."""


def plan_lines(plan: ImpactPlanStatus) -> Iterator[str]:
    """Yield the tree: each object with what is done to it, and when, or what stops it."""
    steps = {one.name: one for one in plan.steps}
    targets: dict[str, list[str]] = defaultdict(list)
    for one in plan.steps:
        for source in one.sources:
            targets[source.name].append(one.name)

    def line(name: str) -> str:
        step = steps.get(name)
        if step is None:
            return f"{_root(plan, name)}  changes"
        return f"{_name(step)}  {shortened(_text(step))}"

    yield from tree_lines(plan.images, lambda name: targets.get(name, []), line)


def summary_lines(plan: ImpactPlanStatus) -> Iterator[str]:
    """Yield what will be done in all, how long it takes, and what does not come by itself."""
    summary = plan.summary
    if not summary.builds and not summary.workloads:
        yield "nothing to do: no build and no workload follows it, or all have it already"
        return
    rebases = summary.rebased_if_safe
    yield (
        f"{_count(summary.builds, 'build')}"
        + (f" ({rebases} rebased if that is safe)" if rebases else "")
        + (f" in {_count(summary.levels, 'level')}" if summary.levels else "")
        + f", {_count(summary.workloads, 'workload')}"
    )
    if (canary := plan.canary) is not None:
        length = human_duration(timedelta(seconds=canary.healthy_for_seconds))
        yield (
            f"{_count(canary.workloads, 'workload')} marked as first: the others follow when those"
            f" have been healthy for {length}, which is not in the time"
        )
    if summary.seconds is not None:
        yield _time(plan)
    if summary.not_by_itself:
        yield (
            f"{summary.not_by_itself} of these do not get it by themselves:"
            f" {_count(summary.marked, 'object')} marked with ! must be seen to first"
        )


def hidden_lines(plan: ImpactPlanStatus) -> Iterator[str]:
    """Yield what is counted and not shown, and why."""
    hidden = plan.hidden
    counts = {"build": hidden.builds, "workload": hidden.workloads, "tag": hidden.tags}
    told = [_count(number, what) for what, number in counts.items() if number]
    if told:
        yield f"not shown, as your token cannot read them: {', '.join(told)}"
    if plan.left_out:
        yield f"not shown, as the plan is too long: {_count(plan.left_out, 'object')} more"


def plan_data(plan: ImpactPlanStatus) -> dict[str, Any]:
    """Return the plan as JSON data: the steps in order, each after all that it comes from."""
    summary, hidden, canary = plan.summary, plan.hidden, plan.canary
    return {
        "images": list(plan.images),
        "digest": plan.digest,
        "steps": [_step_data(one) for one in plan.steps],
        "leftOut": plan.left_out,
        "hidden": {"builds": hidden.builds, "workloads": hidden.workloads, "tags": hidden.tags},
        "canary": {
            "share": canary.share,
            "healthyForSeconds": canary.healthy_for_seconds,
            "workloads": canary.workloads,
        }
        if canary is not None
        else None,
        "summary": {
            "builds": summary.builds,
            "rebasedIfSafe": summary.rebased_if_safe,
            "levels": summary.levels,
            "workloads": summary.workloads,
            "notByItself": summary.not_by_itself,
            "seconds": summary.seconds,
            "guessed": summary.guessed,
            "unknown": summary.unknown,
            "buildsAtOnce": summary.builds_at_once,
        },
    }


def dot_lines(plan: ImpactPlanStatus) -> Iterator[str]:
    """Yield the plan as a graph in the DOT language; what does not come by itself is dashed."""
    yield "digraph plan {"
    yield "  rankdir=LR; node [shape=box];"
    numbers, labels = _numbers(plan), _labels(plan)
    stopped = {one.name for one in plan.steps if not one.by_itself}
    for name, number in numbers.items():
        style = " style=dashed" if name in stopped else ""
        label = _line(labels[name]).replace("\\", "\\\\").replace('"', '\\"')
        yield f'  n{number} [label="{label}"{style}];'
    for source, target, comes in _arrows(plan):
        style = "" if comes else " [style=dashed]"
        yield f"  n{numbers[source]} -> n{numbers[target]}{style};"
    yield "}"


def mermaid_lines(plan: ImpactPlanStatus) -> Iterator[str]:
    """Yield the plan as a Mermaid flowchart; what does not come by itself is dashed."""
    yield "flowchart LR"
    numbers, labels = _numbers(plan), _labels(plan)
    for name, number in numbers.items():
        label = _line(labels[name])
        label = "".join(_ENTITIES.get(character, character) for character in label)
        yield f'  n{number}["{label}"]'
    for source, target, comes in _arrows(plan):
        yield f"  n{numbers[source]} {'-->' if comes else '-.->'} n{numbers[target]}"


def _line(label: str) -> str:
    """Return a label as one line: a name that holds another ends no statement of the graph."""
    return " ".join(label.split())


def _time(plan: ImpactPlanStatus) -> str:
    summary = plan.summary
    if summary.unknown and not summary.seconds:
        return "nothing like it has ended yet that tells how long it takes"
    told = [f"{_count(summary.builds_at_once, 'build')} at a time"]
    told += [f"{summary.guessed} by what others took"] if summary.guessed else []
    told += [f"{summary.unknown} left out: nothing tells"] if summary.unknown else []
    whole = human_duration(timedelta(seconds=summary.seconds or 0))
    return f"about {whole} from its import on, by what earlier ones took ({'; '.join(told)})"


def _root(plan: ImpactPlanStatus, name: str) -> str:
    return f"ImageStreamTag {name}" if plan.image_kind == "ImageStreamTag" else name


def _name(step: PlannedObject) -> str:
    return f"ImageStreamTag {step.name}" if step.kind == "ImageStreamTag" else step.name


def _text(step: PlannedObject) -> str:
    if step.done:
        return _done(step)
    parts = [step.action]
    if step.action == StepAction.REBUILD:
        parts = [f"{_answer(step)}, level {step.level}"]
        parts += [f"{_count(step.behind, 'object')} on it"] if step.behind else []
    if step.action == StepAction.PROMOTE and step.stage is not None:
        parts = [f"promote into {step.stage}"]
    if step.first:
        parts.append("first")
    if step.ends_after_seconds:
        parts.append(f"done after {human_duration(timedelta(seconds=step.ends_after_seconds))}")
    for one in step.obstacles:
        until = f" (until {one.until:%Y-%m-%d %H:%M} UTC)" if one.until is not None else ""
        parts.append(f"{'!' if one.stops else 'waits:'} {one.reason}{until}")
    if any(one.hidden for one in step.sources):
        parts.append("by way of objects that are not shown")
    if not step.by_itself and not any(one.stops for one in step.obstacles):
        parts.append("does not get it by itself: see above")
    return ", ".join(parts)


def _done(step: PlannedObject) -> str:
    return next((text for action, text in _DONE.items() if action == step.action), "has it")


def _answer(step: PlannedObject) -> str:
    found = step.on_base_change
    if found is None or found.answer in {OnBaseChange.REBUILD, OnBaseChange.NOTIFY}:
        return "rebuild"
    is_auto = found.answer == OnBaseChange.AUTO
    if found.rebase != "no":
        text = "rebase if safe" if is_auto else "rebase if safe only"
        sent = f" (in {found.registry}: what it will not mount of the base is sent)"
        return text + (sent if found.registry else "")
    return f"rebuild (not rebased: {shortened(found.against or '')})" if is_auto else "no rebase"


def _step_data(step: PlannedObject) -> dict[str, Any]:
    answer = step.on_base_change
    return {
        "name": step.name,
        "kind": step.kind,
        "action": step.action,
        "level": step.level,
        "onBaseChange": {
            "answer": answer.answer,
            "rebase": answer.rebase,
            "against": answer.against,
            "registry": answer.registry,
        }
        if answer is not None
        else None,
        "from": [
            {
                "name": one.name,
                "role": one.role,
                "automatic": one.automatic,
                "hidden": one.hidden,
            }
            for one in step.sources
        ],
        "after": list(step.after),
        "stage": step.stage,
        "byItself": step.by_itself,
        "done": step.done,
        "behind": step.behind,
        "first": step.first,
        "obstacles": [
            {
                "reason": one.reason,
                "until": format_time(one.until) if one.until is not None else None,
            }
            for one in step.obstacles
        ],
        "endsAfterSeconds": step.ends_after_seconds,
    }


def _numbers(plan: ImpactPlanStatus) -> dict[str, int]:
    return {name: at for at, name in enumerate((*plan.images, *(one.name for one in plan.steps)))}


def _labels(plan: ImpactPlanStatus) -> dict[str, str]:
    labels = {name: _root(plan, name) for name in plan.images}
    for step in plan.steps:
        labels[step.name] = f"{_name(step)}: {_done(step) if step.done else step.action}"
    return labels


def _arrows(plan: ImpactPlanStatus) -> Iterator[tuple[str, str, bool]]:
    known = _numbers(plan)
    for step in plan.steps:
        for source in step.sources:
            if source.name in known:  # of a ring, one may be beyond the longest answer
                yield source.name, step.name, source.automatic


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
