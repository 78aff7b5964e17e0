"""Lists of objects, and their changes as they come."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.cli.core.connection import Session
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.errors import CommandError
from upwell.cli.core.names import parse_kinds, parse_named
from upwell.cli.core.output import (
    Format,
    align,
    aligned,
    column_widths,
    full_name,
    template_of,
    write_data,
    write_objects,
)
from upwell.cli.core.selection import selector_of
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import listed, watching
from upwell.cli.objects.list_options import ListOptions, ListRequest
from upwell.cli.objects.tables import Table
from upwell.cli.presentation.states import echo_states, echo_table
from upwell.formats.printing.custom_columns import in_order
from upwell.formats.printing.errors import PrintingError
from upwell.machine import clock
from upwell.store.interface import (
    ApiClient,
    Change,
    ExpiredError,
    Listing,
    NotFoundError,
    QuerySelector,
    Selector,
)


@dataclass(frozen=True, slots=True)
class _Listed:
    """Request for objects, with the selector of its lists."""

    request: ListRequest
    wanted: QuerySelector
    """Without a namespace, of all."""

    def selector(self, kind: type[Resource], name: str = "") -> Selector:
        wanted = self.wanted
        namespace = wanted.namespace if kind.KIND.namespaced else ""
        queries = (wanted.label_query, wanted.field_query)
        if not any(queries):
            return Selector(namespace, wanted.labels, name)
        return QuerySelector(namespace, wanted.labels, name, *queries)

    def table(self, kind: type[Resource], listed: Sequence[Resource], *, kinds: bool) -> Table:
        style = self.request.style(namespaced=kind.KIND.namespaced, kinds=kinds)
        return Table(kind.KIND, style, listed)

    def ordered(self, resources: Sequence[Resource]) -> list[Resource]:
        """Return objects in the order that was asked for; raises CommandError."""
        sort_by = self.request.options.sort_by
        if not sort_by:
            return list(resources)
        try:
            return in_order(((resource, encode(resource)) for resource in resources), sort_by)
        except PrintingError as error:
            raise CommandError(f"--sort-by: {error}") from error

    @property
    def options(self) -> ListOptions:
        return self.request.options

    @property
    def output(self) -> str:
        return self.request.output

    @property
    def tabular(self) -> bool:
        return self.request.tabular


def show_objects(session: Session, request: ListRequest) -> None:
    """List or watch objects; raises click.UsageError or CommandError."""
    objects = _Listed(request, selector_of(request.namespace, request.labels, request.fields))
    named, kinds = _wanted(session, request.what, request.options)
    if request.watch and len(named or kinds) != 1:
        raise click.UsageError("--watch takes one kind or one object")
    if named and (request.labels or request.fields or request.all_namespaces):
        raise click.UsageError("name objects, or select them by -l, --field-selector or -A")

    async def work(client: ApiClient) -> None:
        if request.watch:
            kind, namespace, name = named[0] if named else (kinds[0], request.namespace, "")
            selector = replace(objects.selector(kind, name), namespace=namespace)
            if not kind.KIND.namespaced:
                selector = replace(selector, namespace="")
            await _watch(client, kind, selector, objects)
        elif named:
            await _show_named(client, named, objects)
        else:
            await _show_kinds(client, kinds, objects)

    session.run(work)


type _Place = tuple[type[Resource], str, str]
"""Kind, namespace and name."""


def _wanted(
    session: Session, what: Sequence[str], options: ListOptions
) -> tuple[Sequence[_Place], Sequence[type[Resource]]]:
    """Return the objects that are named, and else the kinds; raises click.UsageError."""
    if options.sources:
        if what:
            raise click.UsageError("name objects, or manifests with -f, not both")
        manifests = load_manifests(options.sources, session, recursive=options.recursive)
        found = [one.resource for one in manifests]
        return [(type(one), one.namespace, one.name) for one in found], []
    if not what:
        raise click.UsageError("name a kind, objects as KIND/NAME, or manifests with -f")
    if "/" not in what[0] and len(what) == 1:
        return [], parse_kinds(what[0])
    return [
        (one.resource, one.namespace(session.namespace), one.name) for one in parse_named(what)
    ], []


async def _show_named(client: ApiClient, named: Sequence[_Place], request: _Listed) -> None:
    resources: list[Resource] = []
    missing: list[NotFoundError] = []
    for one in named:
        try:
            resources.append(await client.get(*one))
        except NotFoundError as error:
            if len(named) == 1 and not request.options.ignore_not_found:
                raise
            missing.append(error)
    resources = request.ordered(resources)
    if not request.tabular:
        if resources:
            write_objects(resources, request.output, single=len(named) == 1)
    else:
        kinds = list(dict.fromkeys(type(resource) for resource in resources))
        _write_tables(
            [[item for item in resources if type(item) is kind] for kind in kinds], request
        )
    if missing and not request.options.ignore_not_found:
        raise missing[0]


async def _show_kinds(client: ApiClient, kinds: Sequence[type[Resource]], request: _Listed) -> None:
    async with asyncio.TaskGroup() as tasks:
        lists = [tasks.create_task(client.list(kind, request.selector(kind))) for kind in kinds]
    groups = [list(task.result().items) for task in lists]
    if not request.tabular:
        found = request.ordered([item for group in groups for item in group])
        write_objects(found, request.output, single=False)
    elif any(groups):
        _write_tables([request.ordered(group) for group in groups if group], request)
    else:
        namespace = request.wanted.namespace
        where = f"in namespace {namespace}" if namespace else "in any namespace"
        echo(f"no objects found {where}", err=True)


def _write_tables(groups: Sequence[Sequence[Resource]], request: _Listed) -> None:
    now = clock.now()
    for at, group in enumerate(groups):
        if at:
            echo()
        table = request.table(type(group[0]), group, kinds=len(groups) > 1)
        rows = [table.row(item, now) for item in group]
        is_wide = request.output == Format.WIDE
        echo_table(rows if request.options.no_headers else [table.header(), *rows], is_wide=is_wide)


async def _watch(
    client: ApiClient, kind: type[Resource], selector: Selector, request: _Listed
) -> None:
    """Print the present state, then each change as a line or document of its own."""
    listing = await client.list(kind, selector)
    while True:
        write = _line_writer(kind, listing, request)
        for resource in request.ordered(listing.items):
            write(resource, Change.ADDED)
        try:
            since = listing.resource_version
            async with watching(client, kind, selector, since=since) as events:
                async for event in events:
                    write(event.resource, event.change)
        except ExpiredError:
            echo("the watch fell too far behind; listing again", err=True)
            listing = await listed(client, kind, selector)


def _line_writer(kind: type[Resource], listing: Listing[Resource], request: _Listed) -> "_Writer":
    if not request.tabular:
        return _DocumentWriter(request.output)
    return _RowWriter(
        request.table(kind, listing.items, kinds=False),
        listing,
        titles=not request.options.no_headers,
    )


class _DocumentWriter:
    """Writer of each state as a document of its own, or as what a template makes of it."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._is_first = True

    def __call__(self, resource: Resource, change: Change) -> None:
        template = template_of(self._output)
        if self._output == Format.NAME:
            echo(full_name(resource))
        elif template is None:
            if self._output == Format.YAML:
                echo("---")
            write_data({"type": str(change), "object": encode(resource)}, self._output)
        elif (columns := template.columns) is None:
            template.write(encode(resource))
        else:
            rows = [columns.titles, columns.row(encode(resource))]
            for line in list(aligned(rows))[0 if self._is_first else 1 :]:
                echo(line)
        self._is_first = False


class _RowWriter:
    """Writer of each state as a row; the widths are those of the rows at the start."""

    def __init__(self, table: Table, listing: Listing[Resource], *, titles: bool) -> None:
        self._table = table
        now = clock.now()
        header = table.header()
        self._widths = column_widths([header, *(table.row(item, now) for item in listing.items)])
        if titles:
            echo(align(header, self._widths))

    def __call__(self, resource: Resource, change: Change) -> None:
        row = align(self._table.row(resource, clock.now()), self._widths)
        echo_states(f"{row}   (deleted)" if change is Change.DELETED else row)


type _Writer = _DocumentWriter | _RowWriter
