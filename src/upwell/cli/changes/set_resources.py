"""`upwell set resources`: change requests and limits of containers."""

from collections.abc import Mapping
from dataclasses import dataclass

import click

from upwell.cli.changes.pod_templates import containers, pod_spec
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.targets import TargetOptions, parse_targets, target_options


@dataclass(frozen=True, slots=True)
class _Quantities:
    """Quantities by resource, for the containers of these names; 0 removes one."""

    pattern: str
    limits: Mapping[str, str]
    requests: Mapping[str, str]

    def __call__(self, document: Document) -> None:
        for container in containers(pod_spec(document), self.pattern):
            resources = container.setdefault("resources", {})
            for field, wanted in (("limits", self.limits), ("requests", self.requests)):
                stored = {**(resources.get(field) or {}), **wanted}
                kept_ones = {name: value for name, value in stored.items() if value != "0"}
                resources[field] = kept_ones
                if not kept_ones:
                    del resources[field]
            if not resources:
                del container["resources"]


@click.command(
    epilog=examples(
        "upwell set resources deployment/shop --limits=cpu=500m,memory=512Mi",
        "upwell set resources dc gate -c web --requests=cpu=100m",
        "upwell set resources deployment --all --limits=cpu=0,memory=0",
    )
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]...")
@click.option(
    "-c",
    "--containers",
    "pattern",
    default="*",
    show_default=True,
    help="Names of containers, joined by commas; * and ? are wildcards.",
)
@click.option(
    "--limits",
    metavar="NAME=QUANTITY,...",
    default="",
    show_default="as they are",
    help="Limits; 0 removes one.",
)
@click.option(
    "--requests",
    metavar="NAME=QUANTITY,...",
    default="",
    show_default="as they are",
    help="Requests; 0 removes one.",
)
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def resources(
    ctx: click.Context, words: tuple[str, ...], pattern: str, limits: str, requests: str
) -> None:
    """Change requests and limits of containers."""
    session: Session = ctx.ensure_object(Session)
    if not limits and not requests:
        raise click.UsageError("give --limits, --requests, or both")
    quantities = _Quantities(pattern, _parsed("--limits", limits), _parsed("--requests", requests))
    targets = parse_targets(session, kept(ctx, TargetOptions), words)
    wanted = Wanted(quantities, "resource requirements updated")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


def _parsed(option: str, text: str) -> dict[str, str]:
    return parse_assignments(option, text.split(",")) if text else {}
