"""Variables of builds and of hooks, whose names have two forms."""

import re
from collections.abc import Callable, Iterator, Sequence

from upwell.api.pod_template import EnvVar
from upwell.api.validation.formats import variable_problem
from upwell.api.values.faults import Fault

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _identifier_problem(name: str) -> str:
    if _IDENTIFIER.fullmatch(name) is None:
        return (
            "a valid C identifier must start with alphabetic character or '_', followed by a "
            "string of alphanumeric characters or '_'"
        )
    return ""


def identifier_faults(variables: Sequence[EnvVar], path: str) -> Iterator[Fault]:
    """Yield what is wrong with the variables of a hook or a custom deployment."""
    yield from _faults(variables, path, _identifier_problem)


def variable_faults(variables: Sequence[EnvVar], path: str) -> Iterator[Fault]:
    """Yield what is wrong with the variables of a build."""
    yield from _faults(variables, path, variable_problem)
    for at, variable in enumerate(variables):
        source = variable.value_from
        if source is not None and "resourceFieldRef" in (source.model_extra or {}):
            why = "is not valid for valueFrom in build environment variables"
            yield Fault.invalid(f"{path}[{at}].valueFrom.resourceFieldRef", variable.name, why)


def _faults(
    variables: Sequence[EnvVar], path: str, problem: Callable[[str], str]
) -> Iterator[Fault]:
    for at, variable in enumerate(variables):
        where = f"{path}[{at}].name"
        if not variable.name:
            yield Fault.required(where)
        elif why := problem(variable.name):
            yield Fault.invalid(where, variable.name, why)
        key = variable.value_from.secret_key_ref if variable.value_from is not None else None
        if key is not None and not key.key:
            yield Fault.required(f"{path}[{at}].valueFrom.secretKeyRef.key")
