"""The ASGI application: objects under /api and /apis, their parts, discovery, webhooks, health."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client.metrics_core import Metric
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute

from upwell.machine.clock import elapsed
from upwell.server.asgi.access_log import AccessLogMiddleware
from upwell.server.asgi.api.requests import ServedApi
from upwell.server.asgi.dependencies import ServerDependencies
from upwell.server.auth import admin_token, audit_logs, passwords
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.builds import webhooks as build_webhooks
from upwell.server.encryption import encryptions
from upwell.server.exchange import registry_tokens
from upwell.server.exchange import routes as token_exchange
from upwell.server.http.errors import ERROR_HANDLERS
from upwell.server.http.streaming import OpenStreams
from upwell.server.images import webhooks
from upwell.server.metrics import health, metrics
from upwell.server.metrics.gauges import (
    StateGauges,
    component_metrics,
    connection_metrics,
    gauge,
)
from upwell.server.metrics.metrics import Gauges, Measured
from upwell.server.objects import discovery
from upwell.server.objects.large_work import seat_large_work
from upwell.server.objects.writes import DEFAULT_NAMESPACE, ensure_namespace
from upwell.server.promotion.api import PromotionApi, SignedLinks
from upwell.server.pruning import prunes
from upwell.server.signin.device import DeviceHandlers
from upwell.server.signin.pages import SignInPages
from upwell.server.signing import image_signing_keys
from upwell.server.workloads.pod_api import PodApi

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def create_app(deps: ServerDependencies) -> Starlette:
    """Return the application."""
    streams = OpenStreams(deps.limits.watches, deps.shutdown)
    pages = SignInPages(deps.sign_in) if deps.sign_in is not None else None
    promotions = PromotionApi(
        deps.store,
        deps.actions.promotions,
        deps.evidence,
        SignedLinks(deps.signatures, deps.url),
        deps.limits,
        deps.clock,
        pages,
    )
    pods = PodApi(deps.store, deps.runtime, streams, deps.limits, deps.clock)
    api = ServedApi(deps, streams, promotions, pods)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        await ensure_namespace(deps.store, DEFAULT_NAMESPACE)
        following = asyncio.create_task(pods.run())
        yield
        following.cancel()
        await asyncio.wait({following})

    app = Starlette(
        routes=[
            *health.create_routes(deps.store, streams, deps.components, deps.role),
            *metrics.create_routes(deps.metrics, _gauges(deps, streams)),
            *discovery.create_routes(api.subresources(), deps.version),
            *build_webhooks.create_routes(deps.store, deps.actions.builds, deps.limits),
            *admin_token.create_routes(
                deps.access.rotate_admin if deps.access else None, deps.limits
            ),
            *passwords.create_routes(plain=deps.plain),
            *token_exchange.create_routes(deps.token_exchange, deps.store, deps.limits, elapsed),
            *(DeviceHandlers(deps.sign_in).routes() if deps.sign_in is not None else ()),
            *(pages.routes() if pages is not None else ()),
            *encryptions.create_routes(deps.store_keys, deps.limits),
            *image_signing_keys.create_routes(deps.signing_keys, deps.limits),
            *audit_logs.create_routes(deps.audit),
            *prunes.create_routes(deps.actions.pruning, deps.limits),
            *promotions.routes(),
            *api.replica_routes,
            Route("/api/{version}/{path:path}", api.answer, methods=_METHODS),
            Route("/apis/{group}/{version}/{path:path}", api.answer, methods=_METHODS),
            WebSocketRoute("/api/{version}/{path:path}", pods.answer),
            WebSocketRoute("/apis/{group}/{version}/{path:path}", pods.answer),
            *webhooks.create_routes(deps.actions.images, deps.limits),
            *registry_tokens.create_routes(deps.access),
            *deps.registry_routes,
        ],
        middleware=_middleware(deps),
        exception_handlers=dict(ERROR_HANDLERS),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    seat_large_work(app, deps.limits)
    return app


def _middleware(deps: ServerDependencies) -> list[Middleware]:
    """Return what stands around the application, the outermost first."""
    around = [
        Middleware(AccessLogMiddleware, header_bytes=deps.limits.header_bytes, hosts=deps.hosts),
        Middleware(Measured, metrics=deps.metrics),
    ]
    if deps.access is not None:
        admission = Middleware(
            AuthMiddleware, access=deps.access, limits=deps.limits, shutdown=deps.shutdown
        )
        around.append(admission)
    return around


def _gauges(deps: ServerDependencies, streams: OpenStreams) -> list[Gauges]:
    async def components() -> Sequence[Metric]:
        return component_metrics(deps.components.states())

    async def connections() -> Sequence[Metric]:
        return connection_metrics(deps.connections.count, deps.connections.refused)

    async def watches() -> Sequence[Metric]:
        return [gauge("upwell_watches", "Open watches and followed logs.", streams.count)]

    state: Gauges = StateGauges(deps.store, deps.clock)
    others = [] if deps.gauges is None else [deps.gauges]
    # Those of objects last: they take the longest, and a scrape has an end.
    return [components, connections, watches, *others, state]
