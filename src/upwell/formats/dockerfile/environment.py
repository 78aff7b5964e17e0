"""Instructions of a Dockerfile that set variables to given values."""

from collections.abc import Iterable, Iterator

from upwell.formats.s2i.contract import checked_name

_SPECIAL = '\\"$'
_MOST_LETTERS = 16 * 1024
"""Of an instruction that is not of one variable alone: Buildah reads lines of up to 64 KiB."""


def environment_lines(
    env: Iterable[tuple[str, str]], argument: str, escape: str = "\\"
) -> tuple[list[str], dict[str, str]]:
    """Return instructions that set variables, and the build arguments that carry values.

    A value that cannot be written down, such as one of several lines, is carried by a build
    argument, named `argument` and a number. All others stand in the instruction: an argument is
    part of what each later RUN is known by in the cache, and of its line in the image's history.
    One instruction sets as many as it can: Buildah makes an image of each, or starts itself anew.
    `escape` is the Dockerfile's escape character. Raises S2iError for a name that is none.
    """
    settings, values = [], {}
    for index, (name, value) in enumerate(env):
        if _can_be_written(value, escape):
            settings.append(f'{checked_name(name)}="{_quoted(value)}"')
        else:
            carrier = f"{argument}_{index}"
            settings.append(f"{checked_name(name)}=${{{carrier}}}")
            values[carrier] = value
    arguments = [f"ARG {' '.join(values)}"] if values else []
    return [*arguments, *_instructions(settings)], values


def _instructions(settings: Iterable[str]) -> Iterator[str]:
    """Yield ENV instructions of so many settings that a line is not too long."""
    line = "ENV"
    for setting in settings:
        if len(line) + len(setting) > _MOST_LETTERS and line != "ENV":
            yield line
            line = "ENV"
        line += f" {setting}"
    if line != "ENV":
        yield line


def _can_be_written(value: str, escape: str) -> bool:
    # With another escape character, quoting is read in one way by the parser, and in another later.
    return value.isprintable() and (escape == "\\" or not set(value) & {*_SPECIAL, escape})


def _quoted(value: str) -> str:
    return "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in value)
