"""The container runtime of a build, with more variables for what runs in its containers.

Run as a file, by itself: `runtime_command.py VARIABLES RUNTIME [ARGUMENT]...`, where VARIABLES is a
JSON object in a file. They go into the container's configuration (config.json of the OCI runtime
specification, `process.env`), which is gone when the container is. Buildah never sees them: so they
are in no configuration or history of an image, and in no argument.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_BUNDLE = "--bundle"


def main(words: Sequence[str]) -> None:
    """Add the variables to the container that is made, if one is; become the runtime."""
    variables, runtime, *arguments = words
    if _BUNDLE in arguments:
        config = Path(arguments[arguments.index(_BUNDLE) + 1]) / "config.json"
        add_variables(config, json.loads(Path(variables).read_text()))
    os.execvp(runtime, [runtime, *arguments])  # noqa: S606  # no shell is wanted


def add_variables(config: Path, variables: Mapping[str, str]) -> None:
    """Set variables in a container's configuration; they replace those of their names."""
    document = json.loads(config.read_text())
    kept = [text for text in document["process"]["env"] if text.partition("=")[0] not in variables]
    document["process"]["env"] = kept + [f"{name}={value}" for name, value in variables.items()]
    config.write_text(json.dumps(document))  # in place: it keeps its mode


if __name__ == "__main__":
    main(sys.argv[1:])
