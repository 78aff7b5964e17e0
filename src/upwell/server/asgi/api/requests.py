"""Requests below /api and /apis, and who answers them."""

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.codec import RESOURCES
from upwell.machine.tasks import first_error
from upwell.server.asgi.api.handlers import (
    COLLECTION,
    ENTERED,
    OBJECT,
    WHOLE,
    Handlers,
    HandlerTable,
    StoredHandlers,
    build_handlers,
    image_handlers,
    project_handlers,
    review_handlers,
    revision_handlers,
    workload_handlers,
)
from upwell.server.asgi.dependencies import ServerDependencies
from upwell.server.http.errors import ApiError
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget, parse_target
from upwell.server.notifications import subscriptions
from upwell.server.objects import discovery
from upwell.server.promotion.api import PromotionApi
from upwell.server.waves import handlers as waves
from upwell.server.workloads.pod_api import PodApi

_STATUS = "status"


class ServedApi:
    """Finds the handler of a request below /api and /apis."""

    def __init__(
        self,
        deps: ServerDependencies,
        streams: OpenStreams,
        promotions: PromotionApi,
        pods: PodApi,
    ) -> None:
        self._stored = StoredHandlers.of(deps, streams)
        acting: HandlerTable = {
            **promotions.parts(),
            **subscriptions.parts(deps.actions.subscriptions, deps.limits),
            **waves.parts(deps.actions.waves, deps.limits, deps.clock),
        }
        self._never_tried = {*acting, *((plural, "exec") for plural in ENTERED)}
        builds, self.replica_routes = build_handlers(deps, streams)
        table: HandlerTable = {
            **builds,
            **project_handlers(deps, streams, self._stored),
            **image_handlers(deps, self._stored),
            **workload_handlers(deps, streams, self._stored, pods),
            **revision_handlers(deps, streams),
            **review_handlers(deps),
            **acting,
        }
        # Apart: what a client names as a part of an object is none of the others.
        self._views = {place: of for place, of in table.items() if place[1] in WHOLE}
        self._parts = {place: of for place, of in table.items() if place[1] not in WHOLE}

    def subresources(self) -> list[discovery.Subresource]:
        """Return every part of every kind, for discovery."""
        parts = [
            discovery.Subresource(plural, part, tuple(handlers))
            for (plural, part), handlers in self._parts.items()
        ]
        parts += [
            discovery.Subresource(
                resource.KIND.plural,
                _STATUS,
                ("GET",) if resource.KIND.read_only else ("GET", "PATCH", "PUT"),
            )
            for resource in RESOURCES
            if resource.KIND.has_status and (resource.KIND.plural, _STATUS) not in self._parts
        ]
        return parts

    async def answer(self, request: Request) -> Response:
        """Answer a request; raises whatever its handler raises."""
        path = request.path_params
        target = parse_target(path.get("group", ""), path["version"], path["path"])
        handlers = self._handlers(target)
        method = "GET" if request.method == "HEAD" else request.method
        handler = handlers.get(method)
        if handler is None:
            raise ApiError(405, f"{method} is not possible here: {', '.join(handlers)}")
        part = (target.kind.plural, target.subresource)
        if method != "GET" and request.query_params.get("dryRun") and part in self._never_tried:
            raise ApiError(400, f"dryRun: {'/'.join(part)} acts at once and cannot be tried")
        try:
            return await handler(request, target)
        except ExceptionGroup as group:
            raise first_error(group) from group

    def _handlers(self, target: RequestTarget) -> Handlers:
        stored, plural, part = self._stored, target.kind.plural, target.subresource
        if target.kind.read_only and part in {"", _STATUS}:
            return {"GET": stored.reads.get if target.name else stored.reads.list}
        if part:
            own = self._parts.get((plural, part))
            if own is not None:
                return own
            if part == _STATUS and target.kind.has_status:
                return stored.status
            raise ApiError(404, f"{plural} have no {part}")
        if target.name:
            return self._views.get((plural, OBJECT), stored.object)
        return self._views.get((plural, COLLECTION), stored.collection)
