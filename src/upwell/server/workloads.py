"""Parts of workloads: what really runs of one, its logs, its way back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.codec import encode_json
from upwell.api.meta import format_time
from upwell.server.actions import Actions
from upwell.server.body import decode_object, media_type, read_body
from upwell.server.limits import ServerLimits
from upwell.server.log_streams import log_response, side_by_side
from upwell.server.query import integer, is_true
from upwell.server.rendering import json_response
from upwell.server.statuses import ApiError
from upwell.server.streaming import OpenStreams
from upwell.server.target import Target
from upwell.store.interface import Store
from upwell.workload.interface import Instance, Owner, Runtime, State, WorkloadError

_COMMAND_SECONDS = 300.0

type Document = dict[str, Any]


class WorkloadHandlers:
    """Answers requests for the parts of Deployments and their like."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime | None,
        actions: Actions,
        streams: OpenStreams,
        limits: ServerLimits,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._actions = actions
        self._streams = streams
        self._limits = limits

    async def instances(self, request: Request, target: Target) -> Response:
        """Answer what runs of the workload now, as the runtime says."""
        del request
        _, found = await self._find(target)
        return JSONResponse({"items": [_describe(instance) for instance in found]})

    async def log(self, request: Request, target: Target) -> Response:
        """Answer the logs of the workload's instances, or of the one that is named."""
        query = request.query_params
        runtime, found = await self._find(target)
        if name := query.get("instance"):
            found = [instance for instance in found if instance.name == name]
            if not found:
                raise ApiError(404, f"{target.key} has no instance {name!r}", key=target.key)
        container, follow = query.get("container", ""), is_true(request, "follow")
        for instance in found:
            if container and container not in instance.images:
                known = ", ".join(instance.images)
                raise ApiError(400, f"no container {container!r} in {instance.name}: {known}")
        tail = integer(request, "tailLines")
        logs: dict[str, AsyncIterator[bytes]] = {
            instance.name: runtime.logs(instance.name, container, follow=follow, tail=tail)
            for instance in found
        }
        one = next(iter(logs.values())) if len(logs) == 1 else side_by_side(logs)
        return log_response(self._streams, one)

    async def rollback(self, request: Request, target: Target) -> Response:
        """Roll the workload back; the body is `{"toRevision": n}`, without it the one before."""
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        wanted = decode_object(body, media_type(request)) if body.strip() else {}
        revision = wanted.get("toRevision", 0)
        if not isinstance(revision, int) or isinstance(revision, bool) or revision < 0:
            raise ApiError(422, "toRevision: expected a number of 0 or more")
        rolled_back = await self._actions.rollback(
            target.resource, target.namespace, target.name, revision
        )
        return json_response(encode_json(rolled_back))

    async def roll_out(self, request: Request, target: Target) -> Response:
        """Do a verb to the rollout; the body is `{"verb": "latest|cancel|retry", "again": …}`."""
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        wanted = decode_object(body, media_type(request))
        changed = await self._actions.roll_out(
            target.resource,
            target.namespace,
            target.name,
            str(wanted.get("verb", "")),
            again=wanted.get("again") is True,
        )
        return json_response(encode_json(changed))

    async def execute(self, request: Request, target: Target) -> Response:
        """Run a command in a container; the body is `{"command": [...]}`, and where.

        `instance` and `container` may be named; without them it is the first that is ready, and
        its main container. Answers `{"exitCode": n, "output": text}`, the output cut to 64 KiB.
        """
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        wanted = decode_object(body, media_type(request))
        command = wanted.get("command")
        if not (isinstance(command, list) and command and all(isinstance(w, str) for w in command)):
            raise ApiError(422, "command: expected a list of words")
        runtime, found = await self._find(target)
        name = str(wanted.get("instance", ""))
        running = [one for one in found if one.state in {State.RUNNING, State.INITIALIZING}]
        chosen = [one for one in running if name in {"", one.name}]
        if not chosen:
            what = f"instance {name!r}" if name else "instance"
            raise ApiError(404, f"no {what} of {target.key} runs", key=target.key)
        instance = next((one for one in chosen if one.ready), chosen[0])
        container = str(wanted.get("container", ""))
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

    async def instantiate(self, request: Request, target: Target) -> Response:
        """Start a rollout, as OpenShift's DeploymentRequest asks (`latest`: newer images too)."""
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        wanted = decode_object(body, media_type(request)) if body.strip() else {}
        changed = await self._actions.roll_out(
            target.resource,
            target.namespace,
            target.name,
            "latest",
            again=wanted.get("latest") is False,
        )
        return json_response(encode_json(changed), 201)

    async def _find(self, target: Target) -> tuple[Runtime, Sequence[Instance]]:
        await self._store.get(target.resource, target.namespace, target.name)
        if self._runtime is None:
            raise ApiError(503, "no container runtime is configured")
        owner = Owner(target.kind.kind, target.namespace, target.name)
        found = [i for i in await self._runtime.instances() if i.owner == owner]
        return self._runtime, sorted(found, key=lambda instance: instance.name)


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
