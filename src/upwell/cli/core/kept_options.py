"""Options that a command keeps in one object, so that many of them need not be parameters."""

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource


def kept[T](ctx: click.Context, kind: type[T]) -> T:
    """Return the options of this kind of the present call."""
    key = f"{kind.__module__}.{kind.__qualname__}"
    options: T = ctx.meta.setdefault(key, kind())
    return options


def keep_option(kind: type[Any], target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    """Return a decorator that adds an option, whose value becomes the field `target` of `kind`.

    The default of the option is that of the field: what was given to a group stays in force when
    its command has the option too.
    """

    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        source = ctx.get_parameter_source(parameter.name or "")
        if value is not None and source is not ParameterSource.DEFAULT:
            setattr(kept(ctx, kind), target, value)

    return click.option(*names, expose_value=False, callback=keep, **facts)
