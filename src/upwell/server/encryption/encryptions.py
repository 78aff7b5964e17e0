"""POST /apis/upwell.dev/v1alpha1/encryptions: how the store is encrypted, or a new data key."""

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from upwell.api.codec import decode_as
from upwell.api.requests.encryption import Encryption, EncryptionStatus
from upwell.server.http.body import read_body
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.store.interface import RejectedError, StoreError, StoreKeys

log = logging.getLogger(__name__)


def create_routes(keys: StoreKeys | None, limits: ServerLimits) -> list[BaseRoute]:
    """Return the route; none for a store that keeps nothing on disk.

    It names no resource that a role knows: an admin everywhere may use it.
    """
    if keys is None:
        return []
    running: set[asyncio.Task[None]] = set()

    async def create(request: Request) -> Response:
        body = await read_body(request, limits.webhook_bytes, limits.body_seconds)
        asked = decode_as(Encryption, body)
        if asked.spec.rotate:
            if not keys.state().source:
                raise RejectedError(
                    "nothing is encrypted: name a key in [encryption] keys of the configuration"
                    " file, and start the server again"
                )
            task = asyncio.create_task(_rotate(keys))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(0)
        return object_response(request, asked.with_status(_status(keys)), 201)

    kind = Encryption.KIND
    return [Route(f"/apis/{kind.api_version}/{kind.plural}", create, methods=["POST"])]


async def _rotate(keys: StoreKeys) -> None:
    try:
        await keys.rotate()
    except StoreError:
        log.exception("the rotation of the data key stopped; it goes on at the next start")
    else:
        log.info("the data key was rotated", extra={"key": keys.state().data_key})


def _status(keys: StoreKeys) -> EncryptionStatus:
    found = keys.state()
    return EncryptionStatus(
        source=found.source,
        data_key=found.data_key,
        rotating=found.is_rotating,
        rows_left=found.rows_left,
        fault=found.fault,
    )
