"""`upwell set triggers`: list, add and remove what starts builds and rollouts."""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import click

from upwell.api.apps import TRIGGERS_ANNOTATION
from upwell.api.codec import encode
from upwell.cli.changes.pod_templates import all_containers, container_path, pod_spec
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.output import aligned, full_name
from upwell.cli.core.targets import ChosenObjects, TargetOptions, parse_targets, target_options
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient

_SECRET_BYTES = 20
_WEBHOOKS = {
    "github": "GitHub",
    "gitlab": "GitLab",
    "bitbucket": "Bitbucket",
    "webhook": "Generic",
}
_FIELDS = {"GitHub": "github", "GitLab": "gitlab", "Bitbucket": "bitbucket", "Generic": "generic"}
_CONFIG, _IMAGE = "ConfigChange", "ImageChange"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of any kind of object, with the JSON that it was read from."""

    type: str
    tag: str = ""
    """`[NAMESPACE/]STREAM:TAG` of an image trigger; of a build's own image empty."""
    containers: tuple[str, ...] = ()
    auto: bool = True
    raw: Document = field(default_factory=dict)

    @property
    def reference(self) -> Document:
        """The tag as an object reference."""
        namespace, _, name = self.tag.rpartition("/")
        reference = {"kind": "ImageStreamTag", "name": name}
        return {**reference, "namespace": namespace} if namespace else reference


def triggers_of(document: Document) -> list[Trigger]:
    """Return the triggers of a BuildConfig, DeploymentConfig or other workload."""
    spec = document.get("spec") or {}
    match document.get("kind"):
        case "BuildConfig":
            return [_of_build(raw) for raw in spec.get("triggers") or ()]
        case "DeploymentConfig":
            return [_of_deployment_config(raw) for raw in spec.get("triggers") or ()]
    pod_spec(document)
    # A workload that is not paused follows its own changes.
    found = [Trigger(_CONFIG, auto=not spec.get("paused", False))]
    return found + [_of_annotation(raw) for raw in _annotated(document)]


def store_triggers(document: Document, triggers: Sequence[Trigger]) -> None:
    """Write the triggers of an object into its JSON."""
    spec = document.setdefault("spec", {})
    if document.get("kind") in {"BuildConfig", "DeploymentConfig"}:
        is_build = document["kind"] == "BuildConfig"
        spec["triggers"] = [_raw(one, is_build=is_build) for one in triggers]
        return
    if document.get("kind") == "Deployment":
        follows = any(one.type == _CONFIG and one.auto for one in triggers)
        if follows:
            spec.pop("paused", None)
        else:
            spec["paused"] = True
    entries: list[Document] = []
    for one in triggers:
        if one.type != _IMAGE:
            continue
        if one.raw:
            entries.append({**one.raw, "paused": not one.auto})
        else:
            paths = [container_path(document, name) for name in one.containers]
            entries += [
                {"from": one.reference, "fieldPath": path, "paused": not one.auto} for path in paths
            ]
    for entry in entries:
        if not entry["paused"]:
            del entry["paused"]
    annotations = document.setdefault("metadata", {}).setdefault("annotations", {})
    annotations[TRIGGERS_ANNOTATION] = json.dumps(entries, separators=(",", ":"))
    if not entries:
        del annotations[TRIGGERS_ANNOTATION]


def _of_build(raw: Document) -> Trigger:
    kind = str(raw.get("type", ""))
    if kind != _IMAGE:
        return Trigger(kind, raw=raw)
    change = raw.get("imageChange") or {}
    return Trigger(kind, _tag(change.get("from")), auto=not change.get("paused"), raw=raw)


def _of_deployment_config(raw: Document) -> Trigger:
    params = raw.get("imageChangeParams") or {}
    auto = raw.get("type") != _IMAGE or bool(params.get("automatic"))
    containers = tuple(params.get("containerNames") or ())
    return Trigger(str(raw.get("type", "")), _tag(params.get("from")), containers, auto, raw)


def _of_annotation(raw: Document) -> Trigger:
    path = str(raw.get("fieldPath", ""))
    name = path.partition('=="')[2].partition('"')[0] or path.rpartition(".containers")[2]
    paused = str(raw.get("paused", False)).lower() == "true"
    return Trigger(_IMAGE, _tag(raw.get("from")), (name.removesuffix(".image"),), not paused, raw)


def _annotated(document: Document) -> list[Document]:
    text = (document.get("metadata", {}).get("annotations") or {}).get(TRIGGERS_ANNOTATION, "[]")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CommandError(f"its annotation {TRIGGERS_ANNOTATION} is no list of triggers")
    return found


