"""`upwell get`: list or watch objects."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.names import parse_kinds, parse_named
from upwell.cli.core.output import (
    Format,
    align,
    aligned,
    column_widths,
    full_name,
    output_option,
    template_of,
    write_data,
    write_objects,
)
from upwell.cli.core.selection import selection_options, selector_of
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import listed, watching
from upwell.cli.objects.tables import Table, TableStyle
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


@dataclass(slots=True)
class _ListOptions:
    """Options of tables, of the order, and of what is missing."""

    sort_by: str = ""
    label_columns: tuple[str, ...] = ()
    show_labels: bool = False
    show_kind: bool = False
    no_headers: bool = False
    ignore_not_found: bool = False
    sources: tuple[str, ...] = ()
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class _GetRequest:
    """Objects to show, and the output format."""

    wanted: QuerySelector
    """Selector of a list; without a namespace, of all."""
    output: str
    all_namespaces: bool
    options: _ListOptions = field(default_factory=_ListOptions)

    def selector(self, kind: type[Resource], name: str = "") -> Selector:
        wanted = self.wanted
        namespace = wanted.namespace if kind.KIND.namespaced else ""
        queries = (wanted.label_query, wanted.field_query)
        if not any(queries):
            return Selector(namespace, wanted.labels, name)
        return QuerySelector(namespace, wanted.labels, name, *queries)

    def table(self, kind: type[Resource], listed: Sequence[Resource], *, kinds: bool) -> Table:
        style = TableStyle(
            wide=self.output == Format.WIDE,
            namespaces=self.all_namespaces and kind.KIND.namespaced,
            kinds=kinds or self.options.show_kind,
            label_columns=self.options.label_columns,
            labels=self.options.show_labels,
        )
        return Table(kind.KIND, style, listed)

    def ordered(self, resources: Sequence[Resource]) -> list[Resource]:
        """Return objects in the order that was asked for; raises CommandError."""
        if not self.options.sort_by:
            return list(resources)
        try:
            pairs = ((resource, encode(resource)) for resource in resources)
            return in_order(pairs, self.options.sort_by)
        except PrintingError as error:
            raise CommandError(f"--sort-by: {error}") from error

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
        "upwell get builds --field-selector status=Failed --sort-by=.metadata.creationTimestamp",
        "upwell get deployment -l 'tier in (web,api)' --show-labels",
        "upwell get -f shop.yaml",
        "upwell get route shop -o jsonpath='{.spec.host}'",
        "upwell get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
    )
)
@keep_option(
    _ListOptions,
    "sources",
    "-f",
    "--filename",
    multiple=True,
    metavar="SOURCE",
    help="Objects of a file, folder, URL or - for stdin; repeatable.",
)
@keep_option(
    _ListOptions,
    "recursive",
    "-R",
    "--recursive",
    is_flag=True,
    help="Read the subfolders of a folder as well.",
)
@click.argument("what", nargs=-1, metavar="[KIND [NAME]... | KIND/NAME...]")
@click.option("-A", "--all-namespaces", is_flag=True, help="List the objects of all namespaces.")
@selection_options
@click.option("-w", "--watch", is_flag=True, help="Print changes until interrupted.")
@keep_option(
    _ListOptions,
    "sort_by",
    "--sort-by",
    metavar="PATH",
    show_default="namespace and name",
    help="Path of the field by which to sort, as in .metadata.name.",
)
@keep_option(
    _ListOptions,
    "label_columns",
    "-L",
    "--label-columns",
    multiple=True,
    metavar="KEY",
    help="Label to show in a column of its own; repeatable.",
)
@keep_option(
    _ListOptions, "show_labels", "--show-labels", is_flag=True, help="Show a column of all labels."
)
@keep_option(
    _ListOptions, "show_kind", "--show-kind", is_flag=True, help="Show names with their kind."
)
@keep_option(_ListOptions, "no_headers", "--no-headers", is_flag=True, help="Leave out the titles.")
@keep_option(
    _ListOptions,
    "ignore_not_found",
    "--ignore-not-found",
    is_flag=True,
    help="Succeed for an object that does not exist.",
)
@output_option(Format.TABLE, Format.WIDE, Format.NAME, Format.JSON, Format.YAML, columns=True)
@connection_options
@click.pass_context
def get(
    ctx: click.Context,
    what: tuple[str, ...],
    all_namespaces: bool,  # noqa: FBT001 - click passes options by name
    labels: str,
    fields: str,
    watch: bool,  # noqa: FBT001 - the same
    output: str,
) -> None:
    """List or watch objects.

    KIND is a kind's name in singular or plural, or a short one; several are joined by commas;
    `all` stands for the kinds that an application is made of.

    The templates of -o jsonpath, go-template and custom-columns, and those of a file
    (jsonpath-file=PATH, …), are kubectl's.
    """
    session: Session = ctx.ensure_object(Session)
    namespace = "" if all_namespaces else session.namespace
    request = _GetRequest(
        selector_of(namespace, labels, fields),
        output,
        all_namespaces,
        kept(ctx, _ListOptions),
    )
    named, kinds = _wanted(session, what, request.options)
    if watch and len(named or kinds) != 1:
        raise click.UsageError("--watch takes one kind or one object")
    if named and (labels or fields or all_namespaces):
        raise click.UsageError("name objects, or select them by -l, --field-selector or -A")

    async def work(client: ApiClient) -> None:
        if watch:
            kind, namespace, name = named[0] if named else (kinds[0], request.wanted.namespace, "")
            selector = replace(request.selector(kind, name), namespace=namespace)
            if not kind.KIND.namespaced:
                selector = replace(selector, namespace="")
            await _watch(client, kind, selector, request)
        elif named:
            await _show_named(client, named, request)
        else:
            await _show_kinds(client, kinds, request)

    session.run(work)


type _Place = tuple[type[Resource], str, str]
"""Kind, namespace and name."""


def _wanted(
    session: Session, what: Sequence[str], options: _ListOptions
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


async def _show_named(client: ApiClient, named: Sequence[_Place], request: _GetRequest) -> None:
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


async def _show_kinds(
    client: ApiClient, kinds: Sequence[type[Resource]], request: _GetRequest
) -> None:
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


def _write_tables(groups: Sequence[Sequence[Resource]], request: _GetRequest) -> None:
    now = clock.now()
    for at, group in enumerate(groups):
        if at:
            echo()
        table = request.table(type(group[0]), group, kinds=len(groups) > 1)
        rows = [table.row(item, now) for item in group]
        for line in aligned(rows if request.options.no_headers else [table.header(), *rows]):
            echo(line)


async def _watch(
    client: ApiClient, kind: type[Resource], selector: Selector, request: _GetRequest
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


def _line_writer(
    kind: type[Resource], listing: Listing[Resource], request: _GetRequest
) -> "_Writer":
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
        echo(f"{row}   (deleted)" if change is Change.DELETED else row)


type _Writer = _DocumentWriter | _RowWriter
