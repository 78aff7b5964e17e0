"""Units of systemd that run a container by a command, as `systemctl show` prints them."""

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence

_ENGINES = {"podman", "docker"}
_BEGIN, _END = "argv[]=", " ; ignore_errors="


def container_units(shown: str) -> Mapping[tuple[str, str], str]:
    """Return the unit of each container, by its engine's program and its name.

    `shown` is what `systemctl show --property=Id,ExecStart` prints: blocks of properties, between
    blank lines. Only containers with a name in the command are known.
    """
    found: dict[tuple[str, str], str] = {}
    for block in shown.split("\n\n"):
        unit = ""
        commands: list[str] = []
        for line in block.splitlines():
            key, _, value = line.partition("=")
            if key == "Id":
                unit = value
            elif key == "ExecStart" and _BEGIN in value:
                commands.append(value.partition(_BEGIN)[2].partition(_END)[0])
        for command in commands:
            for container in _containers(command.split()):
                found.setdefault(container, unit)
    return found


def option_values(argv: Sequence[str], options: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of a command that are asked for, each with its value."""
    for at, word in enumerate(argv):
        option, given, value = word.partition("=")
        if option in options:
            yield option, value if given else next(iter(argv[at + 1 :]), "")


def _containers(argv: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the containers that a command runs or starts: the program, and the name."""
    program = posixpath.basename(argv[0]) if argv else ""
    if program not in _ENGINES:
        return
    rest = [one for one in argv[1:] if one != "container"]
    verb = next((one for one in rest if one in {"run", "start"}), "")
    if not verb:
        return
    words = rest[rest.index(verb) + 1 :]
    if verb == "start":
        yield from ((program, one) for one in words if not one.startswith("-"))
        return
    for _, name in option_values(words, {"--name"}):
        yield program, name
        return
