"""`upwell set data`, `image-lookup`, `route-backends`, `selector` and `serviceaccount`."""

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import click

from upwell.api.codec import encode
from upwell.cli.changes.file_data import read_data
from upwell.cli.changes.pod_templates import pod_spec
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.output import aligned, full_name
from upwell.cli.core.targets import (
    ChosenObjects,
    TargetOptions,
    parse_targets,
    parse_targets_of,
    split_words,
    target_options,
)
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient

_RESOLVE_NAMES = "alpha.image.policy.openshift.io/resolve-names"
_WEIGHT = re.compile(r"(?P<name>[^=/]+)=(?P<sign>[+-]?)(?P<number>\d{1,4})(?P<percent>%?)")
_MAX_WEIGHT = 256
_PERCENT = 100

type _Rows = Callable[[str, Document], list[tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class _Data:
    """Keys to set and to remove."""

    values: dict[str, bytes]
    gone: set[str]

    def __call__(self, document: Document) -> None:
        kind = document.get("kind")
        if kind not in {"Secret", "ConfigMap"}:
            raise CommandError("it is neither a Secret nor a config map")
        data, binary = dict(document.get("data") or {}), dict(document.get("binaryData") or {})
        for key in (*self.gone, *self.values):
            data.pop(key, None)
            binary.pop(key, None)
        for key, content in self.values.items():
            coded = base64.b64encode(content).decode()
            if kind == "Secret":
                data[key] = coded
                continue
            try:
                data[key] = content.decode()
            except UnicodeDecodeError:
                binary[key] = coded
        for name, values in (("data", data), ("binaryData", binary)):
            document.pop(name, None)
            if values:
                document[name] = values


@click.command(
    "data",
    epilog=examples(
        "upwell set data secret/database --from-file=password=password.txt",
        "upwell set data configmap/settings mode=fast old-",
        "upwell set data configmap/settings --from-file=haproxy.conf",
    ),
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]... [KEY=VALUE | KEY-]...")
@click.option(
    "--from-file",
    "files",
    multiple=True,
    metavar="[KEY=]PATH",
    help="File, or folder of files, whose name is the key unless given; repeatable.",
)
@click.option(
    "--from-literal", "literals", multiple=True, metavar="KEY=VALUE", help="Key and value."
)
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def data(
    ctx: click.Context, words: tuple[str, ...], files: tuple[str, ...], literals: tuple[str, ...]
) -> None:
    """Set and remove keys of Secrets and config maps."""
    session: Session = ctx.ensure_object(Session)
    objects, changes = split_words(words)
    given = [one for one in changes if "=" in one]
    gone = {one.removesuffix("-") for one in changes if "=" not in one}
    values = read_data(files, (*literals, *given), ())
    if both := gone & set(values):
        raise click.UsageError(f"the key {min(both)} is set and removed")
    if not values and not gone:
        raise click.UsageError("name a key as KEY=VALUE, KEY- or with --from-file")
    targets = parse_targets(session, kept(ctx, TargetOptions), objects)
    wanted = Wanted(_Data(values, gone), "data updated")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A choice: names of images stand for streams, or not."""

    enabled: bool

    def __call__(self, document: Document) -> None:
        if document.get("kind") == "ImageStream":
            document.setdefault("spec", {})["lookupPolicy"] = {"local": self.enabled}
            return
        metadata = _annotated(document)
        annotations = dict(metadata.get("annotations") or {})
        annotations.pop(_RESOLVE_NAMES, None)
        if self.enabled:
            annotations[_RESOLVE_NAMES] = "*"
        metadata.pop("annotations", None)
        if annotations:
            metadata["annotations"] = annotations


def _annotated(document: Document) -> Document:
    spec = document.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    owner = template if isinstance(template, dict) else document
    metadata: Document = owner.setdefault("metadata", {})
    return metadata


def _is_looked_up(document: Document) -> bool:
    if document.get("kind") == "ImageStream":
        policy = (document.get("spec") or {}).get("lookupPolicy") or {}
        return bool(policy.get("local"))
    found = (_annotated(document), document.get("metadata") or {})
    return any((one.get("annotations") or {}).get(_RESOLVE_NAMES) == "*" for one in found)


@click.command(
    "image-lookup",
    epilog=examples(
        "upwell set image-lookup",
        "upwell set image-lookup shop",
        "upwell set image-lookup deploy/shop --list",
        "upwell set image-lookup shop --enabled=false",
    ),
)
@click.argument("words", nargs=-1, metavar="[STREAM | KIND/NAME]...")
@click.option(
    "--enabled",
    type=bool,
    default=True,
    show_default=True,
    metavar="BOOLEAN",
    help="Have names of images stand for tags of streams.",
)
@click.option("--list", "lists", is_flag=True, help="Show how it is.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def image_lookup(
    ctx: click.Context,
    words: tuple[str, ...],
    enabled: bool,  # noqa: FBT001 - click passes options by name
    lists: bool,  # noqa: FBT001 - the same
) -> None:
    """Have the images of a namespace's objects be found in its image streams by name."""
    session: Session = ctx.ensure_object(Session)
    options, writing = kept(ctx, TargetOptions), kept(ctx, WritingOptions)
    if not words and not options.sources and not options.all:
        lists = options.all = True
    targets = parse_targets_of("is", session, options, words)
    if not lists:
        wanted = Wanted(_Lookup(enabled), "image lookup updated")
        change_objects(session, targets, wanted, writing)
        return

    def row(name: str, document: Document) -> list[tuple[str, ...]]:
        is_stream = document.get("kind") == "ImageStream"
        shown = name.rpartition("/")[2] if is_stream else name
        return [(shown, str(_is_looked_up(document)).lower())]

    _list(session, targets, ("NAME", "LOCAL"), row)


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight as it was given."""

    name: str
    number: int
    is_percentage: bool
    is_relative: bool

    @classmethod
    def parse(cls, text: str) -> "_Weight":
        match = _WEIGHT.fullmatch(text)
        if match is None:
            raise click.UsageError(f"{text!r}: expected SERVICE=WEIGHT, a number or percentage")
        number = int(match["number"]) * (-1 if match["sign"] == "-" else 1)
        return cls(match["name"], number, bool(match["percent"]), bool(match["sign"]))


@dataclass(frozen=True, slots=True)
class _Backends:
    """Weights of all backends, or of one of them beside the others."""

    weights: Sequence[_Weight]
    adjusts: bool = False
    equal: int | None = None
    """Weight of each."""

    def __call__(self, document: Document) -> None:
        if document.get("kind") != "Route":
            raise CommandError("it is no Route")
        backends = backends_of(document)
        if self.equal is not None:
            backends = [{**one, "weight": self.equal} for one in backends]
        elif self.adjusts:
            self._adjust(backends)
        else:
            backends = [
                {"kind": "Service", "name": one.name, "weight": one.number} for one in self.weights
            ]
        spec = document.setdefault("spec", {})
        spec["to"] = backends[0]
        spec.pop("alternateBackends", None)
        if backends[1:]:
            spec["alternateBackends"] = backends[1:]

    def _adjust(self, backends: list[Document]) -> None:
        [wanted] = self.weights
        names = [str(one.get("name")) for one in backends]
        if wanted.name not in names:
            raise CommandError(
                f"backend {wanted.name!r} is not in the list of backends ({', '.join(names)})"
            )
        one = backends[names.index(wanted.name)]
        weight = int(one.get("weight", _PERCENT))
        if len(backends) == 1:
            if wanted.is_relative:
                raise CommandError("cannot adjust a single backend by relative weight")
            one["weight"] = wanted.number
            return
        if not wanted.is_percentage:
            one["weight"] = max(0, weight + wanted.number) if wanted.is_relative else wanted.number
            return
        other = backends[1 if one is backends[0] else 0]
        total = weight + int(other.get("weight", 0))
        share = wanted.number
        if wanted.is_relative and total:
            share += weight * _PERCENT // total
        share = min(max(share, 0), _PERCENT)
        for rest in backends:
            if total and rest is not one and rest is not other:
                rest["weight"] = min(int(rest.get("weight", 0)) * _PERCENT // total, _MAX_WEIGHT)
        one["weight"], other["weight"] = share, _PERCENT - share


def backends_of(document: Document) -> list[Document]:
    """Return copies of the backends of a Route."""
    spec = document.get("spec") or {}
    return [dict(one) for one in (spec.get("to"), *(spec.get("alternateBackends") or ())) if one]


@click.command(
    "route-backends",
    epilog=examples(
        "upwell set route-backends web",
        "upwell set route-backends web a=2 b=1",
        "upwell set route-backends web --adjust b=+10%",
        "upwell set route-backends web --zero",
    ),
)
@click.argument("words", nargs=-1, metavar="[ROUTE]... [SERVICE=WEIGHT]...")
@click.option("--adjust", is_flag=True, help="Change one weight, by a number or a percentage.")
@click.option("--zero", is_flag=True, help="Set all weights to 0.")
@click.option("--equal", is_flag=True, help="Set all weights to 100.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def route_backends(
    ctx: click.Context,
    words: tuple[str, ...],
    adjust: bool,  # noqa: FBT001 - click passes options by name
    zero: bool,  # noqa: FBT001 - the same
    equal: bool,  # noqa: FBT001 - the same
) -> None:
    """Show or set the Services of Routes, and the share of the requests that each gets."""
    session: Session = ctx.ensure_object(Session)
    objects = [word for word in words if "=" not in word]
    weights = [_Weight.parse(word) for word in words if "=" in word]
    if adjust + zero + equal > 1:
        raise click.UsageError("--adjust, --zero and --equal may not be specified together")
    if (zero or equal) and weights:
        raise click.UsageError("arguments may not be provided when --zero or --equal is specified")
    if adjust and len(weights) != 1:
        raise click.UsageError("only one backend may be specified when adjusting")
    if not adjust and len({one.is_percentage for one in weights}) > 1:
        raise click.UsageError("all backends must either be percentages or weights")
    if not adjust and any(one.is_relative for one in weights):
        raise click.UsageError("a relative weight needs --adjust")
    if len({one.name for one in weights}) < len(weights):
        raise click.UsageError("a backend may only be specified once")
    options = kept(ctx, TargetOptions)
    shows = not (weights or zero or equal)
    if shows and not objects and not options.sources:
        options.all = True
    targets = parse_targets_of("route", session, options, objects)
    if shows:
        _list(session, targets, ("NAME", "KIND", "TO", "WEIGHT"), _backend_rows)
        return
    change = _Backends(weights, adjust, (0 if zero else _PERCENT) if zero or equal else None)
    change_objects(session, targets, Wanted(change, "backends updated"), kept(ctx, WritingOptions))


def _backend_rows(name: str, document: Document) -> list[tuple[str, ...]]:
    backends = backends_of(document)
    total = sum(int(one.get("weight", 0)) for one in backends)
    rows: list[tuple[str, ...]] = []
    for one in backends:
        weight = int(one.get("weight", 0))
        share = f" ({weight * _PERCENT // total}%)" if len(backends) > 1 and total else ""
        rows.append(
            (
                f"routes/{name.rpartition('/')[2]}",
                str(one.get("kind", "Service")),
                str(one.get("name")),
                f"{weight}{share}",
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Selector:
    """The selector of a Service."""

    labels: dict[str, str]

    def __call__(self, document: Document) -> None:
        if document.get("kind") != "Service":
            raise CommandError("selectors can only be set on Service objects")
        document.setdefault("spec", {})["selector"] = self.labels


@click.command(
    "selector",
    epilog=examples(
        "upwell set selector service/shop app=shop,tier=web",
        "upwell set selector -f service.yaml environment=qa --local -o yaml",
    ),
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]... K=V,...")
@target_options
@write_options(local=True, resource_version=True)
@connection_options
@click.pass_context
def selector(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Replace the selector of Services."""
    session: Session = ctx.ensure_object(Session)
    objects, changes = split_words(words)
    labels = parse_assignments("the selector", (one for text in changes for one in text.split(",")))
    if not labels:
        raise click.UsageError("name the selector as K=V,...")
    targets = parse_targets(session, kept(ctx, TargetOptions), objects)
    wanted = Wanted(_Selector(labels), "selector updated")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


@dataclass(frozen=True, slots=True)
class _Account:
    """The ServiceAccount of a pod template."""

    name: str

    def __call__(self, document: Document) -> None:
        spec = pod_spec(document)
        spec["serviceAccountName"] = self.name
        if "serviceAccount" in spec:
            spec["serviceAccount"] = self.name


@click.command(
    "serviceaccount",
    epilog=examples(
        "upwell set serviceaccount deployment/shop builder",
        "upwell set sa -f shop.yaml builder --local -o yaml",
    ),
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]... ACCOUNT")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def serviceaccount(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Set the ServiceAccount of workloads."""
    session: Session = ctx.ensure_object(Session)
    if not words:
        raise click.UsageError("serviceaccount is required")
    targets = parse_targets(session, kept(ctx, TargetOptions), words[:-1])
    wanted = Wanted(_Account(words[-1]), "serviceaccount updated")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


def _list(
    session: Session,
    targets: ChosenObjects,
    titles: tuple[str, ...],
    rows_of: _Rows,
) -> None:
    async def work(client: ApiClient) -> None:
        rows: list[Iterable[str]] = [titles]
        for resource in await targets.read(client):
            rows += rows_of(full_name(resource), encode(resource))
        for line in aligned([list(row) for row in rows]):
            echo(line)

    session.run(work)
