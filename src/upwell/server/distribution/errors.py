"""Errors as the distribution specification answers them (section Error Codes)."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.registry.errors import (
    BlobUnknownError,
    BlockedError,
    DigestMismatchError,
    InvalidAnswerError,
    ManifestUnknownError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
    RepositoryUnknownError,
    UnauthorizedError,
)
from upwell.registry.hosting import (
    ContentTooLargeError,
    ManifestContentUnknownError,
    ManifestInvalidError,
    QuotaExceededError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    TooManyUploadsError,
    UploadBusyError,
    UploadOffsetError,
    UploadUnknownError,
)
from upwell.server.distribution.requests import DistributionError
from upwell.server.http.bounded_body import BodyError, EarlyResponse, drained

type Endpoint = Callable[[Request], Awaitable[Response]]

# The first class that fits decides.
_ANSWERS: list[tuple[type[RegistryError], int, str]] = [
    (ManifestUnknownError, 404, "MANIFEST_UNKNOWN"),
    (BlobUnknownError, 404, "BLOB_UNKNOWN"),
    (RepositoryUnknownError, 404, "NAME_UNKNOWN"),
    (UploadUnknownError, 404, "BLOB_UPLOAD_UNKNOWN"),
    (UploadBusyError, 409, "BLOB_UPLOAD_INVALID"),
    (UploadOffsetError, 416, "BLOB_UPLOAD_INVALID"),
    (DigestMismatchError, 400, "DIGEST_INVALID"),
    (ManifestInvalidError, 400, "MANIFEST_INVALID"),
    (ManifestContentUnknownError, 404, "MANIFEST_BLOB_UNKNOWN"),
    (ContentTooLargeError, 413, "SIZE_INVALID"),
    (QuotaExceededError, 403, "DENIED"),
    (TooManyUploadsError, 429, "TOOMANYREQUESTS"),
    (StorageFullError, 507, "UNAVAILABLE"),
    (StorageUnavailableError, 503, "UNAVAILABLE"),
    (StorageError, 500, "UNKNOWN"),
    # Of the upstream that content is pulled through from:
    (RateLimitedError, 429, "TOOMANYREQUESTS"),
    (RegistryUnavailableError, 503, "UNAVAILABLE"),
    (InvalidAnswerError, 502, "UNAVAILABLE"),
    (UnauthorizedError, 502, "UNAVAILABLE"),
    (BlockedError, 403, "DENIED"),
    (RegistryError, 500, "UNKNOWN"),
]


def answering_errors(endpoint: Endpoint) -> Endpoint:
    """Wrap `endpoint` so that an error becomes the answer that the specification names."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except DistributionError as error:
            return await _response(request, error.status, error.code, str(error), error.headers)
        except BodyError as error:
            return await _response(request, error.status, "BLOB_UPLOAD_INVALID", str(error), {})
        except RegistryError as error:
            status, code = next(
                (status, code) for kind, status, code in _ANSWERS if isinstance(error, kind)
            )
            headers = {}
            if isinstance(error, UploadOffsetError):
                headers = {"Range": f"0-{max(error.offset - 1, 0)}", "Location": request.url.path}
            return await _response(request, status, code, str(error), headers)

    return answer


async def _response(
    request: Request, status: int, code: str, message: str, headers: dict[str, str]
) -> Response:
    body = {"errors": [{"code": code, "message": message, "detail": None}]}
    if request.method in {"POST", "PUT", "PATCH"} and not await drained(request):
        return EarlyResponse(body, status, headers)
    return JSONResponse(body, status, headers)
