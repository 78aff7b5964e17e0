"""Instructions of a Dockerfile that set variables to given values."""

from collections.abc import Iterable

from upwell.formats.s2i.contract import checked_name

_SPECIAL = '\\"$'


def environment_lines(
    env: Iterable[tuple[str, str]], argument: str, escape: str = "\\"
) -> tuple[list[str], dict[str, str]]:
    """Return an ENV for each variable, and the build arguments that carry values.

    A value that cannot be written down, such as one of several lines, is carried by a build
    argument, named `argument` and a number. All others stand in the instruction: an argument is
    part of what each later RUN is known by in the cache, and of its line in the image's history.
    `escape` is the Dockerfile's escape character. Raises S2iError for a name that is none.
    """
    lines, values = [], {}
    for index, (name, value) in enumerate(env):
        if _can_be_written(value, escape):
            lines.append(f'ENV {checked_name(name)}="{_quoted(value)}"')
        else:
            carrier = f"{argument}_{index}"
            lines += [f"ARG {carrier}", f"ENV {checked_name(name)}=${{{carrier}}}"]
            values[carrier] = value
    return lines, values


def _can_be_written(value: str, escape: str) -> bool:
    # With another escape character, quoting is read in one way by the parser, and in another later.
    return value.isprintable() and (escape == "\\" or not set(value) & {*_SPECIAL, escape})


def _quoted(value: str) -> str:
    return "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in value)
