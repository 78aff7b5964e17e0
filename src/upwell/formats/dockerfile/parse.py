"""Reads the stages of a Dockerfile and the images it builds on (Dockerfile reference of BuildKit).

Whether an instruction is otherwise right is left to the build.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from upwell.formats.dockerfile.instructions import Flag, Instruction, Script, read
from upwell.formats.dockerfile.lines import DockerfileError, Word
from upwell.formats.dockerfile.substitution import SubstitutionError, substitute

MAX_DOCKERFILE_BYTES = 1024 * 1024
SCRATCH = "scratch"

_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class ImageUse:
    """A place in the text that names an image from outside the Dockerfile."""

    name: str
    """As written, after ARG substitution: what a pin is looked up by."""
    line: int
    start: int
    """Position in the text of the word, or of the flag."""


@dataclass(frozen=True, slots=True)
class DockerfileStage:
    """One FROM: its image, or the earlier stage that it continues."""

    name: str
    base: str
    line: int
    parent: int | None = None
    """The index of the earlier stage that `base` names."""
    image: Word = field(default=Word("", 0, 0), compare=False)
    """The word that names `base`."""


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The stages of a Dockerfile, and every image that it takes from outside."""

    stages: tuple[DockerfileStage, ...]
    uses: tuple[ImageUse, ...]
    script: Script
    inside: Mapping[int, str] = field(default_factory=dict)
    """Meaning of the words and flags that name an earlier stage or `scratch`, by position."""

    @property
    def keywords(self) -> frozenset[str]:
        """The keywords of all instructions."""
        return frozenset(instruction.keyword for instruction in self.script.instructions)

    @property
    def mounts_context(self) -> bool:
        """True if a command sees files of the context itself (`RUN --mount=type=bind`)."""
        mounts = (
            mount_options(flag, instruction.line)
            for instruction in self.script.instructions
            for flag in instruction.flags
            if flag.name == "--mount"
        )
        return any("from" not in one and one.get("type", "bind") == "bind" for one in mounts)

    @property
    def images(self) -> tuple[str, ...]:
        """The distinct external images, in order of first use; never `scratch`."""
        return tuple(dict.fromkeys(use.name for use in self.uses))

    @property
    def final_base(self) -> str | None:
        """The external image at the root of the last stage; None if that is `scratch`."""
        stage = self.stages[-1]
        while stage.parent is not None:
            stage = self.stages[stage.parent]
        return None if stage.base == SCRATCH else stage.base

    @property
    def shares_final_base(self) -> bool:
        """True if more than the stages that the result is made of takes from its base."""
        last = len(self.stages) - 1
        chain = set(self._stages_below(last))
        root = self.stages[min(chain)]
        others = (use for use in self.uses if use.start != root.image.start)
        return any(use.name == root.base for use in others) or any(
            min(self._stages_below(at)) == min(chain) for at in range(last) if at not in chain
        )

    def _stages_below(self, at: int) -> Iterator[int]:
        """Yield a stage and those that it continues, by their indices."""
        stage: int | None = at
        while stage is not None:
            yield stage
            stage = self.stages[stage].parent


def parse(text: str, build_args: Mapping[str, str] | None = None) -> Dockerfile:
    """Find stages and external images; `build_args` override declared ARGs.

    Raises DockerfileError.
    """
    if len(text) > MAX_DOCKERFILE_BYTES:
        raise DockerfileError(1, f"longer than {MAX_DOCKERFILE_BYTES} bytes")
    reader, script = _StageReader(build_args or {}), read(text)
    for instruction in script.instructions:
        reader.read(instruction)
    if not reader.stages:
        raise DockerfileError(1, "no FROM instruction")
    return Dockerfile(tuple(reader.stages), tuple(reader.uses), script, reader.inside)


def mount_options(flag: Flag, line: int) -> dict[str, str]:
    """Return the options of a `--mount`; raises DockerfileError for one that stands there twice."""
    found: dict[str, str] = {}
    for part in (flag.value or "").split(","):
        name, _, value = part.partition("=")
        if name in found:
            raise DockerfileError(line, f"{flag}: {name!r} stands there twice")
        found[name] = value
    return found


