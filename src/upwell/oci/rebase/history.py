"""The history of a rebased image (image-spec, config.md: each step that is not empty is a layer).

Layers are never looked for by a history: it may be missing, or speak of a part of them alone.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from upwell.oci.rebase.images import LayeredImage

type Step = Mapping[str, Any]


def rebased_history(image: LayeredImage, old: LayeredImage, new: LayeredImage) -> list[Step] | None:
    """Return the steps of `new`, then those of the image after `old`; None: nobody has any.

    As many steps as the image will have layers are not empty; one that is missing is made up.
    """
    if not image.history and not new.history:
        return None
    return [*_base_steps(new), *own_steps(image, old)]


def _base_steps(base: LayeredImage) -> Sequence[Step]:
    steps = base.history
    return steps if _layers(steps) == len(base.layers) else _made_up(len(base.layers), "base layer")


def own_steps(image: LayeredImage, old: LayeredImage) -> Sequence[Step]:
    """Return the steps of an image above its base; made up where it has none that fit."""
    known = known_steps(image, old)
    if known is not None:
        return known
    return _made_up(len(image.layers) - len(old.layers), "application layer")


def known_steps(image: LayeredImage, old: LayeredImage) -> Sequence[Step] | None:
    """Return the steps of an image above its base; None: it has no history that fits."""
    count = len(image.layers) - len(old.layers)
    steps = image.history
    if not steps:
        return None
    if _layers(steps) == count and count < len(image.layers):
        return steps  # a builder that writes no steps of its base
    if _layers(steps) != len(image.layers):
        return None
    below = old.history
    if _layers(below) == len(old.layers) and list(steps[: len(below)]) == list(below):
        return steps[len(below) :]
    at = _after(steps, len(old.layers))
    trailing = below[_after(below, len(old.layers)) :]
    pairs = zip(steps[at:], trailing, strict=False)
    return steps[at + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) :]


def _after(steps: Sequence[Step], layers: int) -> int:
    """Return the place behind the step that made that many layers."""
    seen = 0
    for at, step in enumerate(steps):
        if seen == layers:
            return at
        seen += not _is_empty(step)
    return len(steps)


def _layers(steps: Sequence[Step]) -> int:
    return sum(not _is_empty(step) for step in steps)


def _is_empty(step: Step) -> bool:
    return step.get("empty_layer") is True


def _made_up(count: int, what: str) -> list[Step]:
    return [{"created_by": f"{what} {at} of {count}", "comment": "without a history of its own"}
            for at in range(1, count + 1)]  # fmt: skip
