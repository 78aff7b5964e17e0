"""`upwell set volume`: list, add and remove volumes of pod templates."""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.cli.changes.pod_templates import (
    all_containers,
    any_match,
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
    write_options,
)
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.output import full_name
from upwell.cli.core.targets import ChosenObjects, TargetOptions, parse_targets, target_options
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient

_TYPES = {
    "emptydir": "emptyDir",
    "hostpath": "hostPath",
    "secret": "secret",
    "configmap": "configMap",
    "persistentvolumeclaim": "persistentVolumeClaim",
    "pvc": "persistentVolumeClaim",
}


@dataclass(slots=True)
class _VolumeOptions:
    add: bool = False
    remove: bool = False
    confirm: bool = False
    overwrite: bool = False
    name: str = ""
    type: str = ""
    mount_path: str = ""
    sub_path: str = ""
    read_only: bool = False
    claim_name: str = ""
    secret_name: str = ""
    configmap_name: str = ""
    path: str = ""
    source: str = ""
    default_mode: str = ""
    pattern: str = "*"

    def source_of(self) -> Document | None:
        """Return the volume's source; None when none is named. Raises click.UsageError."""
        kind = _TYPES.get(self.type.lower(), "")
        if self.source:
            try:
                given = json.loads(self.source)
            except (ValueError, RecursionError) as error:
                raise click.UsageError(f"--source is not JSON: {error}") from error
            if not isinstance(given, dict):
                raise click.UsageError('--source is an object, such as {"emptyDir": {}}')
            return given
        named = {
            "persistentVolumeClaim": ("claimName", self.claim_name, "--claim-name"),
            "secret": ("secretName", self.secret_name, "--secret-name"),
            "configMap": ("name", self.configmap_name, "--configmap-name"),
            "hostPath": ("path", self.path, "--path"),
        }
        if not kind:
            kind = next((kind for kind, (_, value, _) in named.items() if value), "")
        if not kind:
            return None
        if kind == "emptyDir":
            return {kind: {}}
        key, value, option = named[kind]
        if not value:
            raise click.UsageError(f"--type={self.type} needs {option}")
        source: Document = {key: value}
        if self.default_mode and kind in {"secret", "configMap"}:
            source["defaultMode"] = _mode(self.default_mode)
        return {kind: source}

    def mount(self, name: str) -> Document:
        """Return the mount of the volume in a container."""
        mount: Document = {"name": name, "mountPath": self.mount_path}
        if self.sub_path:
            mount["subPath"] = self.sub_path
        if self.read_only:
            mount["readOnly"] = True
        return mount


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:  # noqa: PLR2004 - the bits of a mode
        raise click.UsageError(f"--default-mode={text}: write octal digits, such as 0640")
    return mode


@dataclass(frozen=True, slots=True)
class _Added:
    """A volume to add, or a mount of one that is there."""

    options: _VolumeOptions
    name: str
    source: Document | None

    def __call__(self, document: Document) -> None:
        options, spec = self.options, pod_spec(document)
        volumes = list(spec.get("volumes") or ())
        exists = any(one.get("name") == self.name for one in volumes)
        if exists and self.source is not None and not options.overwrite:
            raise CommandError(f"volume {self.name!r} exists: --overwrite replaces it")
        if self.source is not None or not exists:
            put(volumes, {"name": self.name, **(self.source or {"emptyDir": {}})})
        spec["volumes"] = volumes
        if not options.mount_path:
            return
        for container in containers(spec, options.pattern):
            mounts = list(container.get("volumeMounts") or ())
            here = [one for one in mounts if one.get("mountPath") == options.mount_path]
            if here and here[0].get("name") != self.name and not options.overwrite:
                raise CommandError(
                    f"container {container.get('name')}: volume {here[0].get('name')!r} is mounted"
                    f" at {options.mount_path}: --overwrite replaces it"
                )
            # With --overwrite, what was mounted of this volume is mounted there now.
            mounts = [
                one
                for one in mounts
                if one not in here and not (options.overwrite and one.get("name") == self.name)
            ]
            container["volumeMounts"] = [*mounts, options.mount(self.name)]


@dataclass(frozen=True, slots=True)
class _Removed:
    """Volumes to remove, with their mounts."""

    options: _VolumeOptions

    def __call__(self, document: Document) -> None:
        options, spec = self.options, pod_spec(document)
        volumes = list(spec.get("volumes") or ())
        names = {str(one.get("name")) for one in volumes}
        if options.name and options.name not in names:
            raise CommandError(f"there is no volume {options.name!r}: there are {_listed(names)}")
        wanted = {options.name} if options.name else names
        for container in all_containers(spec):
            if any_match(str(container.get("name", "")), options.pattern):
                mounts = list(container.get("volumeMounts") or ())
                rest = [
                    one
                    for one in mounts
                    if one.get("name") not in wanted
                    or (options.mount_path and one.get("mountPath") != options.mount_path)
                ]
                store(container, "volumeMounts", rest)
        used = {
            mount.get("name")
            for container in all_containers(spec)
            for mount in container.get("volumeMounts") or ()
        }
        store(spec, "volumes", list(without(volumes, wanted - used)))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_VolumeOptions, target, *names, **facts)


