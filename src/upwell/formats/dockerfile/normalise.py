"""Writes a Dockerfile anew from what was read of it: what is built is what was checked.

One instruction a line, no comment and no continuation, arrays in plain JSON, every image pinned.
A heredoc keeps its lines.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from upwell.formats.dockerfile.instructions import Flag, Heredoc, Instruction
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import Dockerfile, image_named, mount_options


def normalise(
    document: Dockerfile,
    images: Mapping[str, str],
    after_from: Sequence[str] = (),
    *,
    at_end: Sequence[str] = (),
    final: str | None = None,
) -> str:
    """Write `document` with every external image as its pin, and `after_from` after each FROM.

    `at_end` are the last instructions: what they say changes nothing that is kept of the others.
    `final` takes the place of what the last FROM names, be it an earlier stage, and of that alone.
    Raises DockerfileError if an image has no pin.
    """
    last = document.stages[-1].image.start
    names = dict(document.inside)
    if final is not None:
        names[last] = final
    for use in document.uses:
        if use.start in names:
            continue
        if use.name not in images:
            raise DockerfileError(
                use.line, f"the image {use.name!r} is not among the resolved ones"
            )
        names[use.start] = images[use.name]
    script = document.script
    lines = [] if script.escape == "\\" else [f"# escape={script.escape}"]
    for instruction in script.instructions:
        lines += _written(instruction, names)
        if instruction.keyword == "FROM":
            lines += after_from
    return "".join(f"{line}\n" for line in (*lines, *at_end))


def _written(instruction: Instruction, names: Mapping[int, str]) -> Iterator[str]:
    """Yield the lines of an instruction."""
    yield " ".join(_parts(instruction, names))
    for heredoc in _heredocs(instruction):
        yield from heredoc.lines
        yield heredoc.name


def _parts(instruction: Instruction, names: Mapping[int, str]) -> Iterator[str]:
    yield instruction.keyword
    for flag in instruction.flags:
        yield _flag(flag, instruction.line, names)
    if instruction.trigger is not None:
        yield from _parts(instruction.trigger, names)
    elif instruction.keyword == "FROM":
        image, *name = instruction.words
        yield names[image.start]
        yield from (word.text for word in name)
    elif instruction.array is not None:
        if instruction.keyword == "HEALTHCHECK":
            yield "CMD"
        yield _json(instruction)
    elif instruction.rest:
        yield instruction.rest


def _flag(flag: Flag, line: int, names: Mapping[int, str]) -> str:
    """Return a flag, with the image or stage that it names in full."""
    if flag.start not in names or image_named(flag, line) is None:
        return str(flag)
    if flag.name == "--from":
        return f"--from={names[flag.start]}"
    options = {**mount_options(flag, line), "from": names[flag.start]}
    return f"--mount={_joined(options.items())}"


def _joined(options: Iterable[tuple[str, str]]) -> str:
    """Return options of a mount; one without a value has no `=`."""
    return ",".join(f"{name}={value}" if value else name for name, value in options)


def _json(instruction: Instruction) -> str:
    """Return an array, in the spelling of the author if that is plain."""
    words = list(instruction.array or ())
    letters = json.dumps(words, ensure_ascii=False)
    compact = json.dumps(words, ensure_ascii=False, separators=(",", ":"))
    if not letters.isprintable():
        return json.dumps(words)
    return compact if instruction.rest.endswith(compact) else letters


def _heredocs(instruction: Instruction) -> Iterator[Heredoc]:
    if instruction.trigger is not None:
        yield from _heredocs(instruction.trigger)
    yield from instruction.heredocs
