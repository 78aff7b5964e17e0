"""Requests for a log (core/v1 PodLogOptions), read from their query."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request

from upwell.server.http.errors import ApiError
from upwell.server.http.query import integer, is_true
from upwell.workload.interface import LogQuery


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


async def limited(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Yield the first `most` bytes."""
    left = most
    async for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return
