"""Completion in a shell: kinds, and names of objects, namespaces and containers.

It asks the server in a small request with a deadline. Where there is no server, or it refuses,
nothing is completed, and nothing is said. What a shell is given are names: whatever else a server
says would be text of its own on somebody's command line.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from upwell.api.codec import encode
from upwell.api.decoding.kinds import KINDS, KindNames, find_names
from upwell.cli.core.connection import GlobalOption, Session, session_of
from upwell.cli.core.names import parse_entered
from upwell.store.interface import ApiClient, Selector, StoreError

_SECONDS = 1.0
"""For the whole answer: a shell waits for it."""
_MOST = 500
"""Names in one answer."""
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9._:@]{0,251}[A-Za-z0-9])?")
"""RFC 1123, and what names of images, tags and users have besides; nothing that a shell expands."""

_WORKLOADS = ("deployments", "deploymentconfigs", "statefulsets", "daemonsets")
_KINDS_OF: Mapping[str, Sequence[str]] = {
    "rollout": _WORKLOADS,
    "scale": _WORKLOADS,
    "hold": _WORKLOADS,
    "resume": _WORKLOADS,
    "set": (*_WORKLOADS, "cronjobs", "buildconfigs"),
    "debug": (*_WORKLOADS, "pods", "jobs", "cronjobs"),
    "logs": (*_WORKLOADS, "pods", "jobs", "builds", "buildconfigs"),
    "expose": (*_WORKLOADS, "services", "pods"),
}
"""Kinds that a command takes, where these are few."""
_NAMED: Mapping[str, str] = {
    "ACCOUNT": "serviceaccounts",
    "BUILD": "builds",
    "BUILDCONFIG": "buildconfigs",
    "DEPLOYMENTCONFIG": "deploymentconfigs",
    "PIPELINE": "pipelines",
    "PROMOTION": "promotions",
    "RELEASE": "releases",
    "ROUTE": "routes",
    "STREAM": "imagestreams",
    "SUBSCRIPTION": "subscriptions",
    "TEMPLATE": "templates",
}
"""Words for an argument, and the kind whose names stand there."""
_NAMES_OF: Mapping[str, str] = {
    "attach": "pods",
    "exec": "pods",
    "freeze lift": "freezes",
    "logs": "pods",
    "port-forward": "pods",
    "project": "projects",
    "quarantine lift": "quarantines",
    "wave describe": "waves",
    "wave pause": "waves",
    "wave resume": "waves",
    "wave approve": "waves",
    "wave cancel": "waves",
    "wave retry": "waves",
}
"""Commands whose NAME is that of a kind."""
_CONTAINERS = {"container", "containers"}
_STAGE = "stage"
_COPY = ("cp", "rsync")
"""Commands whose arguments are files here, or in Pods."""


def complete_parameters(command: click.Command, path: str) -> None:
    """Have the arguments of a command, named by its path, completed; its own commands' too."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (part := command.get_command(context, name)) is not None:
                complete_parameters(part, f"{path} {name}")
    complete_own_parameters(command, path)


def complete_own_parameters(command: click.Command, path: str = "") -> None:
    """Have the arguments and options of a command completed, and of no command in it."""
    for parameter in command.params:
        complete = _completion_of(parameter, path)
        if complete is not None:
            # As click keeps what `shell_complete` gives to a parameter.
            parameter._custom_shell_complete = complete  # noqa: SLF001


