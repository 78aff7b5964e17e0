"""Tables of objects as the server makes them.

The classes of objects take a third of a command's start to be loaded, and here nothing needs them.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from upwell.api.decoding.kinds import KindNames
from upwell.cli.core.connection import Session, run_awaited
from upwell.cli.core.names import parse_names_of_kinds, parse_places
from upwell.cli.core.output import Format, full_name_of
from upwell.cli.core.terminal import echo
from upwell.cli.objects.list_options import ListRequest
from upwell.cli.objects.table_style import NO_VALUE
from upwell.cli.presentation.states import echo_table
from upwell.formats.printing.json_path import text_of

if TYPE_CHECKING:
    from upwell.store.kubernetes_tables import TablesRefusedError


def write_server_tables(session: Session, request: ListRequest) -> bool:
    """Write what was asked for as tables of the server's.

    False: nothing was written, since this takes the objects themselves, or something is wrong that
    who reads those can tell. Raises click.UsageError for unknown names, and CommandError for a
    server that does not answer in time, or refuses.
    """
    if session.find_access is None or not _is_plain(request):
        return False
    from upwell.store.kubernetes_tables import (  # noqa: PLC0415 - loads asyncio with TLS
        TableRequest,
        TablesRefusedError,
        read_tables,
    )

    if len(request.what) == 1 and "/" not in request.what[0]:
        places = [(names, "") for names in parse_names_of_kinds(request.what[0])]
    else:
        places = parse_places(request.what)
    params = _params(request)
    asked = [
        TableRequest(
            names.api_version,
            names.plural,
            request.namespace if names.namespaced else "",
            name,
            params,
        )
        for names, name in places
    ]
    access = session.find_access(session.server, session.token, session.authority)
    try:
        lists = run_awaited(read_tables(access, asked))
    except TimeoutError as error:
        raise session.unreachable(f"{access.base_url} did not answer in time") from error
    except TablesRefusedError as refusal:
        is_one = len(places) == 1 and not request.options.ignore_not_found
        if refusal.status == HTTPStatus.NOT_FOUND and not is_one:
            return False  # what is not missing is shown
        names, _ = places[asked.index(refusal.request)]
        _tell(session, refusal, names)
    if lists is None:
        return False
    found = zip(places, lists, strict=True)
    _write([(names, page) for (names, _), pages in found for page in pages], request)
    return True


def _is_plain(request: ListRequest) -> bool:
    """Return whether rows of the server's are all that is needed."""
    if not request.tabular or not request.what or request.watch:
        return False
    options = request.options
    is_named = len(request.what) > 1 or "/" in request.what[0]
    is_selected = bool(request.labels or request.fields or request.all_namespaces)
    return not (options.sort_by or options.sources or (is_named and is_selected))


def _tell(session: Session, refusal: "TablesRefusedError", names: KindNames) -> NoReturn:
    """Raise CommandError with what the server says."""
    from upwell.api.meta import ObjectKey  # noqa: PLC0415 - of errors alone
    from upwell.store.kubernetes_errors import ApiStatus  # noqa: PLC0415 - the same

    asked, kind = refusal.request, names.resource().KIND
    verdict = ApiStatus.parse(refusal.body, refusal.status)
    session.fail(verdict.error(kind, ObjectKey(kind.kind, asked.namespace, asked.name)))


def _params(request: ListRequest) -> Mapping[str, str]:
    options = request.options
    in_metadata = request.all_namespaces or options.show_labels or options.label_columns
    given = {
        "labelSelector": request.labels,
        "fieldSelector": request.fields,
        "includeObject": "Metadata" if in_metadata else "None",
    }
    return {name: text for name, text in given.items() if text}


def _write(found: Sequence[tuple[KindNames, Mapping[str, Any]]], request: ListRequest) -> None:
    groups: dict[KindNames, list[Mapping[str, Any]]] = {}
    for names, table in found:
        if table["rows"]:
            groups.setdefault(names, []).append(table)
    if not groups:
        where = f"in namespace {request.namespace}" if request.namespace else "in any namespace"
        echo(f"no objects found {where}", err=True)
    for at, (names, tables) in enumerate(groups.items()):
        if at:
            echo()
        lines = _lines(names, tables, request, kinds=len(groups) > 1)
        echo_table(lines, is_wide=request.output == Format.WIDE)


def _lines(
    names: KindNames, tables: Sequence[Mapping[str, Any]], request: ListRequest, *, kinds: bool
) -> Sequence[Sequence[str]]:
    """Return titles and rows of one kind."""
    style = request.style(namespaced=names.namespaced, kinds=kinds)
    heads = [table["columnDefinitions"] for table in tables]
    # What is notable in one of the objects is narrow, though other pages or tables have it wide.
    shown = [
        at
        for at, same in enumerate(zip(*heads, strict=True))
        if style.wide or not all(one.get("priority") for one in same)
    ]
    titles = [str(heads[0][at]["name"]).upper() for at in shown]
    is_named = heads[0][shown[0]].get("format") == "name"
    lines = [] if request.options.no_headers else [style.titles(titles)]
    for row in (row for table in tables for row in table["rows"]):
        cells = [row["cells"][at] for at in shown]
        texts = [NO_VALUE if cell is None else text_of(cell) for cell in cells]
        if style.kinds and is_named:
            texts[0] = full_name_of(names.singular, names.group, texts[0])
        metadata = (row.get("object") or {}).get("metadata") or {}
        lines.append(
            style.row(texts, metadata.get("namespace") or "", metadata.get("labels") or {})
        )
    return lines
