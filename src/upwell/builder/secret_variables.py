"""Variables that the commands of a build get from the container runtime, beside the image."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from upwell.builder import runtime_command
from upwell.machine.private_file import write_private


def runtime_with(variables: Mapping[str, str], runtime: str, folder: Path) -> Path:
    """Write a runtime for `buildah --runtime` that adds `variables` to every container.

    The values are in a file of the private `folder`, and go with it. Only the making of a container
    takes the time that Python takes to start.
    """
    values, program = folder / "secret-variables", folder / "secret-runtime"
    write_private(values, json.dumps(variables))
    words = (sys.executable, "-I", "-S", runtime_command.__file__, str(values), runtime)
    making, others = shlex.join(words), shlex.quote(runtime)
    script = f'case " $* " in *" --bundle "*) exec {making} "$@";; *) exec {others} "$@";; esac'
    write_private(program, f"#!/bin/sh\n{script}\n", mode=0o700)
    return program