def _text(target: str, *names: str, text: str, **facts: Any) -> Callable[[Any], Any]:
    return _option(target, *names, show_default=facts.pop("shown", "none"), help=text, **facts)


@click.command(
    epilog=examples(
        "upwell set volume deployment/shop",
        "upwell set volume deployment/shop --add -m /data --name data --claim-name shop-data",
        "upwell set volume dc/gate --add -t secret --secret-name tls -m /etc/tls --read-only",
        "upwell set volume dc/gate --add --name data -m /var/lib/data --overwrite",
        "upwell set volume deployment/shop --remove --name data",
    )
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]...")
@_option("add", "--add", is_flag=True, help="Add a volume, or a mount of one.")
@_option("remove", "--remove", is_flag=True, help="Remove volumes and their mounts.")
@_option("confirm", "--confirm", is_flag=True, help="Remove more than one volume.")
@_option("overwrite", "--overwrite", is_flag=True, help="Replace a volume or mount that is there.")
@_text("name", "--name", text="Name of the volume.", shown="with --add, a new one")
@_option(
    "type",
    "-t",
    "--type",
    type=click.Choice(list(_TYPES), case_sensitive=False),
    show_default="by what is named, else emptydir",
    help="Type of the volume's source.",
)
@_text("mount_path", "-m", "--mount-path", metavar="PATH", text="Path in the containers.")
@_text("sub_path", "--sub-path", metavar="PATH", text="Path in the volume to mount.")
@_option("read_only", "--read-only", is_flag=True, help="Mount the volume read-only.")
@_text("claim_name", "--claim-name", text="Name of a persistent volume claim.")
@_text("secret_name", "--secret-name", text="Name of a Secret.")
@_text("configmap_name", "--configmap-name", text="Name of a config map.")
@_text("path", "--path", text="Path on the machine, of a hostpath.")
@_text("source", "--source", metavar="JSON", text="Source of the volume as JSON, of any type.")
@_text(
    "default_mode",
    "--default-mode",
    metavar="MODE",
    text="Mode of the files of a Secret or config map, in octal digits.",
    shown="0644",
)
@containers_option(_VolumeOptions)
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def volume(ctx: click.Context, words: tuple[str, ...]) -> None:
    """List, add and remove volumes of workloads and their mounts.

    Without --add or --remove, the volumes are listed.
    """
    session: Session = ctx.ensure_object(Session)
    options, writing = kept(ctx, _VolumeOptions), kept(ctx, WritingOptions)
    targets = parse_targets(session, kept(ctx, TargetOptions), words)
    if options.add and options.remove:
        raise click.UsageError("--add and --remove exclude each other")
    if not options.add and not options.remove:
        _list(session, targets, options, local=writing.local)
        return
    change: Callable[[Document], None]
    if options.add:
        change = _Added(options, options.name or _new_name(), options.source_of())
    elif not options.name and not options.confirm:
        raise click.UsageError("--remove needs --name, or --confirm to remove all volumes")
    else:
        change = _Removed(options)
    change_objects(session, targets, Wanted(change, "volume updated"), writing)


def _new_name() -> str:
    return f"volume-{secrets.token_hex(3)}"


def _list(
    session: Session, targets: ChosenObjects, options: _VolumeOptions, *, local: bool
) -> None:
    async def work(client: ApiClient) -> None:
        if local:
            found = [(one.resource, one.document) for one in targets.manifests]
        else:
            found = [(one, encode(one)) for one in await targets.read(client)]
        for resource, document in found:
            for line in _lines(resource, pod_spec(document), options):
                echo(line)

    session.run(work)


def _lines(resource: Resource, spec: Document, options: _VolumeOptions) -> Iterator[str]:
    yield full_name(resource)
    for one in spec.get("volumes") or ():
        name = one.get("name")
        if options.name not in {"", name}:
            continue
        kind = next((key for key in one if key != "name"), "emptyDir")
        yield f"  {_described(kind, one.get(kind) or {})} as {name}"
        for container in all_containers(spec):
            if not any_match(str(container.get("name", "")), options.pattern):
                continue
            for mount in container.get("volumeMounts") or ():
                if mount.get("name") == name:
                    yield f"    mounted at {mount.get('mountPath')} in {container.get('name')}"


def _described(kind: str, source: Document) -> str:
    match kind:
        case "emptyDir":
            return "empty directory"
        case "persistentVolumeClaim":
            return f"pvc/{source.get('claimName')}"
        case "secret":
            return f"secret/{source.get('secretName')}"
        case "configMap":
            return f"configMap/{source.get('name')}"
        case "hostPath":
            return f"host path {source.get('path')}"
    return kind
