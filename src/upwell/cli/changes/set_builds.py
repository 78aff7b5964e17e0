"""`upwell set build-secret`, `build-hook` and `deployment-hook`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from upwell.cli.changes.pod_templates import pod_spec
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.after_dashes import CommandAfterDashes, words_after_dashes
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.targets import TargetOptions, parse_targets_of, target_options

_STRATEGIES = ("dockerStrategy", "sourceStrategy", "customStrategy")


@dataclass(slots=True)
class _SecretOptions:
    push: bool = False
    pull: bool = False
    source: bool = False
    remove: bool = False


@dataclass(frozen=True, slots=True)
class _Secret:
    """The name of a Secret, or none, for what the options say."""

    options: _SecretOptions
    name: str

    def __call__(self, document: Document) -> None:
        spec = _spec_of(document, "BuildConfig")
        if self.options.push:
            self._put(spec.setdefault("output", {}), "pushSecret")
        if self.options.source:
            self._put(spec.setdefault("source", {}), "sourceSecret")
        if self.options.pull:
            strategy = spec.get("strategy") or {}
            for kind in _STRATEGIES:
                if isinstance(strategy.get(kind), dict):
                    self._put(strategy[kind], "pullSecret")

    def _put(self, parent: Document, field: str) -> None:
        if self.name:
            parent[field] = {"name": self.name}
        else:
            parent.pop(field, None)


def _secret(target: str, name: str, text: str) -> Callable[[Any], Any]:
    return keep_option(_SecretOptions, target, name, is_flag=True, help=text)


@click.command(
    "build-secret",
    epilog=examples(
        "upwell set build-secret --pull bc/shop registry-login",
        "upwell set build-secret --push --pull shop registry-login",
        "upwell set build-secret --source -l app=shop git-login",
        "upwell set build-secret --push --remove bc/shop",
    ),
)
@click.argument("words", nargs=-1, metavar="[BUILDCONFIG]... [SECRET]")
@_secret("push", "--push", "Set the Secret for the push of the result.")
@_secret("pull", "--pull", "Set the Secret for the pull of the base.")
@_secret("source", "--source", "Set the Secret for the fetch of the source.")
@_secret("remove", "--remove", "Remove the Secret.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def build_secret(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Set or remove the Secrets of BuildConfigs."""
    session: Session = ctx.ensure_object(Session)
    options = kept(ctx, _SecretOptions)
    if not (options.push or options.pull or options.source):
        raise click.UsageError("specify the type of secret to set (--push, --pull, or --source)")
    objects, secret = list(words), ""
    if not options.remove:
        if not objects:
            raise click.UsageError("a secret name must be specified")
        secret = objects.pop()
        kind, slash, name = secret.rpartition("/")
        if slash and kind not in {"secret", "secrets"}:
            raise click.UsageError("please specify a secret")
        secret = name
    wanted = Wanted(_Secret(options, secret), "secret updated")
    targets = parse_targets_of("bc", session, kept(ctx, TargetOptions), objects)
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


@dataclass(frozen=True, slots=True)
class _BuildHook:
    """The hook of a build: empty removes it."""

    hook: Document

    def __call__(self, document: Document) -> None:
        spec = _spec_of(document, "BuildConfig")
        spec.pop("postCommit", None)
        if self.hook:
            spec["postCommit"] = self.hook


@click.command(
    "build-hook",
    cls=CommandAfterDashes,
    epilog=examples(
        "upwell set build-hook bc/shop --post-commit --script='make test'",
        "upwell set build-hook bc/shop --post-commit --command -- /bin/bash -c /srv/test.sh",
        "upwell set build-hook shop --post-commit --remove",
    ),
)
@click.argument("words", nargs=-1, metavar="[BUILDCONFIG]... [-- COMMAND...]")
@click.option("--post-commit", is_flag=True, help="Change the hook after the image is made.")
@click.option("--command", "is_command", is_flag=True, help="Replace the image's entrypoint.")
@click.option("--script", default="", show_default="none", help="Script of a shell to run.")
@click.option("--remove", is_flag=True, help="Remove the hook.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def build_hook(
    ctx: click.Context,
    words: tuple[str, ...],
    post_commit: bool,  # noqa: FBT001 - click passes options by name
    is_command: bool,  # noqa: FBT001 - the same
    script: str,
    remove: bool,  # noqa: FBT001 - the same
) -> None:
    """Set or remove the hook of BuildConfigs, which has to succeed before the image is pushed.

    COMMAND are arguments of the image's entrypoint, with --script of the script.
    """
    session: Session = ctx.ensure_object(Session)
    command = list(words_after_dashes(ctx))
    if not post_commit:
        raise click.UsageError("you must specify a type of hook to set: --post-commit")
    if remove and (command or script or is_command):
        raise click.UsageError("--remove may not be used with any option except --post-commit")
    if script and is_command:
        raise click.UsageError("--script and --command may not be specified together")
    if not remove and not command and not script:
        raise click.UsageError("you must specify either a script or command for the build hook")
    hook: Document = {}
    if script:
        hook = {"script": script} | ({"args": command} if command else {})
    elif is_command:
        hook = {"command": command[:1]} | ({"args": command[1:]} if command[1:] else {})
    elif command:
        hook = {"args": command}
    targets = parse_targets_of("bc", session, kept(ctx, TargetOptions), words)
    wanted = Wanted(_BuildHook(hook), "hooks updated")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


