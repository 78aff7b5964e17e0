"""Parts of workloads: what really runs of one, its logs, its way back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.rollouts import RolloutActions
from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode_part
from upwell.api.meta import Resource, format_time
from upwell.api.requests.rollouts import DeploymentRequest, RollbackRequest
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_object
from upwell.server.objects.write_options import write_options
from upwell.server.objects.writes import permitted
from upwell.server.workloads.instances import Instances, require_container
from upwell.server.workloads.log_requests import limited, log_request, of_version
from upwell.server.workloads.log_streams import begun, log_response, side_by_side
from upwell.store.interface import Store
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import Instance

_COMMAND_SECONDS = 300.0

type Document = dict[str, Any]


class WorkloadHandlers:
    """Answers requests for the parts of Deployments and their like."""

    def __init__(
        self,
        store: Store,
        instances: Instances,
        rollouts: RolloutActions,
        streams: OpenStreams,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._instances = instances
        self._clock = clock
        self._rollouts = rollouts
        self._streams = streams
        self._limits = limits

    async def instances(self, request: Request, target: RequestTarget) -> Response:
        """Answer what runs of the workload now, as the runtime says."""
        del request
        found = await self._instances.of(target)
        return JSONResponse({"items": [_describe(instance) for instance in found]})

    async def log(self, request: Request, target: RequestTarget) -> Response:
        """Answer the logs of the workload's instances, or of the one that is named."""
        wanted = log_request(request, self._clock())
        found = await self._instances.of(target)
        if target.resource is DeploymentConfig:
            config = await self._store.get(DeploymentConfig, target.namespace, target.name)
            found = of_version(request, config, found)
        if name := request.query_params.get("instance"):
            found = [instance for instance in found if instance.name == name]
            if not found:
                raise ApiError(404, f"{target.key} has no instance {name!r}", key=target.key)
        if not found:
            why = await self._instances.why_none(target, found)
            raise ApiError(400, f"{target.key} has no instance, so no log: {why}", key=target.key)
        logs: dict[str, AsyncIterator[bytes]] = {}
        for instance in found:
            require_container(instance, wanted.container)
            pieces = self._instances.runtime.logs(instance.name, wanted.container, wanted.query)
            logs[instance.name] = pieces if wanted.query.follow else await begun(pieces)
        one = next(iter(logs.values())) if len(logs) == 1 else side_by_side(logs)
        if wanted.most_bytes is not None:
            one = limited(one, wanted.most_bytes)
        return log_response(self._streams, one)

    async def rollback(self, request: Request, target: RequestTarget) -> Response:
        """Roll the workload back; the body is `{"toRevision": n}`, without it the one before.

        For OpenShift's DeploymentConfigRollback, answer the object as it would be rolled back, and
        change nothing: its client writes it.
        """
        document = await read_object(request, self._limits, may_be_empty=True)
        asked = decode_part(RollbackRequest, f"the request to roll back {target.key}", document)
        options = write_options(request)

        async def permit(wanted: Resource, old: Resource) -> Resource:
            return await permitted(self._store, wanted, old, options)

        rolled_back = await self._rollouts.roll_back(
            target.resource,
            target.namespace,
            target.name,
            asked.revision or None,
            permit,
            dry_run=asked.is_only_shown or options.dry_run,
        )
        return object_response(request, rolled_back, 201 if asked.is_only_shown else 200)

    async def roll_out(self, request: Request, target: RequestTarget) -> Response:
        """Do a verb to the rollout; the body is `{"verb": "latest|cancel|retry", "again": …}`."""
        wanted = await read_object(request, self._limits)
        dry_run = write_options(request).dry_run
        place = (target.resource, target.namespace, target.name)
        match str(wanted.get("verb", "")):
            case "latest":
                again = wanted.get("again") is True
                changed = await self._rollouts.latest(*place, again=again, dry_run=dry_run)
            case "cancel":
                changed = await self._rollouts.cancel(*place, dry_run=dry_run)
            case "retry":
                changed = await self._rollouts.retry(*place, dry_run=dry_run)
            case verb:
                raise ApiError(422, f"{verb!r} is none of latest, cancel and retry")
        return object_response(request, changed)

    async def execute(self, request: Request, target: RequestTarget) -> Response:
        """Run a command in a container; the body is `{"command": [...]}`, and where.

        `instance` and `container` may be named; without them it is the first that is ready, and
        its main container. Answers `{"exitCode": n, "output": text}`, the output cut to 64 KiB.
        """
        wanted = await read_object(request, self._limits)
        command = wanted.get("command")
        if not (isinstance(command, list) and command and all(isinstance(w, str) for w in command)):
            raise ApiError(422, "command: expected a list of words")
        container = str(wanted.get("container", ""))
        instance = await self._instances.running(target, str(wanted.get("instance", "")), container)
        runtime = self._instances.runtime
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                code, output = await runtime.execute(instance.name, tuple(command), container)
        except TimeoutError:
            raise ApiError(
                504, f"the command did not end within {_COMMAND_SECONDS:.0f} s"
            ) from None
        except WorkloadError as error:
            raise ApiError(400, str(error), key=target.key) from error
        text = output.decode(errors="replace")
        return JSONResponse({"instance": instance.name, "exitCode": code, "output": text})

    async def instantiate(self, request: Request, target: RequestTarget) -> Response:
        """Start a rollout, as OpenShift's DeploymentRequest asks (`latest`: newer images too)."""
        document = await read_object(request, self._limits, may_be_empty=True)
        asked = decode_part(DeploymentRequest, f"the request to roll out {target.key}", document)
        changed = await self._rollouts.latest(
            target.resource,
            target.namespace,
            target.name,
            again=asked.latest is False,
            dry_run=write_options(request).dry_run,
        )
        return object_response(request, changed, 201)


def _describe(instance: Instance) -> Document:
    return {
        "name": instance.name,
        "revision": instance.revision,
        "state": instance.state.value,
        "ready": instance.ready,
        "address": instance.address,
        "images": {name: str(digest or "") for name, digest in instance.images.items()},
        "restarts": instance.restarts,
        "message": instance.message,
        "startedAt": format_time(instance.started_at),
    }
