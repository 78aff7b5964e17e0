"""Parts of builds: a build's log, a new build."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from upwell.actions.builds import BuildActions, BuildClient
from upwell.api.builds.build import Build, BuildPhase, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import InvalidObjectError, check_part, unknown_fields
from upwell.api.validation.openshift.builds import build_request_faults
from upwell.api.values.faults import Fault
from upwell.builder.interface import BuildLogs
from upwell.policy.access.roles import Action
from upwell.policy.access.secrets import secrets_requested
from upwell.server.auth.caller import (
    caller_of,
    grants_of,
    require_content_rights,
    require_right,
)
from upwell.server.builds.leader_logs import PLACE, LeaderLogs
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.query import integer, is_true
from upwell.server.http.rendering import object_response
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_object
from upwell.server.objects.write_options import write_options
from upwell.server.workloads.log_streams import last_lines, log_response
from upwell.store.interface import Change, Selector, Store

_REQUEST = "BuildRequest"
_MAX_WARNINGS = 20
_MAX_WARNING = 256
_OF_CONFIG = "the build takes the images that its BuildConfig follows: change the strategy's from"
_INSTEAD = {"from": _OF_CONFIG, "triggeredByImage": _OF_CONFIG}
_OTHER = "no build knows it"
_NOT_STARTED = {BuildPhase.NEW, BuildPhase.PENDING}


class BuildHandlers:
    """Answers requests for the parts of Builds and BuildConfigs."""

    def __init__(
        self,
        store: Store,
        logs: BuildLogs,
        actions: BuildActions,
        streams: OpenStreams,
        limits: ServerLimits,
        leader: LeaderLogs | None = None,
    ) -> None:
        """`leader` has the logs of running builds where another replica leads."""
        self._leader = leader
        self._store = store
        self._logs = logs
        self._actions = actions
        self._streams = streams
        self._limits = limits

    async def log(self, request: Request, target: RequestTarget) -> Response:
        """Answer a build's log; with `follow`, wait for its start and go on until its end."""
        build = await self._store.get(Build, target.namespace, target.name)
        follow, lines = is_true(request, "follow"), integer(request, "tailLines")
        if self._leader is not None and self._leader.is_elsewhere(build):
            self._streams.require_room()
            pieces = await self._leader.read(build, lines, follow=follow)
            return log_response(self._streams, pieces)
        return log_response(self._streams, self._log(build, lines, follow=follow))

    def replica_routes(self) -> Sequence[BaseRoute]:
        """Return the route by which other replicas ask for logs; none: there are no others."""
        if (leader := self._leader) is None:
            return ()

        async def get(request: Request) -> Response:
            wanted = leader.opened(request.path_params["ticket"])
            build = await self._store.get(Build, wanted.namespace, wanted.name)
            if build.uid != wanted.uid:
                raise ApiError(404, f"{build.key} is another build by now")
            pieces = self._log(build, wanted.lines, follow=wanted.follow)
            return log_response(self._streams, pieces)

        return (Route(f"{PLACE}{{ticket}}", get, methods=["GET"]),)

    async def _log(self, build: Build, lines: int | None, *, follow: bool) -> AsyncGenerator[bytes]:
        if follow and build.status.phase in _NOT_STARTED:
            await self._started(build)

        pieces = self._logs.read(build.uid, build.namespace, follow=follow)
        if lines is not None:
            whole = self._logs.read(build.uid, build.namespace)
            pieces = last_lines(whole, pieces, lines)
        async for piece in pieces:
            yield piece

    async def _started(self, build: Build) -> None:
        """Wait until the build has left the queue, or is gone: by a watch of it alone."""
        only = Selector(build.namespace, name=build.name)
        events = self._store.watch(Build, only)
        try:
            async for event in events:
                phase = event.resource.status.phase
                if event.change is Change.DELETED or phase not in _NOT_STARTED:
                    return
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    async def instantiate(self, request: Request, target: RequestTarget) -> Response:
        """Start a build of a BuildConfig; the body is a BuildRequest or empty."""
        wanted = await self._build_request(request, target)
        build = await self._actions.instantiate(
            target.namespace,
            target.name,
            wanted,
            build_client(request),
            dry_run=write_options(request).dry_run,
        )
        warnings = (*_without_effect(wanted), *await self._used_again(build, target))
        return object_response(request, build, 201, warnings)

    async def _used_again(self, build: Build, target: RequestTarget) -> tuple[str, ...]:
        """Say which upload a build uses that came without one."""
        binary = build.spec.source.binary
        if binary is None or not binary.digest:
            return ()
        config = await self._store.get(BuildConfig, target.namespace, target.name)
        known = config.status.binary_input
        of = f" of build {known.build}" if known and known.digest == binary.digest else ""
        said = f"nothing was uploaded: build {build.name} uses the upload{of} again"
        return (
            f"{said} ({binary.digest}); `oc start-build {target.name} --from-dir=.` uploads anew",
        )

    async def clone(self, request: Request, target: RequestTarget) -> Response:
        """Make a build again; the body is a BuildRequest or empty."""
        wanted = await self._build_request(request, target)
        build = await self._actions.clone(
            target.namespace,
            target.name,
            wanted,
            build_client(request),
            dry_run=write_options(request).dry_run,
        )
        return object_response(request, build, 201, _without_effect(wanted))

    async def _build_request(self, request: Request, target: RequestTarget) -> BuildRequest:
        """Return the body's BuildRequest; raises ApiError or InvalidObjectError.

        Its values may be secret: no error quotes one.
        """
        document = await read_object(request, self._limits, may_be_empty=True)
        decoded = check_part(BuildRequest, _REQUEST, document, _checked)
        for name in secrets_requested(decoded):
            require_right(request, Action("use", "secrets", target.namespace, name))
        return decoded


def build_client(request: Request) -> BuildClient | None:
    """Return who asks for a build; None where nobody is asked for a token."""
    if grants_of(request) is None:
        return None
    return BuildClient(caller_of(request), partial(require_content_rights, request))


def _checked(wanted: BuildRequest) -> BuildRequest:
    """Return a request that is valid; raises InvalidObjectError with every fault."""
    faults = list(build_request_faults(wanted))
    if wanted.binary is not None:
        faults.append(Fault("binary", "upload the content with instantiatebinary"))
    if faults:
        raise InvalidObjectError(_REQUEST, tuple(faults))
    return wanted


def _without_effect(wanted: BuildRequest) -> tuple[str, ...]:
    """Say which fields of a BuildRequest change nothing, and what would."""
    unknown = [path for path in unknown_fields(wanted) if path not in {"apiVersion", "kind"}]
    return tuple(
        f'BuildRequest: field "{path[:_MAX_WARNING]}" has no effect: {_INSTEAD.get(path, _OTHER)}'
        for path in unknown[:_MAX_WARNINGS]
    )
