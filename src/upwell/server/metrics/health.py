"""/livez and /readyz: whether the process answers, and whether it can do its work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from upwell.api.core import Namespace
from upwell.machine.components import Components
from upwell.server.http.streaming import OpenStreams
from upwell.store.interface import Selector, Store, StoreError, UnavailableError

_SECONDS = 5.0

type Check = Callable[[], Awaitable[str]]
"""Returns what is wrong; empty when nothing is."""


def create_routes(
    store: Store,
    streams: OpenStreams,
    components: Components,
    role: Callable[[], str] | None = None,
) -> list[BaseRoute]:
    """Return the routes; `role` says what this replica does among others, where there are some.

    Not ready while the store does not answer, the server shuts down, or a component is faulty that
    is required. With `?verbose` they list their checks, as Kubernetes' API server does.
    """

    async def ping() -> str:
        return ""

    async def running() -> str:
        return "shutting down" if streams.shutdown.is_set() else ""

    async def answering() -> str:
        try:
            async with asyncio.timeout(_SECONDS):
                await store.list(Namespace, Selector(name="default"))
        except (UnavailableError, TimeoutError) as error:
            return f"the store does not answer: {error}"
        except StoreError as error:  # such as a right that the server's account lacks
            return f"the store cannot be read: {error}"
        return ""

    own = {"ping": ping, "shutdown": running, "store": answering}

    async def live() -> Mapping[str, str]:
        return {"ping": await ping()}

    async def ready() -> Mapping[str, str]:
        faults = {check: await examine() for check, examine in own.items()}
        return {**faults, **_of_components(components)}

    def beside() -> list[str]:
        return [] if role is None else [*_not_required(components), f"[+]role: {role()}"]

    return [
        Route("/livez", _endpoint("livez", live)),
        Route("/readyz", _endpoint("readyz", ready, beside)),
        Route("/healthz", _endpoint("healthz", ready, beside)),
    ]


def _of_components(components: Components) -> Mapping[str, str]:
    """Return a check for each component that the server needs."""
    return {
        one.name: f"{one.name}: {one.message or one.reason}" if one.faulty else ""
        for one in components.states()
        if one.required
    }


def _not_required(components: Components) -> list[str]:
    """Return a line for each fault that a replica serves in spite of."""
    states = [one for one in components.states() if one.faulty and not one.required]
    return [f"[-]{one.name} failed, and is not required: {one.message}" for one in states]


def _endpoint(
    name: str,
    examine: Callable[[], Awaitable[Mapping[str, str]]],
    beside: Callable[[], list[str]] = list,
) -> Callable[[Request], Awaitable[PlainTextResponse]]:
    async def answer(request: Request) -> PlainTextResponse:
        faults = await examine()
        wrong = [fault for fault in faults.values() if fault]
        code = 503 if wrong else 200
        if "verbose" not in request.query_params:
            return PlainTextResponse(_one_line("; ".join(wrong)) or "ok", code)
        lines = [
            f"[-]{check} failed: {fault}" if fault else f"[+]{check} ok"
            for check, fault in faults.items()
        ]
        lines += beside()
        lines.append(f"{name} check {'failed' if wrong else 'passed'}")
        return PlainTextResponse("".join(f"{_one_line(line)}\n" for line in lines), code)

    return answer


def _one_line(text: str) -> str:
    """Return a text without what would end its line, or show it otherwise than it is."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))
