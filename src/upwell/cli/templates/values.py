"""Options for the values of a Template's parameters, and processing of a Template."""

import secrets
from collections.abc import Callable
from typing import Any

import click

from upwell.api.template import Template
from upwell.cli.core.assignments import parse_assignments, read_assignments
from upwell.cli.core.errors import CommandError, Exit
from upwell.policy.templates.process import (
    InvalidTemplateError,
    Processed,
    ProcessRequest,
    process_template,
)

_KEY = "upwell.cli.templates.values"


def value_options[F: Callable[..., Any]](function: F) -> F:
    """Add `--param`, `--param-file`, `--labels` to a command; `requested_values` reads them."""
    for option in (
        click.option(
            "--ignore-unknown-parameters",
            is_flag=True,
            expose_value=False,
            callback=_keep_ignoring,
            help="Ignore values without a parameter in the Template.",
        ),
        click.option(
            "-l",
            "--labels",
            multiple=True,
            metavar="NAME=VALUE",
            expose_value=False,
            callback=_keep_labels,
            help="Label to add to every object; repeatable.",
        ),
        click.option(
            "--param-file",
            multiple=True,
            metavar="FILE",
            expose_value=False,
            callback=_keep_file_values,
            help="File of NAME=VALUE lines, or - for stdin; repeatable. -p takes precedence.",
        ),
        click.option(
            "-p",
            "--param",
            multiple=True,
            metavar="NAME=VALUE",
            expose_value=False,
            callback=_keep_values,
            help="Value of a parameter; repeatable. Visible in the process list: pass"
            " passwords with --param-file.",
        ),
    ):
        function = option(function)
    return function


def requested_values(ctx: click.Context) -> ProcessRequest:
    """Return the values, labels and flags of this call."""
    given: dict[str, Any] = ctx.meta.get(_KEY, {})
    values = given.get("file", {}) | given.get("own", {})
    return ProcessRequest(
        values, given.get("labels", {}), ignore_unknown=given.get("ignore", False)
    )


def expand(template: Template, request: ProcessRequest) -> Processed:
    """Process a Template; generated values come from the system's randomness.

    Raises CommandError with every fault.
    """
    try:
        return process_template(template, request, secrets.choice)
    except InvalidTemplateError as error:
        reasons = "\n  ".join(str(fault) for fault in error.faults)
        message = f"cannot process template {template.name!r}:\n  {reasons}"
        raise CommandError(message, Exit.USAGE) from error


def _keep(ctx: click.Context, name: str, value: object) -> None:
    ctx.meta.setdefault(_KEY, {})[name] = value


def _keep_values(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    _keep(ctx, "own", parse_assignments(parameter.opts[-1], value))


def _keep_file_values(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> None:
    _keep(ctx, "file", read_assignments(parameter.opts[-1], value))


def _keep_labels(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    _keep(ctx, "labels", parse_assignments(parameter.opts[-1], value))


def _keep_ignoring(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's own signature
    _keep(ctx, "ignore", value)
