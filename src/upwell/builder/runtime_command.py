"""The container runtime of a build, with more variables for what runs in its containers.

Run as a file, by itself: `runtime_command.py VARIABLES RUNTIME [ARGUMENT]...`, where VARIABLES is a
JSON object in a file. They go into the container's configuration (config.json of the OCI runtime
specification, `process.env`), which is gone when the container is. Buildah never sees them: so they
are in no configuration or history of an image, and in no argument.

It imports as little as it can: the build waits for it.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BUNDLE = "--bundle"


def main(words: "Sequence[str]") -> None:
    """Add the variables to the container that is made, if one is; become the runtime."""
    variables, runtime, *arguments = words
    if _BUNDLE in arguments:
        with open(variables, encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes 8 ms to load
            values = json.load(file)
        _add_variables(f"{arguments[arguments.index(_BUNDLE) + 1]}/config.json", values)
    os.execvp(runtime, [runtime, *arguments])  # noqa: S606  # no shell is wanted


def _add_variables(config: str, variables: "Mapping[str, str]") -> None:
    """Set variables in a container's configuration; they replace those of their names."""
    # In place: it keeps its mode.
    with open(config, "r+", encoding="utf-8") as file:  # noqa: PTH123
        document = json.load(file)
        given = document["process"]["env"]
        kept = [text for text in given if text.partition("=")[0] not in variables]
        added = [f"{name}={value}" for name, value in variables.items()]
        document["process"]["env"] = kept + added
        file.seek(0)
        file.write(json.dumps(document))
        file.truncate()


if __name__ == "__main__":
    main(sys.argv[1:])
