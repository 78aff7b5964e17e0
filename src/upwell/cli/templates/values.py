"""The options that give a Template's parameters their values, and a Template's processing."""

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
    """Give a command `--param` and its like; `requested_values` returns what they say."""
    for option in (
        click.option(
            "--ignore-unknown-parameters",
            is_flag=True,
            expose_value=False,
            callback=_keep_ignoring,
            help="Leave out values that the template has no parameter for.",
        ),
        click.option(
            "-l",
            "--labels",
            multiple=True,
            metavar="NAME=VALUE",
            expose_value=False,
            callback=_keep_labels,
            help="Label for every object; repeatable.",
        ),
        click.option(
            "--param-file",
            multiple=True,
            metavar="FILE",
            expose_value=False,
            callback=_keep_file_values,
            help="File of NAME=VALUE lines, or - for stdin; repeatable. -p wins.",
        ),
        click.option(
            "-p",
            "--param",
            multiple=True,
            metavar="NAME=VALUE",
            expose_value=False,
            callback=_keep_values,
            help="Value of a template's parameter; repeatable. For all to see in `ps`:"
            " passwords belong into --param-file.",
        ),
    ):
        function = option(function)
    return function


def requested_values(ctx: click.Context) -> ProcessRequest:
    """Return what the options of this call ask for."""
    given: dict[str, Any] = ctx.meta.get(_KEY, {})
    values = given.get("file", {}) | given.get("own", {})
    return ProcessRequest(
        values, given.get("labels", {}), ignore_unknown=given.get("ignore", False)
    )


def expand(template: Template, request: ProcessRequest) -> Processed:
    """Process a template with random values of the system.

    Raises CommandError with every fault.
    """
    try:
        return process_template(template, request, secrets.choice)
    except InvalidTemplateError as error:
        reasons = "\n  ".join(str(fault) for fault in error.faults)
        message = f"template {template.name!r} cannot be processed:\n  {reasons}"
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
