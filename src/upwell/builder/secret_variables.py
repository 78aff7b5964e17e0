"""Variables that the commands of a build see, and that nothing of the image knows."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from upwell.builder import runtime_command
from upwell.machine.private_file import write_private


def runtime_with(variables: Mapping[str, str], runtime: str, folder: Path) -> Path:
    """Write a runtime for `buildah --runtime` that adds `variables` to every container.

    The values are in a file of the private `folder`, and go with it.
    """
    values, program = folder / "secret-variables", folder / "secret-runtime"
    write_private(values, json.dumps(variables))
    words = (sys.executable, "-I", "-S", runtime_command.__file__, str(values), runtime)
    write_private(program, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', mode=0o700)
    return program