@dataclass(slots=True)
class _HookOptions:
    pre: bool = False
    mid: bool = False
    post: bool = False
    remove: bool = False
    container: str = ""
    environment: tuple[str, ...] = ()
    failure_policy: str = "ignore"
    volumes: tuple[str, ...] = ()

    @property
    def points(self) -> list[str]:
        """Points of a rollout that are named."""
        return [name for name in ("pre", "mid", "post") if getattr(self, name)]


@dataclass(frozen=True, slots=True)
class _DeploymentHook:
    """The hook of a rollout's point; an empty command removes it."""

    options: _HookOptions
    command: Sequence[str]

    def __call__(self, document: Document) -> None:
        spec = _spec_of(document, "DeploymentConfig")
        strategy = spec.setdefault("strategy", {})
        recreates = strategy.get("type") == "Recreate"
        field = "recreateParams" if recreates else "rollingParams"
        if self.options.mid and not recreates:
            raise CommandError("a mid hook needs the strategy Recreate")
        params = dict(strategy.get(field) or {})
        for point in self.options.points:
            params.pop(point, None)
            if self.command:
                params[point] = self._hook(document)
        strategy.pop(field, None)
        if params:
            strategy[field] = params

    def _hook(self, document: Document) -> Document:
        options = self.options
        spec = pod_spec(document)
        names = [str(one.get("name")) for one in spec.get("containers") or ()]
        container = options.container or (names[0] if names else "")
        if container not in names:
            there = ", ".join(names)
            raise CommandError(f"it has no container {container!r}: there are {there}")
        volumes = {str(one.get("name")) for one in spec.get("volumes") or ()}
        for volume in options.volumes:
            if volume not in volumes:
                raise CommandError(f"it has no volume {volume!r}")
        pod: Document = {"command": list(self.command), "containerName": container}
        if options.environment:
            values = parse_assignments("--environment", options.environment)
            pod["env"] = [{"name": name, "value": value} for name, value in values.items()]
        if options.volumes:
            pod["volumes"] = list(options.volumes)
        return {"failurePolicy": options.failure_policy.capitalize(), "execNewPod": pod}


def _hook(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_HookOptions, target, *names, **facts)


@click.command(
    "deployment-hook",
    cls=CommandAfterDashes,
    epilog=examples(
        "upwell set deployment-hook dc/gate --pre --volumes=data -- /srv/migrate.sh",
        "upwell set deployment-hook gate --mid -e LEVEL=debug --failure-policy=abort -- /srv/do.sh",
        "upwell set deployment-hook dc/gate --remove --pre --post",
    ),
)
@click.argument("words", nargs=-1, metavar="[DEPLOYMENTCONFIG]... [-- COMMAND...]")
@_hook("pre", "--pre", is_flag=True, help="Change the hook before the rollout.")
@_hook("mid", "--mid", is_flag=True, help="Change the hook between old and new, of Recreate.")
@_hook("post", "--post", is_flag=True, help="Change the hook after the rollout.")
@_hook("remove", "--remove", is_flag=True, help="Remove the hooks.")
@_hook(
    "container", "-c", "--container", show_default="the first", help="Container to take the pod of."
)
@_hook(
    "environment", "-e", "--environment", multiple=True, metavar="K=V", help="Variable; repeatable."
)
@_hook(
    "failure_policy",
    "--failure-policy",
    type=click.Choice(["abort", "retry", "ignore"]),
    default="ignore",
    show_default=True,
    help="What follows on a failure.",
)
@_hook("volumes", "--volumes", multiple=True, help="Volume of the template; repeatable.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def deployment_hook(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Set or remove the hooks of DeploymentConfigs: a COMMAND in a pod of its own."""
    session: Session = ctx.ensure_object(Session)
    options, command = kept(ctx, _HookOptions), words_after_dashes(ctx)
    if options.remove and (command or options.volumes or options.environment or options.container):
        raise click.UsageError(
            "--remove may not be used with any option except --pre, --mid, --post"
        )
    if options.remove and not options.points:
        raise click.UsageError("you must specify at least one of --pre, --mid, or --post")
    if not options.remove and len(options.points) != 1:
        raise click.UsageError("you must specify one of --pre, --mid, or --post")
    if not options.remove and not command:
        raise click.UsageError("you must specify a command for the deployment hook")
    targets = parse_targets_of("dc", session, kept(ctx, TargetOptions), words)
    wanted = Wanted(_DeploymentHook(options, command), "hooks updated")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))


def _spec_of(document: Document, kind: str) -> Document:
    if document.get("kind") != kind:
        raise CommandError(f"it is no {kind}")
    spec: Document = document.setdefault("spec", {})
    return spec
