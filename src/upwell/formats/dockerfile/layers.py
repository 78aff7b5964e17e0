"""Parts of a Dockerfile that one layer for all of it may change (build/v1 SkipLayersAndWarn)."""

from collections.abc import Iterator
from posixpath import normpath

from upwell.formats.dockerfile.instructions import Instruction, instructions

_ADDS = frozenset({"COPY", "ADD"})


def layer_warnings(text: str) -> Iterator[str]:
    """Yield a line for each instruction that adds content to a volume of the image.

    Where each instruction has a layer, a volume begins as the layers before it left the folder;
    what is added to it later, and its owners, may be others in one layer. Raises DockerfileError.
    """
    volumes: dict[str, int] = {}
    added: dict[str, Instruction] = {}
    for instruction in instructions(text):
        match instruction.keyword:
            case "FROM":
                volumes, added = {}, {}
            case "VOLUME":
                for path in _paths(instruction):
                    volumes[path] = instruction.line
                    for target, earlier in added.items():
                        if _is_below(target, path):
                            yield _warning(earlier, path, instruction.line)
            case keyword if keyword in _ADDS and (paths := _paths(instruction)):
                added[paths[-1]] = instruction
                for path, line in volumes.items():
                    if _is_below(paths[-1], path):
                        yield _warning(instruction, path, line)
            case _:
                pass


def _paths(instruction: Instruction) -> list[str]:
    return [normpath(path.strip("\"'")) for path in instruction.arguments]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _warning(adding: Instruction, volume: str, line: int) -> str:
    return (
        f"Dockerfile line {adding.line}: {adding.keyword} adds to the volume {volume}"
        f" of line {line}: in one layer its owners and permissions may differ"
    )
