"""Refuses a Dockerfile that would write the value of a Secret into its image."""

import re
from collections.abc import Collection, Iterator

from upwell.formats.dockerfile.instructions import Instruction, Script
from upwell.formats.dockerfile.lines import DockerfileError

_EXPANDED = frozenset(
    {
        *("ADD", "ARG", "COPY", "ENV", "EXPOSE", "FROM", "LABEL", "STOPSIGNAL", "USER"),
        *("VOLUME", "WORKDIR"),
    }
)
"""Instructions whose variables the builder replaces; others leave that to a shell."""

_VARIABLE = re.compile(r"(?<![\\`])\$\{?([^\W\d]\w*)", re.ASCII)


def check_secret_variables(script: Script, names: Collection[str]) -> None:
    """Raise DockerfileError if an instruction other than RUN takes one of the variables `names`."""
    for instruction in script.instructions:
        for text in _expanded(instruction):
            for name in _VARIABLE.findall(text):
                if name in names:
                    raise DockerfileError(instruction.line, _refusal(instruction, name))


def _expanded(instruction: Instruction) -> Iterator[str]:
    """Yield the texts in which the builder replaces variables."""
    yield from map(str, instruction.flags)
    if instruction.keyword in _EXPANDED:
        yield instruction.rest
        for heredoc in instruction.heredocs:
            yield from heredoc.lines


def _refusal(instruction: Instruction, name: str) -> str:
    return (
        f"{instruction.keyword} takes ${name}, which comes from a Secret and would stay in the"
        " image: only commands of RUN see it. Use it in RUN, or mount the Secret there"
        " (spec.strategy.dockerStrategy.volumes)"
    )
