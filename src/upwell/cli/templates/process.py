"""`upwell process`: print the objects of a Template with its parameters replaced."""

from collections.abc import Mapping
from typing import Any

import click

from upwell.api.template import Parameter
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.output import MISSING, Format, aligned, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.templates.sources import load_template
from upwell.cli.templates.values import expand, requested_values, value_options


@click.command(
    epilog=examples(
        "upwell process shop.yaml -p NAME=shop | upwell apply -f -",
        "upwell process -f shop.yaml --parameters",
        "upwell process shop-template --param-file shop.env -l team=web -o json",
        "upwell process https://example.com/shop.yaml --parameters",
    )
)
@click.argument("template", metavar="[TEMPLATE]", required=False)
@click.option(
    "-f", "--filename", "file", metavar="FILE", help="Template, as the argument; no default."
)
@value_options
@click.option("--parameters", is_flag=True, help="List the parameters of the Template instead.")
@click.option(
    "--local",
    is_flag=True,
    expose_value=False,
    help="Ask no server, as none is asked anyhow for a Template in a file.",
)
@output_option(Format.YAML, Format.JSON, Format.NAME)
@connection_options
@click.pass_context
def process(
    ctx: click.Context,
    template: str | None,
    file: str | None,
    parameters: bool,  # noqa: FBT001 - click passes options by name
    output: str,
) -> None:
    """Print the objects of TEMPLATE as a List, with its parameters replaced.

    TEMPLATE is a file, an http(s) URL, - for stdin, or the name of a Template in the namespace.
    Nothing is written to the server.
    """
    sources = [one for one in (template, file) if one]
    if len(sources) != 1:
        raise click.UsageError("name one Template: as TEMPLATE, or by -f FILE")
    found = load_template(sources[0], ctx.ensure_object(Session))
    if parameters:
        rows = [("NAME", "DESCRIPTION", "GENERATED", "VALUE"), *map(_row, found.parameters)]
        for line in aligned(rows):
            echo(line)
        return
    items = expand(found, requested_values(ctx)).objects
    if output == Format.NAME:
        for item in items:
            echo(_name(item))
        return
    write_data({"apiVersion": "v1", "kind": "List", "items": list(items)}, output)


def _name(document: Mapping[str, Any]) -> str:
    """Return `KIND.GROUP/NAME`, as kubectl's -o name."""
    group, slash, _ = str(document.get("apiVersion", "")).rpartition("/")
    kind = str(document.get("kind", "")).lower()
    name = (document.get("metadata") or {}).get("name", "")
    return f"{kind}.{group}/{name}" if slash else f"{kind}/{name}"


def _row(parameter: Parameter) -> tuple[str, str, str, str]:
    value = parameter.value or ("(required)" if parameter.required else MISSING)
    generated = (parameter.from_ if parameter.generate else None) or MISSING
    return (parameter.name, parameter.description or MISSING, generated, value)