def _namespaces(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the namespaces that the client may see."""
    del parameter
    return [one for one in _names(ctx, ["projects"]) if one.startswith(incomplete)]


type _Complete = Callable[[click.Context, click.Parameter, str], list[Any]]


def _completion_of(parameter: click.Parameter, path: str) -> _Complete | None:
    if not isinstance(parameter, click.Argument):
        if isinstance(parameter, GlobalOption):
            return _namespaces if parameter.name == "namespace" else None
        if parameter.name == _STAGE:
            return _stages
        return _containers if parameter.name in _CONTAINERS else None
    if path in _COPY:
        return _paths
    words = set(re.findall(r"[A-Z]+", parameter.metavar or (parameter.name or "").upper()))
    named = [kind for word, kind in _NAMED.items() if word in words]
    if "NAME" in words and path in _NAMES_OF:
        named.append(_NAMES_OF[path])
    kinds = _KINDS_OF.get(path.partition(" ")[0], _listed()) if "KIND" in words else ()
    if not kinds and not named:
        return None

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        given = _given(ctx, parameter)
        found = _objects(ctx, kinds, named, given, incomplete)
        return [one for one in found if one.startswith(incomplete) and one not in given]

    return complete


def _paths(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str | CompletionItem]:
    """Return Pods as `[NAMESPACE/]POD:`, workloads as `KIND/NAME:`; else files, by the shell."""
    del parameter
    files: list[str | CompletionItem] = [CompletionItem(incomplete, type="file")]
    where, slash, _ = incomplete.rpartition("/")
    if ":" in incomplete or incomplete.startswith((".", "~")) or (slash and not _is_name(where)):
        return files
    is_kind = slash and find_names(where) is not None
    names = _names(ctx, [where]) if is_kind else _names(ctx, ["pods"], where)
    found = [f"{where}{slash}{name}:" for name in names]
    return [one for one in found if one.startswith(incomplete)] or files


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def _objects(
    ctx: click.Context,
    kinds: Sequence[str],
    named: Sequence[str],
    given: Sequence[str],
    incomplete: str,
) -> list[str]:
    kind, slash, _ = incomplete.partition("/")
    if slash:
        return [f"{kind}/{name}" for name in _names(ctx, [kind])]
    if kinds and given and "/" not in given[0] and find_names(given[0]) is not None:
        return _names(ctx, [given[0]])
    return [*kinds, *_names(ctx, named)]


def _listed() -> Sequence[str]:
    """Return the kinds that have lists."""
    return [one.plural for one in KINDS if one.kind == "Project" or not _is_request(one)]


def _is_request(kind: KindNames) -> bool:
    return kind.module.startswith("requests.")


def _given(ctx: click.Context, parameter: click.Parameter) -> tuple[str, ...]:
    """Return the words that stand before the one that is completed."""
    given = ctx.params.get(parameter.name or "")
    return given if isinstance(given, tuple) else ()


def _names(ctx: click.Context, kinds: Sequence[str], namespace: str = "") -> list[str]:
    """Return the names of objects of all these kinds; none where they are not to be had.

    Those of a namespace: without another, that of the command.
    """
    session = session_of(ctx)
    known = [names.resource() for kind in kinds if (names := find_names(kind)) is not None]

    async def ask(client: ApiClient) -> list[str]:
        place = namespace or session.namespace
        places = [place if kind.KIND.namespaced else "" for kind in known]
        asked = (client.names(*each, _MOST) for each in zip(known, places, strict=True))
        return [name for names in await asyncio.gather(*asked) for name in names]

    return _answer(session, ask) if known else []


def _containers(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the containers of the object that the words before name; a Pod without a kind."""
    del parameter
    words = [word for word in (*_texts(ctx.params.values()), *ctx.args) if word]
    session = session_of(ctx)
    try:
        named = parse_entered(words[:2] if "/" not in words[0] else words[:1])
    except (click.UsageError, IndexError):
        return []

    async def ask(client: ApiClient) -> list[str]:
        found = await client.get(named.resource, named.namespace(session.namespace), named.name)
        return list(_containers_in(encode(found).get("spec")))

    return [one for one in _answer(session, ask) if one.startswith(incomplete)]


def _stages(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the stages of the Pipelines of the namespace, each once."""
    del parameter
    session = session_of(ctx)
    names = find_names("pipeline")
    if names is None:
        return []
    kind = names.resource()

    async def ask(client: ApiClient) -> list[str]:
        found = await client.list(kind, Selector(session.namespace))
        stages = (stage for one in found.items for stage in encode(one)["spec"].get("stages") or ())
        return list(dict.fromkeys(str(stage["name"]) for stage in stages))

    return [one for one in _answer(session, ask) if one.startswith(incomplete)]


def _texts(values: Any) -> Iterator[str]:
    for value in values:
        yield from (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()


def _containers_in(spec: Any) -> Iterator[str]:
    """Yield the containers of a Pod, or of the template in a workload or its Job."""
    if not isinstance(spec, dict):
        return
    for part in ("containers", "initContainers"):
        yield from (str(one["name"]) for one in spec.get(part) or ())
    for part in ("template", "jobTemplate"):
        yield from _containers_in((spec.get(part) or {}).get("spec"))


def _answer(session: Session, ask: Callable[[ApiClient], Awaitable[list[str]]]) -> list[str]:
    """Return the names that a server answers in time; none of one that refuses, or is not there."""

    async def asked() -> list[str]:
        async with (
            asyncio.timeout(_SECONDS),
            session.connect(session.server, session.token, session.authority) as client,
        ):
            return await ask(client)

    try:
        return [one for one in asyncio.run(asked()) if _is_name(one)]
    except (StoreError, OSError, ValueError):  # among them TimeoutError
        return []
