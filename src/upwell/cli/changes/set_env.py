"""`upwell set env`: list and change the environment of containers and builds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import click

from upwell.api.codec import encode
from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import Resource
from upwell.cli.changes.pod_templates import (
    containers,
    containers_option,
    pod_spec,
    put,
    store,
    without,
)
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    changed_document,
    write_options,
)
from upwell.cli.core.assignments import parse_assignments, read_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import STDIN
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.names import parse_one
from upwell.cli.core.output import full_name
from upwell.cli.core.targets import (
    ChosenObjects,
    TargetOptions,
    parse_targets,
    split_words,
    target_options,
)
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient

_STRATEGIES = ("dockerStrategy", "sourceStrategy", "customStrategy", "jenkinsPipelineStrategy")


@dataclass(slots=True)
class _EnvOptions:
    given: tuple[str, ...] = ()
    source: str = ""
    prefix: str = ""
    keys: str = "*"
    pattern: str = "*"
    overwrite: bool = True
    list: bool = False
    resolve: bool = False


@dataclass(frozen=True, slots=True)
class _Variables:
    """Variables to set and to remove."""

    pattern: str
    overwrite: bool
    set: Sequence[Document] = ()
    removed: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, document: Document) -> None:
        for _, holder in holders(document, self.pattern):
            variables = list(without(holder.get("env") or (), set(self.removed)))
            known = {one.get("name"): one for one in variables}
            for variable in self.set:
                present = known.get(variable["name"])
                if not self.overwrite and present is not None and present != variable:
                    raise CommandError(
                        f"{variable['name']!r} has a value already, and --overwrite is false"
                    )
                put(variables, variable)
            store(holder, "env", variables)


def holders(document: Document, pattern: str) -> Iterator[tuple[str, Document]]:
    """Yield what has an environment, with its name: containers, or a BuildConfig's strategy.

    Raises CommandError.
    """
    strategy = (document.get("spec") or {}).get("strategy")
    if document.get("kind") == "BuildConfig":
        found = [name for name in _STRATEGIES if isinstance((strategy or {}).get(name), dict)]
        if not strategy or not found:
            raise CommandError("its build strategy takes no environment")
        yield "", strategy[found[0]]
        return
    for container in containers(pod_spec(document), pattern, init=pattern != "*"):
        yield str(container.get("name", "")), container


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_EnvOptions, target, *names, **facts)


@click.command(
    epilog=examples(
        "upwell set env deployment/shop LEVEL=debug TRACE-",
        "upwell set env dc/gate --list",
        "upwell set env bc/shop MAVEN_OPTS=-Xmx1g",
        "upwell set env deployment/shop --from=secret/database --prefix=DB_",
        "upwell set env deployment --all -c web HTTP_PROXY-",
        "env | grep ^RAILS_ | upwell set env -e - deployment/shop",
    )
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]... [NAME=VALUE|NAME-]...")
@_option(
    "given",
    "-e",
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="Variable to set, or - to read them from stdin, one a line; repeatable.",
)
@_option(
    "source",
    "--from",
    metavar="KIND/NAME",
    show_default="none",
    help="Secret or config map whose keys become variables that refer to it.",
)
@_option("prefix", "--prefix", default="", show_default="none", help="Prefix of names of --from.")
@_option(
    "keys",
    "--keys",
    metavar="KEY,...",
    default="*",
    show_default=True,
    help="Keys of --from; * and ? are wildcards.",
)
@containers_option(_EnvOptions)
@_option(
    "overwrite",
    "--overwrite/--no-overwrite",
    default=True,
    show_default=True,
    help="Change variables that have another value.",
)
@_option("list", "--list", is_flag=True, help="Print the variables instead, changes included.")
@_option("resolve", "--resolve", is_flag=True, help="Print the values that variables refer to.")
@target_options
@write_options(local=True, resource_version=True)
@connection_options
@click.pass_context
def env(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Set, remove and list environment variables of workloads and BuildConfigs.

    NAME=VALUE sets a variable, NAME- removes one. Values are visible in the process list; `-e -`
    reads them from stdin.
    """
    session: Session = ctx.ensure_object(Session)
    options, writing = kept(ctx, _EnvOptions), kept(ctx, WritingOptions)
    objects, changes = split_words(words)
    targets = parse_targets(session, kept(ctx, TargetOptions), objects)
    variables = _parsed(changes, options)
    if options.source:
        variables = [*variables, *_references(session, options)]
    removed = frozenset(word[:-1] for word in changes if "=" not in word)
    change = _Variables(options.pattern, options.overwrite, variables, removed)
    if options.list or not (variables or removed):
        if not options.list:
            raise click.UsageError("give variables as NAME=VALUE or NAME-, or --list")
        _list(session, targets, change, options, local=writing.local)
        return
    change_objects(session, targets, Wanted(change, "updated"), writing)


