"""`upwell scale`: set the number of replicas."""

from dataclasses import dataclass

import click

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.cli.changes.writing import Document, WritingOptions, reader, warn, write_options
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import TIMEOUT, within
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.targets import TargetOptions, parse_targets, target_options
from upwell.cli.core.waiting import until
from upwell.store.interface import ApiClient
from upwell.store.retry import update_with_retry

_SCALABLE = ("Deployment", "StatefulSet", "DeploymentConfig", "ReplicaSet", "ReplicationController")


@dataclass(frozen=True, slots=True)
class _Scaling:
    """Number of replicas to have, and the number that there has to be before."""

    replicas: int
    current: int | None

    def __call__(self, resource: Resource) -> Document:
        """Return the object with that number; raises CommandError."""
        document = encode(resource)
        spec = document.get("spec", {})
        present = spec.get("replicas", 1)
        if self.current is not None and present != self.current:
            name = f"{resource.KIND.singular}/{resource.name}"
            raise CommandError(f"{name} has {present} replicas, not {self.current}: not scaled")
        return {**document, "spec": {**spec, "replicas": self.replicas}}


@click.command(
    epilog=examples(
        "upwell scale deployment/shop --replicas=3",
        "upwell scale dc gate --replicas=0",
        "upwell scale deployment/shop --current-replicas=2 --replicas=3",
        "upwell scale deployment/shop --replicas=3 --timeout=2m",
        "upwell scale deployment --all --replicas=0",
    )
)
@click.argument("words", nargs=-1, metavar="[KIND/NAME]...")
@click.option(
    "--replicas", type=click.IntRange(min=0), required=True, help="Number of replicas to have."
)
@click.option(
    "--current-replicas",
    "current",
    type=click.IntRange(min=-1),
    show_default="any",
    help="Number of replicas that there has to be before.",
)
@click.option(
    "--timeout",
    type=TIMEOUT,
    default="0",
    show_default="do not wait",
    help="Time to wait until as many replicas run.",
)
@target_options
@write_options(resource_version=True)
@connection_options
@click.pass_context
def scale(
    ctx: click.Context, words: tuple[str, ...], replicas: int, current: int | None, timeout: float
) -> None:
    """Set the number of replicas of workloads."""
    session: Session = ctx.ensure_object(Session)
    options = kept(ctx, WritingOptions)
    targets = parse_targets(session, kept(ctx, TargetOptions), words)
    scaling = _Scaling(replicas, None if current == -1 else current)
    if options.resource_version and not targets.is_one:
        raise click.UsageError("--resource-version needs a single object")

    async def work(client: ApiClient) -> None:
        found = await targets.read(client)
        for resource in found:
            if resource.KIND.kind not in _SCALABLE:
                raise CommandError(
                    f"{resource.KIND.singular}/{resource.name}: a {resource.KIND} has no replicas"
                    f" to set: name one of {', '.join(_SCALABLE)}",
                    Exit.USAGE,
                )
        for resource in found:
            after = await _scaled(client, resource, scaling, options)
            options.tell(resource, after, "scaled")
        if timeout and options.dry_run == "none":
            for resource in found:
                await _settled(client, resource, replicas, timeout)

    session.run(work)


async def _settled(client: ApiClient, first: Resource, replicas: int, seconds: float) -> None:
    """Wait until a workload has that many instances; raises CommandError."""
    name = f"{first.KIND.singular}/{first.name}"

    def has_settled(resource: Resource) -> bool:
        document = encode(resource)
        status = document.get("status") or {}
        seen = status.get("observedGeneration", 0) >= document["metadata"].get("generation", 0)
        # Another has scaled it meanwhile: there is nothing to wait for.
        wanted = document.get("spec", {}).get("replicas", 1)
        return bool(wanted != replicas or (seen and status.get("replicas", 0) == replicas))

    async with within(seconds, f"{name} does not have {replicas} replicas"):
        await until(client, first, has_settled)


async def _scaled(
    client: ApiClient, first: Resource, scaling: _Scaling, options: WritingOptions
) -> Document:
    """Scale by the subresource: whoever may scale need not be allowed to change the rest."""
    read = reader(client, first)

    async def decided() -> Resource:
        resource = await read()
        scaling(resource)
        return resource

    async def written(resource: Resource) -> Document:
        if not options.is_written:
            return scaling(resource)
        body: Document = {"spec": {"replicas": scaling.replicas}}
        version = options.resource_version
        if scaling.current is not None:
            version = version or resource.resource_version
        if version:
            body["metadata"] = {"resourceVersion": version}
        request = options.request(subresource="scale")
        _, warnings = await client.write("PATCH", first, body, request)
        warn(first, warnings)
        if options.dry_run == "server":
            return scaling(resource)
        return encode(await client.get(type(first), first.namespace, first.name))

    if options.resource_version:
        return await written(await decided())
    return await update_with_retry(decided, written)
