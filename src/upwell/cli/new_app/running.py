"""Wait of `new-app --wait` until the application runs, and the addresses of its Routes."""

import sys
from collections.abc import Iterator, Sequence

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.conditions import find
from upwell.api.route import Route
from upwell.cli.core.documents import LoadedManifest
from upwell.cli.core.durations import within
from upwell.cli.core.output import full_name
from upwell.cli.core.terminal import echo
from upwell.cli.core.waiting import until
from upwell.store.interface import ApiClient

_AVAILABLE = "Available"
type _Running = Deployment | DeploymentConfig


async def wait_until_running(
    client: ApiClient, manifests: Sequence[LoadedManifest], seconds: float
) -> None:
    """Return once what runs in the first namespace of the manifests is available.

    Tells on a terminal what it waits for. Raises CommandError after so many seconds.
    """
    found = [one.resource for one in manifests]
    running = [one for one in found if isinstance(one, Deployment | DeploymentConfig)]
    first = [one for one in running if one.namespace == running[0].namespace]
    for one in first:
        last = [""]

        def changed(state: _Running, last: list[str] = last) -> None:
            text = "; ".join(_waits_for(state))
            if text and text != last[0] and sys.stderr.isatty():
                echo(f"waiting: {full_name(state)}: {text}", err=True)
            last[0] = text

        hint = f"{full_name(one)} does not run; `upwell explain {one.KIND.singular}/{one.name}`"
        async with within(seconds, f"{hint} says why"):
            await until(client, one, _is_available, changed=changed)
        echo(f"{full_name(one)} runs", err=True)


def _is_available(state: _Running) -> bool:
    condition = find(state.status.conditions, _AVAILABLE)
    return condition is not None and condition.is_true


def _waits_for(state: _Running) -> Iterator[str]:
    for condition in state.status.conditions:
        if not condition.is_true and condition.message:
            yield condition.message


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