def _parsed(changes: Sequence[str], options: _EnvOptions) -> list[Document]:
    values: dict[str, str] = {}
    if STDIN in options.given:
        values |= read_assignments("-e", [STDIN])
    values |= parse_assignments("-e", (text for text in options.given if text != STDIN))
    values |= parse_assignments("the command", (word for word in changes if "=" in word))
    return [{"name": name, "value": value} for name, value in values.items()]


def _references(session: Session, options: _EnvOptions) -> list[Document]:
    """Return a variable for each key of a Secret or ConfigMap; raises click.UsageError."""
    named = parse_one((options.source,))
    if named.resource not in {Secret, ConfigMap}:
        raise click.UsageError(f"--from={options.source}: name a secret or a configmap")
    reference = "secretKeyRef" if named.resource is Secret else "configMapKeyRef"
    found: list[Document] = []

    async def work(client: ApiClient) -> None:
        source = await client.get(named.resource, session.namespace, named.name)
        keys = encode(source).get("data") or {}
        for key in sorted(keys):
            if not any(fnmatchcase(key, pattern) for pattern in options.keys.split(",")):
                continue
            # As `oc`: what no variable may be called becomes capitals and underscores.
            name = options.prefix + "".join(
                letter if letter.isalnum() else "_" for letter in key.upper()
            )
            found.append({"name": name, "valueFrom": {reference: {"name": named.name, "key": key}}})

    session.run(work)
    return found


def _list(
    session: Session,
    targets: ChosenObjects,
    change: _Variables,
    options: _EnvOptions,
    *,
    local: bool,
) -> None:
    async def work(client: ApiClient) -> None:
        if local:
            found = [(one.resource, one.document) for one in targets.manifests]
        else:
            found = [(one, encode(one)) for one in await targets.read(client)]
        for resource, document in found:
            for container, holder in holders(changed_document(document, change), options.pattern):
                place = f", container {container}" if container else ""
                echo(f"# {full_name(resource)}{place}")
                for variable in holder.get("env") or ():
                    echo(await _shown(client, resource.namespace, variable, options))

    session.run(work)


async def _shown(
    client: ApiClient, namespace: str, variable: Mapping[str, Any], options: _EnvOptions
) -> str:
    """Return a variable as a line; one that refers to something as a comment, unless resolved."""
    name, source = variable.get("name"), variable.get("valueFrom") or {}
    for field_, kind, said in (
        ("secretKeyRef", Secret, "secret"),
        ("configMapKeyRef", ConfigMap, "configmap"),
    ):
        if reference := source.get(field_):
            if options.resolve:
                stored = await client.get(kind, namespace, reference.get("name", ""))
                return f"{name}={_value(stored, reference.get('key', ''))}"
            return f"# {name} from {said} {reference.get('name')}, key {reference.get('key')}"
    if reference := source.get("fieldRef"):
        return f"# {name} from field path {reference.get('fieldPath')}"
    if source:
        return f"# {name} from {', '.join(source)}"
    return f"{name}={variable.get('value', '')}"


def _value(stored: Resource, key: str) -> str:
    import base64  # noqa: PLC0415 - of one option

    text = str((encode(stored).get("data") or {}).get(key, ""))
    return base64.b64decode(text).decode("utf-8", "replace") if isinstance(stored, Secret) else text
