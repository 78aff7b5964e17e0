"""Findings about the steps of an image, as its history tells them: would they do the same again?"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upwell.oci.rebase.documents import RebasedImage
from upwell.oci.rebase.history import known_steps
from upwell.oci.rebase.merging import SettingChange, SettingValues, environment, shown
from upwell.oci.rebase.records import BUILDPACKS
from upwell.policy.rebase.comparison import BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding, cut

_INSTRUCTIONS = {
    "Labels": "LABEL",
    "ExposedPorts": "EXPOSE",
    "Volumes": "VOLUME",
    "WorkingDir": "WORKDIR",
}
"""Instructions of a Dockerfile that set a field, where they are not called as it is."""
_NO_COMMAND = "/bin/sh -c #(nop)"
"""Begins the steps of Docker's classic builder, and of Buildah, that run nothing."""
_EXPANDING = frozenset(
    {"ADD", "COPY", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
"""Instructions of which a build replaces variables (Dockerfile reference, environment replacement);
most builders write down what came of it."""
_LATER = frozenset({"CMD", "ENTRYPOINT", "HEALTHCHECK", "MAINTAINER", "ONBUILD", "SHELL"})
"""Instructions of which a container reads variables, or nobody."""
_WORD = re.compile(r"[^\s=\"'\[\],]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_ARGUMENTS = re.compile(r"(?:RUN )?\|\d+ ")
"""Begins a step that has been run with build arguments: their number, and each as NAME=VALUE."""
_PATH = re.compile(r"(?<![\w.-])/[\w.+/@:-]+")
_EXECUTE = 0o111
_STEPS_DEPEND_ON = ("User", "WorkingDir", "Shell")
_SHOWN = 100


def step_findings(image: RebasedImage) -> Iterator[RebaseFinding]:
    """Yield what steps would do otherwise, and what nobody knows of them."""
    yield from _defaults(image)
    steps = known_steps(image.source, image.old.image)
    if steps is not None and all(step.get("created_by") for step in steps):
        yield from _set_again(image, steps)
        yield from _readers(image, steps)
    elif BUILDPACKS not in image.source.labels:  # of whose images no base sets anything
        yield from _untold(image)


def reader_findings(image: RebasedImage, update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield the files of the base that a step names, and the base update changes.

    Programs are none, unless they are gone: a patched one does the same.
    """
    for step in known_steps(image.source, image.old.image) or ():
        instruction, rest = _instruction(step)
        named = _PATH.findall(rest) if instruction == "RUN" else ()
        for path in sorted({one.strip("/") for one in named} & update.changed):
            entry = update.new.entries.get(path)
            if entry is None or not entry.mode & _EXECUTE:
                why = f"a step names /{path}, which the base update changes: {cut(rest, _SHOWN)}"
                yield RebaseFinding(RebaseFault.BUILD_SETTING, why)


def changed_variables(image: RebasedImage) -> Mapping[str, str]:
    """Return the variables that are others in the new base, with their old values."""
    before, after = (environment(one.image.settings.get("Env")) for one in (image.old, image.new))
    names = before.keys() | after.keys()
    return {name: before.get(name, "") for name in names if before.get(name) != after.get(name)}


def _defaults(image: RebasedImage) -> Iterator[RebaseFinding]:
    """Yield the defaults by which a build runs its steps, and which the base update changes."""
    old, new = image.old.image.settings, image.new.image.settings
    for name in _STEPS_DEPEND_ON:
        was, now = old.get(name) or None, new.get(name) or None
        if image.own_layers and was != now:
            built = f"{shown(was)} in the old base, in which it was built"
            why = f"{name} was {built}, and is {shown(now)}"
            yield RebaseFinding(RebaseFault.BUILD_SETTING, why)


def _inherited(image: RebasedImage) -> Iterator[SettingChange]:
    """Yield the changes of values that the old base has too."""
    below = SettingValues(image.old.image.settings)
    for change in image.merged.changes:
        if change.before is not None and below.value(change.path) == change.before:
            yield change


def _set_again(image: RebasedImage, steps: Sequence[Mapping[str, Any]]) -> Iterator[RebaseFinding]:
    """Yield values that the image sets, though its old base has the same: a build keeps them."""
    words = _words_by_instruction(steps)
    for change in _inherited(image):
        name, _, key = change.path.partition(".")
        found = words.get(_INSTRUCTIONS.get(name, name.upper()))
        if found is not None and (not key or not found.isdisjoint((key, key.removesuffix("/tcp")))):
            why = f"a step of the image sets {change.path}, to the value that its old base has too"
            yield RebaseFinding(RebaseFault.SETTING_CONFLICT, why)


def _untold(image: RebasedImage) -> Iterator[RebaseFinding]:
    """Yield values of which no history tells whether the image or its base has set them."""
    for change in _inherited(image):
        why = f"no history tells whether a step sets {change.path}, which the base update changes"
        yield RebaseFinding(RebaseFault.UNKNOWN, why)


def _readers(image: RebasedImage, steps: Sequence[Mapping[str, Any]]) -> Iterator[RebaseFinding]:
    """Yield the variables of the base that a step names, and the base update changes."""
    changed = dict(changed_variables(image))
    own = environment(image.source.settings.get("Env"))
    for step in steps if changed else ():
        instruction, rest = _instruction(step)
        if instruction == "ENV":
            # What the image has set is its own from here on, unless it is made of the base's.
            for name in set(_WORD.findall(rest)) & changed.keys():
                if name in own and (not changed[name] or changed[name] not in own[name]):
                    del changed[name]
            continue
        for name in sorted(_read(instruction, rest, changed)):
            why = f"a step reads {name}, which the base update changes: {cut(rest, _SHOWN)}"
            yield RebaseFinding(RebaseFault.BUILD_SETTING, why)


def _read(instruction: str, rest: str, changed: Mapping[str, str]) -> set[str]:
    """Return the variables, of those that change, that a step has read."""
    if instruction in _LATER:
        return set()
    if instruction in _EXPANDING or instruction == "ARG":
        return changed.keys() & set(_VARIABLE.findall(rest))
    # A shell and what it runs may name them in any way.
    found = changed.keys() & set(_NAME.findall(rest))
    if _ARGUMENTS.match(rest):
        values = {word.partition("=")[2] for word in rest.split() if "=" in word}
        found |= {name for name, value in changed.items() if value and value in values}
    return found


def _instruction(step: Mapping[str, Any]) -> tuple[str, str]:
    """Return the instruction of a step, and what follows; RUN where it names none."""
    text = str(step.get("created_by")).removeprefix(_NO_COMMAND).lstrip()
    first, _, rest = text.partition(" ")
    instruction = first.upper()
    known = {*_EXPANDING, *_LATER, "ENV", "ARG"}
    return (instruction, rest) if instruction in known else ("RUN", text)


def _words_by_instruction(steps: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the words that follow the instructions of steps, keys and values alike."""
    found: dict[str, set[str]] = defaultdict(set)
    for step in steps:
        instruction, rest = _instruction(step)
        found[instruction].update(_WORD.findall(rest))
    return found
