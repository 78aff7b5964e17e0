"""Wait until new workloads run, and the addresses of their Routes."""

import asyncio
import sys
from collections.abc import Sequence

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.conditions import find
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.cli.core.documents import LoadedManifest
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.output import full_name
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.cli.objects.obstacles import tell_obstacles
from upwell.cli.presentation.progress import ProgressLine
from upwell.machine.tasks import side_by_side
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.store.interface import ApiClient

_AVAILABLE = "Available"
type _Running = Deployment | DeploymentConfig


def should_wait(wait: bool | None) -> bool:  # noqa: FBT001 - the value of an option
    """Return whether a command waits, by its `--wait/--no-wait`: else where a person looks on."""
    return sys.stderr.isatty() if wait is None else wait


async def wait_until_running(
    client: ApiClient, manifests: Sequence[LoadedManifest], seconds: float
) -> None:
    """Return once what runs in the first namespace of the manifests is available.

    A terminal shows what it waits for; faults of images and builds that keep it waiting are told
    once each. Raises CommandError after so many seconds, or once a build or a rollout has failed.
    """
    found = [one.resource for one in manifests]
    running = [one for one in found if isinstance(one, Deployment | DeploymentConfig)]
    for one in running:
        if one.namespace == running[0].namespace:
            await _wait_for_one(client, one, found, seconds)


async def _wait_for_one(
    client: ApiClient, one: _Running, found: Sequence[Resource], seconds: float
) -> None:
    """Return once it is available; `found` are all objects whose faults are told."""
    name, last_seen = full_name(one), ""
    hint = f"`upwell explain {one.KIND.singular}/{one.name}` says why"
    with ProgressLine() as line:

        def changed(state: _Running) -> None:
            nonlocal last_seen
            last_seen = rollout_of(state).text
            line.show(f"{name}: {last_seen}")

        def tell(fault: str) -> None:
            line.clear()
            echo(f"waits: {fault}", err=True)

        try:
            async with asyncio.timeout(seconds or None), side_by_side() as group:
                telling = group.create_task(tell_obstacles(client, found, tell))
                last = await until(client, one, _has_ended, changed=changed)
                telling.cancel()
        except TimeoutError:
            state = f"{name} does not run yet, after {seconds:g} s: {last_seen}; {hint}"
            raise CommandError(state, Exit.TIMEOUT) from None
    if not _is_available(last):
        raise CommandError(f"{name} does not run: {rollout_of(last).text}; {hint}")
    echo(f"{name} runs", err=True)


def _has_ended(state: _Running) -> bool:
    """Return whether it runs, or has begun and failed: what waits for an image may yet get one."""
    failed = bool(state.status.revisions) and rollout_of(state).state is RolloutState.FAILED
    return failed or _is_available(state)


def _is_available(state: _Running) -> bool:
    condition = find(state.status.conditions, _AVAILABLE)
    return condition is not None and condition.is_true


async def route_addresses(client: ApiClient, manifests: Sequence[LoadedManifest]) -> Sequence[str]:
    """Return the URL of each Route among the manifests, with the router's port."""
    routes = [one.resource for one in manifests if isinstance(one.resource, Route)]
    return [url_of(await client.get(Route, one.namespace, one.name)) for one in routes]


def url_of(route: Route) -> str:
    """Return the URL of a Route: of one without TLS with the port of the router."""
    router = next((one.router_canonical_hostname for one in route.status.ingress), None) or ""
    host = route.spec.host or next((one.host for one in route.status.ingress), "")
    if route.spec.tls is not None:
        return f"https://{host}{route.spec.path or '/'}"
    port = router.rpartition(":")[2] if ":" in router else ""
    return f"http://{host}{f':{port}' if port and port != '80' else ''}{route.spec.path or '/'}"
