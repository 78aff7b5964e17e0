"""Uploads in requests: their bodies, and what clients are answered where one cannot be kept."""

from collections.abc import AsyncIterator

from starlette.requests import Request

from upwell.server.http.bounded_body import DEFAULT_BODY_LIMITS, BodyError, bounded, drained
from upwell.server.http.errors import ApiError
from upwell.uploads.interface import (
    BinaryInputs,
    InputError,
    InputTooLargeError,
    SharedContentError,
    StoredInput,
    StoreFullError,
    UploadQuotaError,
)


async def upload_pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes; raises ApiError for one that is too slow or breaks off."""
    try:
        async for piece in bounded(request, DEFAULT_BODY_LIMITS):
            yield piece
    except BodyError as error:
        raise ApiError(error.status, str(error)) from error


async def keep_upload(request: Request, inputs: BinaryInputs, namespace: str) -> StoredInput:
    """Keep the body for a namespace; raises InputError, or ApiError for a body that broke off.

    What is left of the body then is read, so that the client hears the answer.
    """
    try:
        return await inputs.save(upload_pieces(request), namespace)
    except InputError:
        await drained(request)
        raise


def upload_error(error: InputError, outcome: str = "") -> ApiError:
    """Return what a client is answered for an upload that cannot be kept, or cannot be read.

    `outcome` says what has come of the request where replicas cannot share it. What lasts until
    somebody grants or raises something is no 503, after which clients would try again.
    """
    match error:
        case InputTooLargeError():
            return ApiError(413, str(error))
        case UploadQuotaError():
            return ApiError(403, str(error))
        case StoreFullError():
            return ApiError(507, str(error), reason="InsufficientStorage")
        case SharedContentError() if error.retryable:
            again = f"; {outcome}: send it again then" if outcome else ""
            return ApiError(503, f"{error}{again}")
        case SharedContentError():
            undone = f"; {outcome}, and it is of no use to send it again before" if outcome else ""
            return ApiError(500, f"{error}{undone}", reason="ContentNotShared")
        case _:
            return ApiError(410, str(error))
