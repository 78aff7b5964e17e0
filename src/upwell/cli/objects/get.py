"""`upwell get`: list or watch objects."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.api.validation.labels import is_label_key, is_label_value
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.names import Named, parse_kinds, parse_named
from upwell.cli.core.output import (
    Format,
    Table,
    TableStyle,
    align,
    aligned,
    column_widths,
    full_name,
    output_option,
    write_data,
    write_objects,
)
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import listed, watching
from upwell.machine import clock
from upwell.store.interface import ApiClient, Change, ExpiredError, Listing, Selector


@dataclass(frozen=True, slots=True)
class _GetRequest:
    """Objects to show, and the output format."""

    namespace: str
    """Namespace to list; empty for all."""
    labels: dict[str, str]
    output: str
    all_namespaces: bool

    def selector(self, kind: type[Resource], name: str = "") -> Selector:
        namespace = self.namespace if kind.KIND.namespaced else ""
        return Selector(namespace, self.labels, name)

    def table(self, kind: type[Resource], *, kinds: bool) -> Table:
        namespaces = self.all_namespaces and kind.KIND.namespaced
        style = TableStyle(self.output == Format.WIDE, namespaces, kinds)
        return Table(kind.KIND, style)

    @property
    def tabular(self) -> bool:
        return self.output in {Format.TABLE, Format.WIDE}


@click.command(
    epilog=examples(
        "upwell get all",
        "upwell get is,bc -A",
        "upwell get deployment shop -o yaml",
        "upwell get build/shop-2 -o wide",
        "upwell get builds -l openshift.io/build-config.name=shop --watch",
    )
)
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]... | KIND/NAME...")
@click.option("-A", "--all-namespaces", is_flag=True, help="List the objects of all namespaces.")
@click.option(
    "-l",
    "--selector",
    "labels",
    metavar="K=V,...",
    help="Labels that objects must have.  [default: all objects]",
)
@click.option("-w", "--watch", is_flag=True, help="Print changes until interrupted.")
@output_option(Format.TABLE, Format.WIDE, Format.NAME, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def get(
    session: Session,
    what: tuple[str, ...],
    all_namespaces: bool,  # noqa: FBT001 - click passes options by name
    labels: str | None,
    watch: bool,  # noqa: FBT001 - the same
    output: str,
) -> None:
    """List or watch objects.

    KIND is a kind's name in singular or plural, or a short one; several are joined by commas;
    `all` stands for the kinds that an application is made of.
    """
    request = _GetRequest(
        "" if all_namespaces else session.namespace, _labels(labels), output, all_namespaces
    )
    by_name = "/" in what[0] or len(what) > 1
    named = parse_named(what) if by_name else []
    kinds = [] if by_name else parse_kinds(what[0])
    if watch and len(named or kinds) != 1:
        raise click.UsageError("--watch takes one kind or one object")

    async def work(client: ApiClient) -> None:
        if watch:
            kind, name = (named[0].resource, named[0].name) if named else (kinds[0], "")
            await _watch(client, kind, request.selector(kind, name), request)
        elif named:
            await _show_named(client, named, session, request)
        else:
            await _show_kinds(client, kinds, request)

    session.run(work)


def _labels(text: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.removeprefix("=").strip()
        if not (equals and is_label_key(key) and is_label_value(value)):
            raise click.UsageError(f"--selector takes KEY=VALUE,..., not {part!r}")
        found[key] = value
    return found


async def _show_named(
    client: ApiClient, named: Sequence[Named], session: Session, request: _GetRequest
) -> None:
    resources = [
        await client.get(one.resource, one.namespace(session.namespace), one.name) for one in named
    ]
    if not request.tabular:
        write_objects(resources, request.output, single=True)
        return
    kinds = list(dict.fromkeys(type(resource) for resource in resources))
    groups = [[item for item in resources if type(item) is kind] for kind in kinds]
    _write_tables(groups, request)


async def _show_kinds(
    client: ApiClient, kinds: Sequence[type[Resource]], request: _GetRequest
) -> None:
    async with asyncio.TaskGroup() as tasks:
        lists = [tasks.create_task(client.list(kind, request.selector(kind))) for kind in kinds]
    groups = [list(task.result().items) for task in lists]
    if not request.tabular:
        write_objects([item for group in groups for item in group], request.output, single=False)
    elif any(groups):
        _write_tables([group for group in groups if group], request)
    else:
        where = f"in namespace {request.namespace}" if request.namespace else "in any namespace"
        echo(f"no objects found {where}", err=True)


def _write_tables(groups: Sequence[Sequence[Resource]], request: _GetRequest) -> None:
    now = clock.now()
    for at, group in enumerate(groups):
        if at:
            echo()
        table = request.table(type(group[0]), kinds=len(groups) > 1)
        for line in aligned([table.header(), *(table.row(item, now) for item in group)]):
            echo(line)


async def _watch(
    client: ApiClient, kind: type[Resource], selector: Selector, request: _GetRequest
) -> None:
    """Print the present state, then each change as a line or document of its own."""
    listing = await client.list(kind, selector)
    while True:
        write = _line_writer(kind, listing, request)
        for resource in listing.items:
            write(resource, Change.ADDED)
        try:
            since = listing.resource_version
            async with watching(client, kind, selector, since=since) as events:
                async for event in events:
                    write(event.resource, event.change)
        except ExpiredError:
            echo("the watch fell too far behind; listing again", err=True)
            listing = await listed(client, kind, selector)


def _line_writer(
    kind: type[Resource], listing: Listing[Resource], request: _GetRequest
) -> "_Writer":
    if not request.tabular:
        return _DocumentWriter(request.output)
    return _RowWriter(request.table(kind, kinds=False), listing)


class _DocumentWriter:
    """Writer of each state as a document of its own."""

    def __init__(self, output: str) -> None:
        self._output = output

    def __call__(self, resource: Resource, change: Change) -> None:
        if self._output == Format.NAME:
            echo(full_name(resource))
            return
        if self._output == Format.YAML:
            echo("---")
        write_data({"type": str(change), "object": encode(resource)}, self._output)


class _RowWriter:
    """Writer of each state as a row; the widths are those of the rows at the start."""

    def __init__(self, table: Table, listing: Listing[Resource]) -> None:
        self._table = table
        now = clock.now()
        header = table.header()
        self._widths = column_widths([header, *(table.row(item, now) for item in listing.items)])
        echo(align(header, self._widths))

    def __call__(self, resource: Resource, change: Change) -> None:
        row = align(self._table.row(resource, clock.now()), self._widths)
        echo(f"{row}   (deleted)" if change is Change.DELETED else row)


type _Writer = _DocumentWriter | _RowWriter
