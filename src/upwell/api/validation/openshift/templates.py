"""Rules of Templates (template/v1)."""

import re
from collections.abc import Iterator

from upwell.api.template import Template
from upwell.api.values.faults import Fault

_PARAMETER = re.compile(r"[a-zA-Z0-9_]+")


def template_faults(template: Template) -> Iterator[Fault]:
    """Yield what is wrong with the parameters of a Template; its objects are looked at later."""
    for at, parameter in enumerate(template.parameters):
        path = f"parameters[{at}].name"
        if not parameter.name:
            yield Fault.required(path)
        elif _PARAMETER.fullmatch(parameter.name) is None:
            yield Fault.invalid(path, parameter.name, f"does not match ^{_PARAMETER.pattern}$")
