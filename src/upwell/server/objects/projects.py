"""Projects: Namespaces as OpenShift's clients see them, each client those that it may see."""

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.codec import encode
from upwell.api.core import Namespace
from upwell.api.meta import Resource
from upwell.api.requests.projects import Project, ProjectRequest
from upwell.policy.access.roles import Action, is_allowed
from upwell.server.admission.admission import admit
from upwell.server.auth.caller import caller_of, grants_of
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as
from upwell.server.objects.objects import ObjectHandlers
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.watches import Watches
from upwell.server.objects.write_options import write_options
from upwell.server.objects.writes import Writer
from upwell.store.interface import (
    EVERYTHING,
    Listing,
    Reader,
    Selector,
    Store,
    WatchEvent,
    WatchProgress,
)

_BEGINS_WITH = ("namespaces", "deployments", "buildconfigs")
"""Kinds whose creation begins a namespace: a client that may create one may ask for it too."""

type _Sees = Callable[[str], bool]


class ProjectHandlers:
    """Answers requests about Projects."""

    def __init__(
        self,
        store: Store,
        objects: ObjectHandlers,
        streams: OpenStreams,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._objects = objects
        self._streams = streams
        self._limits = limits
        self._clock = clock
        self._writer = Writer(store, clock)

    async def list(self, request: Request, target: RequestTarget) -> Response:
        """Answer the Projects that the client may see, or a watch of them."""
        return await self._reads(request).list(request, target)

    async def get(self, request: Request, target: RequestTarget) -> Response:
        """Answer one."""
        return await self._reads(request).get(request, target)

    async def delete(self, request: Request, target: RequestTarget) -> Response:
        """Delete the Namespace, with all that is in it."""
        return await self._objects.delete(request, RequestTarget(Namespace, "", target.name))

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Create the Namespace of a Project."""
        del target
        wanted = await read_as(request, self._limits, Project, _check)
        return await self._created(request, wanted)

    async def ask(self, request: Request, target: RequestTarget) -> Response:
        """Create the Namespace of a ProjectRequest, and answer its Project."""
        del target
        wanted = await read_as(request, self._limits, ProjectRequest, _check_request)
        return await self._created(request, wanted.project(caller_of(request)))

    async def may_ask(self, request: Request, target: RequestTarget) -> Response:
        """Answer that Projects may be asked for: `oc new-project` wants to know first."""
        del request, target
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return JSONResponse(answer)

    async def _created(self, request: Request, wanted: Project) -> Response:
        name = wanted.name
        grants = grants_of(request)
        actions = (Action("create", kind, name) for kind in _BEGINS_WITH)
        if grants is not None and not any(is_allowed(grants, one) for one in actions):
            raise ApiError(
                403,
                f"token {caller_of(request)} may not create namespace {name[:100]!r}: it needs a"
                f" role there that creates something, such as deployer@{name[:100]}",
            )
        target = RequestTarget(Namespace, "", "")
        document: dict[str, Any] = encode(wanted.as_namespace())
        written = await self._writer.create(target, document, write_options(request))
        request.scope[AUDIT_NOTE] = AuditNote(name=name, changes=written.changes)
        made = Project.of(cast("Namespace", written.resource))
        return object_response(request, made, 201, written.warnings)

    def _reads(self, request: Request) -> ReadHandlers:
        reader = ProjectReader(self._store, _sight_of(request))
        watches = Watches(reader, self._streams, self._limits, self._clock)
        return ReadHandlers(reader, watches, self._clock)


def _check_request(wanted: ProjectRequest) -> None:
    """Raise InvalidObjectError with all that is wrong with the Namespace of a ProjectRequest."""
    _check(wanted.project(""))


def _check(wanted: Project) -> None:
    """Raise InvalidObjectError with all that is wrong with the Namespace of a Project."""
    admit(RequestTarget(Namespace, "", ""), encode(wanted.as_namespace()), None)


def _sight_of(request: Request) -> _Sees:
    """Return which Namespaces the client may see."""
    grants = grants_of(request)
    if grants is None:
        return lambda _: True
    if is_allowed(grants, Action("list", "namespaces")):
        return lambda _: True
    return lambda name: is_allowed(grants, Action("get", "namespaces", name, name))


class ProjectReader:
    """Implements Reader for Projects: those whose Namespaces are seen, as they are now."""

    def __init__(self, namespaces: Reader, sees: _Sees) -> None:
        self._namespaces = namespaces
        self._sees = sees

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one; raises NotFoundError."""
        del kind, namespace
        found = await self._namespaces.get(Namespace, "", name)
        return cast("R", Project.of(found))

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return those that match and are seen."""
        del kind
        listing = await self._namespaces.list(Namespace, selector)
        found = [Project.of(one) for one in listing.items if self._sees(one.name)]
        return cast("Listing[R]", Listing(found, listing.resource_version))

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes of those that are seen, for ever; raises ExpiredError."""
        del kind
        events = self._namespaces.watch(Namespace, selector, since=since, progress=progress)
        async for event in events:
            if self._sees(event.resource.name):
                shown = Project.of(event.resource)
                told = WatchEvent(event.change, shown, event.previous_labels)
                yield cast("WatchEvent[R]", told)