def _tag(reference: Any) -> str:
    if not isinstance(reference, dict):
        return ""
    namespace = reference.get("namespace")
    return f"{namespace}/{reference.get('name')}" if namespace else str(reference.get("name", ""))


def _raw(trigger: Trigger, *, is_build: bool) -> Document:
    if trigger.type != _IMAGE:
        return trigger.raw or {"type": trigger.type}
    field_ = "imageChange" if is_build else "imageChangeParams"
    change = dict(trigger.raw.get(field_) or {})
    if not trigger.raw:
        change = {"from": trigger.reference} if trigger.tag else {}
        if not is_build:
            change["containerNames"] = list(trigger.containers)
    if not is_build:
        change["automatic"] = trigger.auto
    elif trigger.auto:
        change.pop("paused", None)
    else:
        change["paused"] = True
    return {"type": _IMAGE, field_: change}


@dataclass(slots=True)
class _TriggerOptions:
    from_config: bool = False
    from_image: str = ""
    webhooks: dict[str, bool] = field(default_factory=dict)
    allows_env: bool = False
    containers: str = ""
    auto: bool = False
    manual: bool = False
    remove: bool = False
    remove_all: bool = False

    @property
    def types(self) -> list[str]:
        """Types of the triggers that are meant."""
        found = [_CONFIG] if self.from_config else []
        found += [_IMAGE] if self.from_image else []
        return found + [_WEBHOOKS[name] for name, chosen in self.webhooks.items() if chosen]

    @property
    def lists(self) -> bool:
        """Tells whether nothing is to change."""
        return not (self.types or self.auto or self.manual or self.remove or self.remove_all)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of triggers; secrets of webhooks are made once, however often it is decided."""

    options: _TriggerOptions
    secret: str

    def __call__(self, document: Document) -> None:
        options, found = self.options, triggers_of(document)
        if options.remove_all:
            store_triggers(document, [])
            return
        if not options.types:
            auto = options.auto
            if auto and not any(one.type == _CONFIG for one in found):
                found.insert(0, Trigger(_CONFIG))
            if not auto:
                found = [one for one in found if one.type != _CONFIG]
            store_triggers(document, [replace(one, auto=auto) for one in found])
            return
        for kind in options.types:
            found = self._changed(document, found, kind)
        store_triggers(document, found)

    def _changed(self, document: Document, found: list[Trigger], kind: str) -> list[Trigger]:
        options = self.options
        namespace = str(document.get("metadata", {}).get("namespace", ""))
        others = [one for one in found if not self._is_meant(one, kind, namespace)]
        if options.remove:
            if len(others) == len(found):
                raise CommandError(f"it has no {kind} trigger{self._about(kind)} to remove")
            return others
        meant = [one for one in found if self._is_meant(one, kind, namespace)]
        if kind == _CONFIG:
            return others if options.manual else [Trigger(_CONFIG), *others]
        if kind != _IMAGE:
            return [*others, self._webhook(document, kind)]
        auto = not options.manual
        if meant and not options.containers:
            return [replace(one, auto=auto) if one in meant else one for one in found]
        return [*others, self._image(document, auto=auto)]

    def _is_meant(self, trigger: Trigger, kind: str, namespace: str) -> bool:
        """`namespace` is that of the object: a tag may name it, or leave it out."""
        if trigger.type != kind:
            return False
        own = f"{namespace}/"
        wanted = _with_tag(self.options.from_image).removeprefix(own)
        return kind != _IMAGE or trigger.tag.removeprefix(own) == wanted

    def _about(self, kind: str) -> str:
        return f" of {self.options.from_image}" if kind == _IMAGE else ""

    def _webhook(self, document: Document, kind: str) -> Trigger:
        if document.get("kind") != "BuildConfig":
            raise CommandError(f"a {document.get('kind')} has no webhooks: name a BuildConfig")
        hook: Document = {"secret": self.secret}
        if kind == "Generic" and self.options.allows_env:
            hook["allowEnv"] = True
        return Trigger(kind, raw={"type": kind, _FIELDS[kind]: hook})

    def _image(self, document: Document, *, auto: bool) -> Trigger:
        tag = _with_tag(self.options.from_image)
        if document.get("kind") == "BuildConfig":
            return Trigger(_IMAGE, tag, auto=auto)
        there = [str(one.get("name")) for one in all_containers(pod_spec(document))]
        wanted = [name for name in self.options.containers.split(",") if name]
        if not wanted and len(there) > 1:
            raise CommandError(f"say which container follows {tag} with -c: {', '.join(there)}")
        if unknown := [name for name in wanted if name not in there]:
            raise CommandError(f"it has no container {unknown[0]!r}: there are {', '.join(there)}")
        return Trigger(_IMAGE, tag, tuple(wanted or there), auto)


def _with_tag(text: str) -> str:
    return text if ":" in text else f"{text}:latest"


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_TriggerOptions, target, *names, **facts)


def _webhook_options[F: Callable[..., Any]](function: F) -> F:
    def keep(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's own signature
        name = str(parameter.name).removeprefix("from_")
        kept(ctx, _TriggerOptions).webhooks[name] = value

    for name, kind in reversed(_WEBHOOKS.items()):
        function = click.option(
            f"--from-{name}",
            is_flag=True,
            expose_value=False,
            callback=keep,
            help=f"The {kind} webhook of a BuildConfig; setting it makes a new secret.",
        )(function)
    return function


@click.command(
    epilog=examples(
        "upwell set triggers dc/gate",
        "upwell set triggers deployment/shop --from-image=shop:latest -c web",
        "upwell set triggers bc/shop --from-image=debian:12",
        "upwell set triggers bc/shop --from-github",
        "upwell set triggers dc/gate --manual",
        "upwell set triggers dc/gate --from-config --remove",
    )
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]...")
@_option("from_config", "--from-config", is_flag=True, help="The trigger of own changes.")
@_option(
    "from_image",
    "--from-image",
    metavar="STREAM:TAG",
    show_default="none",
    help="The trigger of an image stream's tag, as [NAMESPACE/]STREAM:TAG.",
)
@_webhook_options
@_option(
    "allows_env",
    "--from-webhook-allow-env",
    is_flag=True,
    help="With --from-webhook, calls may name variables of the build.",
)
@_option(
    "containers",
    "-c",
    "--containers",
    metavar="NAME,...",
    show_default="the only one",
    help="Containers that follow --from-image.",
)
@_option("auto", "--auto", is_flag=True, help="Let the triggers act by themselves.")
@_option("manual", "--manual", is_flag=True, help="Let the triggers wait for a person.")
@_option("remove", "--remove", is_flag=True, help="Remove the named triggers.")
@_option("remove_all", "--remove-all", is_flag=True, help="Remove all triggers.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def triggers(ctx: click.Context, words: tuple[str, ...]) -> None:
    """List and change what starts builds and rollouts.

    Without a change, the triggers are listed. The trigger of own changes of a Deployment is what
    a pause ends.
    """
    session: Session = ctx.ensure_object(Session)
    options, writing = kept(ctx, _TriggerOptions), kept(ctx, WritingOptions)
    if options.allows_env:
        options.webhooks["webhook"] = True
    targets = parse_targets(session, kept(ctx, TargetOptions), words)
    if options.auto and options.manual:
        raise click.UsageError("--auto and --manual exclude each other")
    if options.remove and not options.types:
        raise click.UsageError("--remove needs a trigger, such as --from-config; or --remove-all")
    if options.lists:
        _list(session, targets, local=writing.local)
        return
    change = _Change(options, secrets.token_urlsafe(_SECRET_BYTES))
    wanted = Wanted(change, "triggers updated", note=_pause_note)
    change_objects(session, targets, wanted, writing)


def _pause_note(before: Document, after: Document) -> str:
    """Say that a Deployment has no trigger of its own changes, as it is paused."""
    was, paused = ((one.get("spec") or {}).get("paused") for one in (before, after))
    if after.get("kind") != "Deployment" or was or not paused:
        return ""
    name = f"deployment/{after['metadata']['name']}"
    return (
        f"{name} is paused now, so that no change of it rolls out: `upwell rollout resume {name}`"
        " ends that; `--from-image=STREAM:TAG --manual` stops following a tag alone"
    )


def _list(session: Session, targets: ChosenObjects, *, local: bool) -> None:
    async def work(client: ApiClient) -> None:
        rows = [("NAME", "TYPE", "VALUE", "AUTO")]
        if local:
            found = [(one.resource, one.document) for one in targets.manifests]
        else:
            found = [(one, encode(one)) for one in await targets.read(client)]
        for resource, document in found:
            for one in triggers_of(document):
                kind = {_CONFIG: "config", _IMAGE: "image"}.get(one.type, one.type.lower())
                names = f" ({', '.join(one.containers)})" if one.containers else ""
                # What a webhook's secret is, whoever may read the BuildConfig can ask for.
                value = f"{one.tag}{names}" if one.type == _IMAGE else ""
                rows.append((full_name(resource), kind, value, str(one.auto).lower()))
        for line in aligned(rows):
            echo(line)

    session.run(work)
