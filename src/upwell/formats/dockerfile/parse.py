"""Reads the images that a Dockerfile builds on, and pins them (Dockerfile reference of BuildKit).

Understands as much of the language as that needs: directives, comments, continuations, heredocs,
ARG substitution, stages. Whether an instruction is otherwise right is left to the build.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from upwell.formats.dockerfile.substitution import SubstitutionError, substitute

MAX_DOCKERFILE_BYTES = 1024 * 1024
SCRATCH = "scratch"

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S+)\s*")
_HEREDOC = re.compile(r"\d*<<(-?)([\"']?)([^\s<\"']+)\2")
_KEYWORDS_WITH_HEREDOC = frozenset({"RUN", "COPY", "ADD"})


class DockerfileError(ValueError):
    """The Dockerfile cannot be understood; `line` is where, counted from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"Dockerfile line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an instruction, and where it stands in the text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction without its comments, continuations and heredoc bodies."""

    keyword: str
    line: int
    flags: tuple[Word, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class ImageUse:
    """A place in the text that names an image from outside the Dockerfile."""

    name: str
    """As written, after ARG substitution: what a pin is looked up by."""
    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DockerfileStage:
    """One FROM: its image, or the earlier stage that it continues."""

    name: str
    base: str
    line: int
    parent: int | None = None
    """The index of the earlier stage that `base` names."""
    end: int = 0
    """Position in the text at which the FROM instruction's last word ends."""
    image: Word = field(default=Word("", 0, 0), compare=False)
    """The word that names `base`."""


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The stages of a Dockerfile, and every image that it takes from outside."""

    stages: tuple[DockerfileStage, ...]
    uses: tuple[ImageUse, ...]
    keywords: frozenset[str] = field(default=frozenset())

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


def parse(text: str, build_args: Mapping[str, str] | None = None) -> Dockerfile:
    """Find stages and external images; `build_args` override declared ARGs.

    Raises DockerfileError.
    """
    if len(text) > MAX_DOCKERFILE_BYTES:
        raise DockerfileError(1, f"longer than {MAX_DOCKERFILE_BYTES} bytes")
    reader = _StageReader(build_args or {})
    for instruction in instructions(text):
        reader.read(instruction)
    if not reader.stages:
        raise DockerfileError(1, "no FROM instruction")
    return Dockerfile(tuple(reader.stages), tuple(reader.uses), frozenset(reader.keywords))


def rewrite(
    text: str,
    images: Mapping[str, str],
    build_args: Mapping[str, str] | None = None,
    after_from: Sequence[str] = (),
    *,
    final: str | None = None,
) -> str:
    """Replace every external image by its pin, and put the lines `after_from` after each FROM.

    `final` takes the place of what the last FROM names, be it an earlier stage, and of that alone.
    All else stays as it is, byte for byte. Raises DockerfileError if an image has no pin.
    """
    document = parse(text, build_args)
    edits: list[tuple[int, int, str]] = []
    last = document.stages[-1].image
    if final is not None:
        edits.append((last.start, last.end, final))
    for use in document.uses:
        if final is not None and use.start == last.start:
            continue
        if use.name not in images:
            raise DockerfileError(
                use.line, f"the image {use.name!r} is not among the resolved ones"
            )
        edits.append((use.start, use.end, images[use.name]))
    added = "".join(f"\n{line}" for line in after_from)
    if added:
        edits += [(stage.end, stage.end, added) for stage in document.stages]
    pieces, at = [], 0
    for start, end, replacement in sorted(edits):
        pieces += [text[at:start], replacement]
        at = end
    return "".join([*pieces, text[at:]])


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of `text`; raises DockerfileError."""
    lines = _Lines(text)
    while (logical := lines.next_logical()) is not None:
        words = list(logical.words(lines.escape))
        if not words:
            continue
        keyword = words[0].text.upper()
        if keyword in _KEYWORDS_WITH_HEREDOC:
            for word in words[1:]:
                if match := _HEREDOC.fullmatch(word.text):
                    lines.skip_heredoc(match[3], strip_tabs=bool(match[1]), line=logical.line)
        flags = 1
        while flags < len(words) and words[flags].text.startswith("--"):
            flags += 1
        yield Instruction(keyword, logical.line, tuple(words[1:flags]), tuple(words[flags:]))


class _StageReader:
    """Takes instructions in order and collects stages and image uses."""

    def __init__(self, build_args: Mapping[str, str]) -> None:
        self.stages: list[DockerfileStage] = []
        self.uses: list[ImageUse] = []
        self.keywords: set[str] = set()
        self._build_args = build_args
        self._global: dict[str, str] = {}
        self._local: dict[str, str] = {}

    def read(self, instruction: Instruction) -> None:
        self.keywords.add(instruction.keyword)
        match instruction.keyword:
            case "ARG":
                self._declare(instruction)
            case "FROM":
                self._from(instruction)
            case _ if not self.stages:
                raise DockerfileError(
                    instruction.line, f"{instruction.keyword} stands before the first FROM"
                )
            case "COPY" | "ADD":
                for flag in instruction.flags:
                    if flag.text.startswith("--from="):
                        self._use(flag, len("--from="), len(flag.text), instruction.line)
            case "RUN":
                for flag in instruction.flags:
                    if match := re.match(r"--mount=(?:.*,)?from=([^,]*)", flag.text):
                        self._use(flag, match.start(1), match.end(1), instruction.line)

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
        self.stages.append(
            DockerfileStage(name, base, instruction.line, parent, words[-1].end, words[0])
        )
        if parent is None and base != SCRATCH:
            self.uses.append(ImageUse(base, instruction.line, words[0].start, words[0].end))

    def _use(self, flag: Word, start: int, end: int, line: int) -> None:
        """Record the image that the part [start:end] of `flag` names, unless it is a stage."""
        name = self._expand(flag.text[start:end], line)
        if name.isdecimal():
            if int(name) >= len(self.stages) - 1:
                raise DockerfileError(line, f"there is no earlier stage {name}")
            return
        if not name:
            raise DockerfileError(line, f"{flag.text} names no image")
        if name == SCRATCH or self._stage_named(name) is not None:
            return
        # Only the part after the "=" is replaced; a continuation inside of it goes with it.
        self.uses.append(ImageUse(name, line, flag.start + start, flag.end - len(flag.text) + end))

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


@dataclass(frozen=True, slots=True)
class _Logical:
    """One logical line: its characters, and where each stands in the text."""

    line: int
    text: str
    offsets: Sequence[int]

    def words(self, escape: str) -> Iterator[Word]:
        start, quote, skip = None, "", False
        for at, char in enumerate(self.text):
            if skip:
                skip = False
            elif char == escape and quote != "'":
                skip = True
                start = at if start is None else start
            elif quote:
                quote = "" if char == quote else quote
            elif char.isspace():
                if start is not None:
                    yield self._word(start, at)
                start = None
            else:
                quote = char if char in "\"'" else ""
                start = at if start is None else start
        if start is not None:
            yield self._word(start, len(self.text))

    def _word(self, start: int, end: int) -> Word:
        return Word(self.text[start:end], self.offsets[start], self.offsets[end - 1] + 1)


class _Lines:
    """Walks over physical lines, joining those that continue."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0
        self._offset = 0
        self.escape = "\\"
        self._read_directives()

    def next_logical(self) -> _Logical | None:
        """Return the next logical line; None at the end."""
        first, characters, offsets = 0, [], list[int]()
        while self._at < len(self._lines):
            offset, raw = self._take()
            body = raw.rstrip()
            if not body or body.lstrip().startswith("#"):
                continue  # comments and empty lines may stand inside a continuation too
            first = first or self._at
            continues = body.endswith(self.escape)
            body = body[:-1] if continues else body
            characters.append(body)
            offsets.extend(range(offset, offset + len(body)))
            if not continues:
                break
        return _Logical(first, "".join(characters), offsets) if first else None

    def skip_heredoc(self, terminator: str, *, strip_tabs: bool, line: int) -> None:
        while self._at < len(self._lines):
            _, raw = self._take()
            raw = raw.rstrip("\r")
            if (raw.lstrip("\t") if strip_tabs else raw) == terminator:
                return
        raise DockerfileError(line, f"the heredoc {terminator} has no end")

    def _take(self) -> tuple[int, str]:
        offset, raw = self._offset, self._lines[self._at]
        self._offset += len(raw) + 1
        self._at += 1
        return offset, raw

    def _read_directives(self) -> None:
        """Directives stand first, one a line; any other line ends them."""
        for raw in self._lines:
            match = _DIRECTIVE.fullmatch(raw.strip())
            if match is None:
                return
            if match[1].lower() == "escape":
                if match[2] not in {"\\", "`"}:
                    raise DockerfileError(1, f"escape={match[2]}: only \\ and ` can be")
                self.escape = match[2]
