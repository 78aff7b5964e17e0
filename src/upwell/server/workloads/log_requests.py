"""Requests for a log (core/v1 PodLogOptions), read from their query."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request

from upwell.api.apps import DeploymentConfig
from upwell.machine.tasks import closing
from upwell.policy.rollouts.history import controller_name
from upwell.server.http.errors import ApiError
from upwell.server.http.query import integer, is_true
from upwell.workload.interface import Instance, LogQuery


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Container whose log is asked for, the part of it, and its limit in bytes."""

    container: str
    query: LogQuery
    most_bytes: int | None = None


def log_request(request: Request, now: datetime) -> LogRequest:
    """Return what is asked for; raises ApiError 400."""
    return LogRequest(
        request.query_params.get("container", ""),
        LogQuery(
            follow=is_true(request, "follow"),
            tail=integer(request, "tailLines"),
            since=_since(request, now),
            timestamps=is_true(request, "timestamps"),
            previous=is_true(request, "previous"),
        ),
        integer(request, "limitBytes"),
    )


def _since(request: Request, now: datetime) -> datetime | None:
    seconds = integer(request, "sinceSeconds")
    text = request.query_params.get("sinceTime", "")
    if seconds is not None and text:
        raise ApiError(400, "sinceSeconds and sinceTime: at most one of them")
    if seconds is not None:
        return now - timedelta(seconds=seconds)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ApiError(400, f"sinceTime: expected a time of RFC 3339, found {text[:40]!r}")
    return moment


def of_version(
    request: Request, config: DeploymentConfig, found: Sequence[Instance]
) -> Sequence[Instance]:
    """Return the instances of the revision that is asked for; without one, all.

    `version` is its number (apps.openshift.io/v1 DeploymentLogOptions). Raises ApiError 400 for
    one that there was never, 404 for one that is forgotten, 400 for one that nothing runs of.
    """
    version = integer(request, "version")
    if version is None:
        return found
    records = {record.revision: record for record in config.status.revisions}
    if not 0 < version <= max((config.status.latest_version, *records)):
        raise ApiError(
            400,
            f'invalid version for deploymentConfig "{config.name}": {version}',
            key=config.key,
        )
    name = controller_name(config.name, version)
    if version not in records:
        raise ApiError(404, f'replicationcontrollers "{name}" not found', key=config.key)
    wanted = [one for one in found if one.revision == records[version].hash]
    if not wanted:
        raise ApiError(
            400,
            f"{config.key} has no instance of version {version}, so no log: `oc rollout history"
            f" dc/{config.name}` lists its versions",
            key=config.key,
        )
    return wanted


async def limited(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Yield the first `most` bytes."""
    left = most
    async with closing(pieces):
        async for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return
