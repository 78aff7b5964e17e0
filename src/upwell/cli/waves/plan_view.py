"""Views of a plan: a tree, data, a graph in the languages of Graphviz and Mermaid; pure."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from upwell.api.meta import ObjectKey, format_time
from upwell.api.values.base_changes import OnBaseChange
from upwell.cli.core.output import shortened
from upwell.cli.explain.tree_lines import tree_lines
from upwell.formats.human_duration import human_duration
from upwell.policy.explain.graph import Node
from upwell.policy.images.streams import StreamTag
from upwell.policy.waves.estimate import Estimate
from upwell.policy.waves.impact import Impact, PlannedStep, StepAction

_DONE = {
    StepAction.IMPORT: "has it",
    StepAction.TAG: "has it",
    StepAction.REBUILD: "is built on it",
    StepAction.ROLL_OUT: "runs it",
    StepAction.PROMOTE: "runs it",
}


def plan_lines(impact: Impact, estimate: Estimate) -> Iterator[str]:
    """Yield the tree: each object with what is done to it, and when, or what stops it."""

    def line(node: Node) -> str:
        step = impact.steps.get(node)
        if step is None:
            return f"{_name(node)}  changes"
        return f"{_name(node)}  {shortened(_text(step, estimate.ends.get(node)))}"

    yield from tree_lines(impact.change.roots, impact.targets, line)


def summary_lines(impact: Impact, estimate: Estimate) -> Iterator[str]:
    """Yield what will be done in all, how long it takes, and what does not come by itself."""
    builds, rollouts = (
        impact.of(StepAction.REBUILD),
        impact.of(StepAction.ROLL_OUT, StepAction.PROMOTE),
    )
    if not builds and not rollouts:
        yield "nothing to do: no build and no workload follows it, or all have it already"
        return
    levels = len({one.level for one in builds})
    rebases = sum(one.forecast.rebases for one in builds)
    yield (
        f"{_count(len(builds), 'build')}"
        + (f" ({rebases} rebased if that is safe)" if rebases else "")
        + (f" in {_count(levels, 'level')}" if levels else "")
        + f", {_count(len(rollouts), 'workload')}"
    )
    if estimate.ends:
        yield _time(estimate)
    stopped = [one for one in (*builds, *rollouts) if not one.arrives]
    if stopped:
        own = sum(1 for one in impact.steps.values() if any(o.stops for o in one.obstacles))
        yield (
            f"{len(stopped)} of these do not get it by themselves:"
            f" {_count(own, 'object')} marked with ! must be seen to first"
        )


def plan_data(impact: Impact, estimate: Estimate) -> dict[str, Any]:
    """Return the plan as JSON data: the steps in order, each after all that it comes from."""
    builds, rollouts = (
        impact.of(StepAction.REBUILD),
        impact.of(StepAction.ROLL_OUT, StepAction.PROMOTE),
    )
    return {
        "images": [str(root) for root in impact.change.roots],
        "digest": impact.change.digest or None,
        "steps": [_step_data(one, estimate.ends.get(one.node)) for one in impact.steps.values()],
        "summary": {
            "builds": len(builds),
            "rebasedIfSafe": sum(one.forecast.rebases for one in builds),
            "levels": len({one.level for one in builds}),
            "workloads": len(rollouts),
            "notByItself": sum(1 for one in (*builds, *rollouts) if not one.arrives),
            "seconds": round(estimate.whole.total_seconds()) if estimate.ends else None,
            "guessed": estimate.guessed,
            "unknown": estimate.unknown,
            "buildsAtOnce": estimate.at_once,
        },
    }


def dot_lines(impact: Impact) -> Iterator[str]:
    """Yield the plan as a graph in the DOT language; what does not come by itself is dashed."""
    yield "digraph plan {"
    yield "  rankdir=LR; node [shape=box];"
    numbers = _numbers(impact)
    for node, number in numbers.items():
        style = "" if _comes(impact, node) else " style=dashed"
        label = _label(impact, node).replace("\\", "\\\\").replace('"', '\\"')
        yield f'  n{number} [label="{label}"{style}];'
    for source, target, comes in _arrows(impact):
        style = "" if comes else " [style=dashed]"
        yield f"  n{numbers[source]} -> n{numbers[target]}{style};"
    yield "}"


def mermaid_lines(impact: Impact) -> Iterator[str]:
    """Yield the plan as a Mermaid flowchart; what does not come by itself is dashed."""
    yield "flowchart LR"
    numbers = _numbers(impact)
    for node, number in numbers.items():
        yield f'  n{number}["{_label(impact, node).replace('"', "#quot;")}"]'
    for source, target, comes in _arrows(impact):
        yield f"  n{numbers[source]} {'-->' if comes else '-.->'} n{numbers[target]}"


def _time(estimate: Estimate) -> str:
    if estimate.unknown and not estimate.whole:
        return "nothing like it has ended yet that tells how long it takes"
    told = [f"{_count(estimate.at_once, 'build')} at a time"]
    told += [f"{estimate.guessed} by what others took"] if estimate.guessed else []
    told += [f"{estimate.unknown} left out: nothing tells"] if estimate.unknown else []
    whole = human_duration(estimate.whole)
    return f"about {whole} from its import on, by what earlier ones took ({'; '.join(told)})"


def _name(node: Node) -> str:
    return f"ImageStreamTag {node}" if isinstance(node, StreamTag) else str(node)


def _text(step: PlannedStep, end: timedelta | None) -> str:
    if step.done:
        return _DONE[step.action]
    parts = [str(step.action)]
    if step.action is StepAction.REBUILD:
        parts = [f"{_answer(step)}, level {step.level}"]
        parts += [f"{_count(step.behind, 'object')} on it"] if step.behind else []
    if step.action is StepAction.PROMOTE and step.place is not None:
        parts = [f"promote into {step.place}"]
    if end:
        parts.append(f"done after {human_duration(end)}")
    for one in step.obstacles:
        until = f" (until {one.until:%Y-%m-%d %H:%M} UTC)" if one.until is not None else ""
        parts.append(f"{'!' if one.stops else 'waits:'} {one.reason}{until}")
    if not step.arrives and not any(one.stops for one in step.obstacles):
        parts.append("does not get it by itself: see above")
    return ", ".join(parts)


def _answer_data(step: PlannedStep) -> dict[str, Any] | None:
    """Return how a BuildConfig answers the change; the layers say whether a rebase is safe."""
    if step.action is not StepAction.REBUILD:
        return None
    forecast = step.forecast
    return {
        "answer": str(forecast.answer),
        "rebase": "ifSafe" if forecast.rebases else "no",
        "against": forecast.against or None,
    }


def _answer(step: PlannedStep) -> str:
    forecast = step.forecast
    if forecast.answer in {OnBaseChange.REBUILD, OnBaseChange.NOTIFY}:
        return "rebuild"
    if forecast.rebases:
        return "rebase if safe" if forecast.answer is OnBaseChange.AUTO else "rebase if safe only"
    if forecast.answer is OnBaseChange.AUTO:
        return f"rebuild (not rebased: {shortened(forecast.against)})"
    return "no rebase"


def _step_data(step: PlannedStep, end: timedelta | None) -> dict[str, Any]:
    return {
        "name": str(step.node),
        "kind": step.node.kind if isinstance(step.node, ObjectKey) else "ImageStreamTag",
        "action": str(step.action),
        "level": step.level,
        "onBaseChange": _answer_data(step),
        "from": [
            {"name": str(one.source), "role": str(one.role), "automatic": one.automatic}
            for one in step.edges
        ],
        "after": [str(node) for node in step.after],
        "stage": str(step.place) if step.place is not None else None,
        "byItself": step.arrives,
        "done": step.done,
        "behind": step.behind,
        "obstacles": [
            {
                "reason": one.reason,
                "until": format_time(one.until) if one.until is not None else None,
            }
            for one in step.obstacles
        ],
        "endsAfterSeconds": round(end.total_seconds()) if end is not None else None,
    }


def _numbers(impact: Impact) -> dict[Node, int]:
    return {node: at for at, node in enumerate((*impact.change.roots, *impact.steps))}


def _label(impact: Impact, node: Node) -> str:
    step = impact.steps.get(node)
    if step is None:
        return _name(node)
    return f"{_name(node)}: {_DONE[step.action] if step.done else step.action}"


def _comes(impact: Impact, node: Node) -> bool:
    step = impact.steps.get(node)
    return step is None or step.arrives


def _arrows(impact: Impact) -> Iterator[tuple[Node, Node, bool]]:
    for step in impact.steps.values():
        for edge in step.edges:
            yield edge.source, step.node, edge.automatic


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
