"""Objects that a command is about: by name, by kind with `-l` or `--all`, or from manifests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from upwell.api.decoding.kinds import find_names
from upwell.api.meta import Resource
from upwell.cli.core.connection import Session
from upwell.cli.core.documents import LoadedManifest, load_manifests
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.kept_options import keep_option
from upwell.cli.core.names import parse_kinds, parse_named
from upwell.cli.core.selection import selector_of
from upwell.store.interface import ApiClient, QuerySelector


@dataclass(slots=True)
class TargetOptions:
    """Options that name objects; `kept` gives those of a call."""

    sources: tuple[str, ...] = ()
    recursive: bool = False
    labels: str = ""
    fields: str = ""
    all: bool = False


def target_options[F: Callable[..., Any]](function: F) -> F:
    """Add -f, -R, -l, --field-selector and --all to a command."""
    for option in reversed(
        (
            _option(
                "sources",
                "-f",
                "--filename",
                multiple=True,
                metavar="SOURCE",
                help="Objects of a file, folder, URL or - for stdin; repeatable.",
            ),
            _option(
                "recursive",
                "-R",
                "--recursive",
                is_flag=True,
                help="Read the subfolders of a folder as well.",
            ),
            _option(
                "labels",
                "-l",
                "--selector",
                metavar="K=V,...",
                show_default="none",
                help="Objects of the kind that have these labels.",
            ),
            _option(
                "fields",
                "--field-selector",
                metavar="FIELD=VALUE,...",
                show_default="none",
                help="Objects of the kind that have these fields.",
            ),
            _option("all", "--all", is_flag=True, help="All objects of the kind in the namespace."),
        )
    ):
        function = option(function)
    return function


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(TargetOptions, target, *names, **facts)


@dataclass(frozen=True, slots=True)
class ChosenObjects:
    """Objects that a call names, before any is read."""

    named: Sequence[tuple[type[Resource], str, str]] = ()
    """Kind, namespace and name."""
    kinds: Sequence[type[Resource]] = ()
    selector: QuerySelector = field(default_factory=QuerySelector)
    manifests: Sequence[LoadedManifest] = ()

    @property
    def is_one(self) -> bool:
        """Tells whether the call names a single object."""
        return len(self.named) == 1

    async def read(self, client: ApiClient) -> list[Resource]:
        """Return the objects as they are stored; raises CommandError when there is none."""
        found: list[Resource] = [await client.get(*one) for one in self.named]
        for kind in self.kinds:
            selector = self.selector
            if not kind.KIND.namespaced:
                selector = QuerySelector(
                    "", selector.labels, "", selector.label_query, selector.field_query
                )
            found += (await client.list(kind, selector)).items
        if not found:
            kinds = ", ".join(kind.KIND.plural for kind in self.kinds)
            raise CommandError(
                f"no {kinds} found in namespace {self.selector.namespace}", Exit.NOT_FOUND
            )
        return found


def parse_targets(session: Session, options: TargetOptions, words: Sequence[str]) -> ChosenObjects:
    """Return the objects of `KIND/NAME…`, `KIND NAME…`, `KIND -l …` or `-f …`.

    Raises click.UsageError, and CommandError for manifests that are none.
    """
    selects = bool(options.labels or options.fields or options.all)
    if options.sources:
        if words or selects:
            raise click.UsageError("name objects, or manifests with -f, not both")
        manifests = load_manifests(
            options.sources, session, recursive=options.recursive, may_be_there=True
        )
        named = [
            (type(one.resource), one.resource.namespace, one.resource.name) for one in manifests
        ]
        return ChosenObjects(named, manifests=manifests)
    if not words:
        raise click.UsageError("name an object as KIND/NAME")
    if selects:
        if len(words) > 1 or "/" in words[0]:
            raise click.UsageError("name objects, or select them by -l or --all, not both")
        selector = selector_of(session.namespace, options.labels, options.fields)
        return ChosenObjects(kinds=parse_kinds(words[0]), selector=selector)
    if len(words) == 1 and "/" not in words[0]:
        kinds = parse_kinds(words[0])
        names = ", ".join(kind.KIND.plural for kind in kinds)
        raise click.UsageError(f"name an object as {words[0]}/NAME, or --all {names}")
    if "/" in words[0] and (alone := [word for word in words if "/" not in word]):
        raise click.UsageError(
            f"{alone[0]!r} does not name an object: write KIND/NAME; a value is NAME=VALUE, and"
            " NAME- removes one"
        )
    return ChosenObjects(
        [(one.resource, one.namespace(session.namespace), one.name) for one in parse_named(words)]
    )


def parse_targets_of(
    kind: str, session: Session, options: TargetOptions, words: Sequence[str]
) -> ChosenObjects:
    """Return the objects of the same words, where `kind` may be left out; raises as the other."""
    return parse_targets(session, options, _with_kind(kind, words, options))


def _with_kind(kind: str, words: Sequence[str], options: TargetOptions) -> list[str]:
    if options.sources or (words and find_names(words[0]) is not None):
        return list(words)
    if not words and (options.labels or options.fields or options.all):
        return [kind]
    return [word if "/" in word else f"{kind}/{word}" for word in words]


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words that name objects, and those from the first `KEY=VALUE` or `KEY-` on."""
    for at, word in enumerate(words):
        if "=" in word or (word.endswith("-") and word != "-"):
            return list(words[:at]), list(words[at:])
    return list(words), []