def image_named(flag: Flag, line: int) -> str | None:
    """Return the image or stage that a flag names, as written; None: it names none."""
    if flag.name == "--from":
        return flag.value or ""
    return mount_options(flag, line).get("from") if flag.name == "--mount" else None


class _StageReader:
    """Takes instructions in order and collects stages and image uses."""

    def __init__(self, build_args: Mapping[str, str]) -> None:
        self.stages: list[DockerfileStage] = []
        self.uses: list[ImageUse] = []
        self.inside: dict[int, str] = {}
        self._build_args = build_args
        self._global: dict[str, str] = {}
        self._local: dict[str, str] = {}

    def read(self, instruction: Instruction) -> None:
        match instruction.keyword:
            case "ARG":
                self._declare(instruction)
            case "FROM":
                self._from(instruction)
            case _ if not self.stages:
                raise DockerfileError(
                    instruction.line, f"{instruction.keyword} stands before the first FROM"
                )
            case "ONBUILD" if instruction.trigger is not None:
                self._refuse_images(instruction.trigger)
            case "COPY" | "ADD" | "RUN":
                self._flags(instruction)

    def _flags(self, instruction: Instruction) -> None:
        if sum(flag.name == "--from" for flag in instruction.flags) > 1:
            raise DockerfileError(instruction.line, "--from stands there twice")
        for flag in instruction.flags:
            name = image_named(flag, instruction.line)
            if name is not None:
                self._use(flag, self._expand(name, instruction.line), instruction.line)

    def _refuse_images(self, trigger: Instruction) -> None:
        """Refuse a trigger that names an image: nobody could pin it when it runs."""
        if any(image_named(flag, trigger.line) is not None for flag in trigger.flags):
            raise DockerfileError(trigger.line, "ONBUILD may not take files from other images")

    def _declare(self, instruction: Instruction) -> None:
        scope = self._local if self.stages else self._global
        for word in instruction.words:
            name, equals, default = word.text.partition("=")
            if name in self._build_args:
                scope[name] = self._build_args[name]
            elif equals:
                scope[name] = self._expand(default, instruction.line)
            elif self.stages and name in self._global:
                scope[name] = self._global[name]

    def _from(self, instruction: Instruction) -> None:
        words = instruction.words
        if len(words) not in {1, 3} or (len(words) > 1 and words[1].text.upper() != "AS"):
            raise DockerfileError(
                instruction.line, "FROM takes [--platform=PLATFORM] IMAGE [AS NAME]"
            )
        self._local = dict(self._global)
        base = self._expand(words[0].text, instruction.line)
        self._local = {}
        if not base:
            raise DockerfileError(
                instruction.line,
                f"FROM {words[0].text} names no image: an ARG has neither default nor value",
            )
        parent = self._stage_named(base)
        name = words[2].text if len(words) > 1 else ""
        if name and _STAGE_NAME.fullmatch(name) is None:
            raise DockerfileError(instruction.line, f"{name} is not the name of a stage")
        self.stages.append(DockerfileStage(name, base, instruction.line, parent, words[0]))
        if parent is not None or base == SCRATCH:
            self.inside[words[0].start] = SCRATCH if parent is None else self.stages[parent].name
        else:
            self.uses.append(ImageUse(base, instruction.line, words[0].start))

    def _use(self, flag: Flag, name: str, line: int) -> None:
        """Record the image that a flag names, or the stage."""
        if name.isascii() and name.isdecimal():
            if int(name) >= len(self.stages) - 1:
                raise DockerfileError(line, f"there is no earlier stage {name}")
            self.inside[flag.start] = str(int(name))
            return
        if not name:
            raise DockerfileError(line, f"{flag} names no image")
        stage = self._stage_named(name)
        if name == SCRATCH or stage is not None:
            self.inside[flag.start] = SCRATCH if stage is None else self.stages[stage].name
        else:
            self.uses.append(ImageUse(name, line, flag.start))

    def _stage_named(self, name: str) -> int | None:
        for index in reversed(range(len(self.stages))):
            if self.stages[index].name and self.stages[index].name.lower() == name.lower():
                return index
        return None

    def _expand(self, text: str, line: int) -> str:
        try:
            return substitute(text, self._local if self.stages or self._local else self._global)
        except SubstitutionError as error:
            raise DockerfileError(line, str(error)) from error
