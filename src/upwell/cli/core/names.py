"""Names of kinds and objects as users write them: `is,bc`, `all`, `dc/gate`, `deployment shop`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from upwell.api.decoding.kinds import KINDS, KindNames, find_names

if TYPE_CHECKING:
    from upwell.api.meta import Kind, Resource

_EVERYDAY = (
    *("deployment", "statefulset", "daemonset", "deploymentconfig", "job", "cronjob", "pod"),
    *("imagestream", "imagestreamtag", "buildconfig", "build", "service", "route", "secret"),
    *("configmap", "persistentvolumeclaim", "pipeline", "release", "promotion", "wave"),
)
"""Kinds that are named where one is unknown: a list of all tells nobody anything."""
ALL = ("is", "bc", "build", "deploy", "dc", "sts", "ds", "cj", "job", "svc", "route")
"""Kinds that `all` stands for: those of an application, without secrets and events."""


@dataclass(frozen=True, slots=True)
class Named:
    """Object as a user names it; the namespace is the session's."""

    resource: "type[Resource]"
    name: str

    @property
    def kind(self) -> "Kind":
        """The object's kind."""
        return self.resource.KIND

    def namespace(self, session_namespace: str) -> str:
        """Return the namespace to look in: none for a cluster's own kinds."""
        return session_namespace if self.kind.namespaced else ""

    def __str__(self) -> str:
        return f"{self.kind.singular}/{self.name}"


def parse_kind(text: str) -> "type[Resource]":
    """Return the kind that `text` names; raises click.UsageError."""
    return parse_kind_names(text).resource()


def parse_kind_names(text: str) -> KindNames:
    """Return the names of the kind that `text` names; raises click.UsageError."""
    names = find_names(text)
    if names is None:
        raise click.UsageError(f"unknown kind {text!r}; {_hint(text)}")
    return names


def _hint(text: str) -> str:
    """Return the kind that was probably meant, or those of every day."""
    from difflib import get_close_matches  # noqa: PLC0415 - most names are known

    names = [name for one in KINDS for name in (one.plural, one.singular)]
    if near := get_close_matches(text.lower(), names, n=1, cutoff=0.75):
        return f"did you mean {near[0]}?"
    return f"an object is KIND/NAME, and kinds of every day are {', '.join(_EVERYDAY)}"


def parse_kinds(text: str) -> "list[type[Resource]]":
    """Return the kinds of `is,bc` or `all`, each once; raises click.UsageError."""
    return [names.resource() for names in parse_names_of_kinds(text)]


def parse_names_of_kinds(text: str) -> list[KindNames]:
    """Return the names of the kinds of `is,bc` or `all`, each once; raises click.UsageError."""
    names = [name for part in text.split(",") for name in (ALL if part == "all" else (part,))]
    return list(dict.fromkeys(parse_kind_names(name) for name in names))


def parse_named(
    arguments: Sequence[str], *, default: "type[Resource] | None" = None
) -> list[Named]:
    """Return the objects of `KIND/NAME…`, `KIND NAME…` or, with a default kind, `NAME…`.

    Raises click.UsageError.
    """
    if default is None or not arguments:
        return [Named(names.resource(), name) for names, name in parse_places(arguments)]
    return [_parse_one(argument, default) for argument in arguments]


def parse_places(arguments: Sequence[str]) -> list[tuple[KindNames, str]]:
    """Return kinds and names of `KIND/NAME…` or `KIND NAME…`; raises click.UsageError."""
    if not arguments:
        raise click.UsageError("name an object as KIND/NAME")
    if any("/" in argument for argument in arguments):
        return [_parse_place(argument) for argument in arguments]
    kind, *names = arguments
    found = parse_kind_names(kind)
    if not names:
        raise click.UsageError(f"name an object of kind {found.kind} as KIND/NAME")
    if not all(names):
        raise click.UsageError(
            f"a name of a {found.kind} is empty: is a variable of the shell not set?"
        )
    return [(found, name) for name in names]


def parse_one(arguments: Sequence[str]) -> Named:
    """Return the one object of `KIND/NAME` or `KIND NAME`; raises click.UsageError."""
    found = parse_named(arguments)
    if len(found) != 1:
        raise click.UsageError("name exactly one object as KIND/NAME")
    return found[0]


def parse_entered(arguments: Sequence[str]) -> Named:
    """Return the one object of `KIND/NAME` or `KIND NAME`, or the Pod of a `NAME` alone.

    Raises click.UsageError.
    """
    alone = len(arguments) == 1 and "/" not in arguments[0]
    return Named(parse_kind("pod"), arguments[0]) if alone else parse_one(arguments)


def _parse_one(text: str, default: "type[Resource]") -> Named:
    if "/" not in text:
        return Named(default, text)
    names, name = _parse_place(text)
    if names.resource() is not default:
        raise click.UsageError(f"{text!r} is not of kind {default.KIND.kind}")
    return Named(default, name)


def _parse_place(text: str) -> tuple[KindNames, str]:
    kind, slash, name = text.partition("/")
    if not slash or not kind or not name:
        raise click.UsageError(f"{text!r} does not name an object: write KIND/NAME")
    return parse_kind_names(kind), name
