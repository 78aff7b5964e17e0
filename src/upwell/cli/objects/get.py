"""`upwell get`: list or watch objects."""

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.output import Format, output_option
from upwell.cli.core.selection import selection_options
from upwell.cli.objects.list_options import ListOptions, ListRequest
from upwell.cli.objects.server_tables import write_server_tables


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
    ListOptions,
    "sources",
    "-f",
    "--filename",
    multiple=True,
    metavar="SOURCE",
    help="Objects of a file, folder, URL or - for stdin; repeatable.",
)
@keep_option(
    ListOptions,
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
    ListOptions,
    "sort_by",
    "--sort-by",
    metavar="PATH",
    show_default="namespace and name",
    help="Path of the field by which to sort, as in .metadata.name.",
)
@keep_option(
    ListOptions,
    "label_columns",
    "-L",
    "--label-columns",
    multiple=True,
    metavar="KEY",
    help="Label to show in a column of its own; repeatable.",
)
@keep_option(
    ListOptions, "show_labels", "--show-labels", is_flag=True, help="Show a column of all labels."
)
@keep_option(
    ListOptions, "show_kind", "--show-kind", is_flag=True, help="Show names with their kind."
)
@keep_option(ListOptions, "no_headers", "--no-headers", is_flag=True, help="Leave out the titles.")
@keep_option(
    ListOptions,
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
    options = kept(ctx, ListOptions)
    request = ListRequest(what, namespace, all_namespaces, labels, fields, watch, output, options)
    if not write_server_tables(session, request):
        from upwell.cli.objects.listing import show_objects  # noqa: PLC0415 - loads the models

        show_objects(session, request)
