"""Every error as a Kubernetes Status (meta/v1 Status): a code, a reason, a message, the causes."""

import http
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.images import ExaminationError
from upwell.api.codec import InvalidObjectError, UnknownKindError, resource_of_kind
from upwell.api.manifests import InvalidManifestTextError
from upwell.api.meta import ObjectKey
from upwell.api.patches.apply import ApplyConflictError, InvalidApplyError
from upwell.api.patches.patch import PatchError
from upwell.builder.interface import BuildError
from upwell.policy.builds.requests import BuildRefusedError
from upwell.policy.images.registry_webhooks import InvalidWebhookError
from upwell.policy.promotion.requests import NotAnApproverError, RefusedError
from upwell.policy.pruning.rules import InvalidRulesError, PruningRefusedError
from upwell.policy.rollouts.requests import RolloutRefusedError
from upwell.store.interface import AlreadyExistsError, NotFoundError, StoreError
from upwell.workload.errors import NoPreviousLogError, WorkloadError

type Document = dict[str, Any]

_STORE_CODES = {
    "NotFound": 404,
    "AlreadyExists": 409,
    "Conflict": 409,
    "Expired": 410,
    "Invalid": 422,
    "Forbidden": 403,
    "ServiceUnavailable": 503,
}
_BY_KUBECTL = (
    "or write it by kubectl, with rights of your own (`upwell help kubernetes by-kubectl`)"
)
_EXAMINATION_CODES = {
    "ManifestUnknown": 404,
    "RepositoryUnknown": 404,
    "Unauthorized": 401,
    "Invalid": 422,
}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "Timeout",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    431: "RequestHeaderFieldsTooLarge",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True, slots=True)
class ErrorCause:
    """One reason of an error: at which field, and what."""

    reason: str
    message: str
    field: str = ""


class ApiError(Exception):
    """A request that is refused; `code` is its HTTP status."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        causes: tuple[ErrorCause, ...] = (),
        key: ObjectKey | None = None,
    ) -> None:
        # It may quote what is no Unicode, and has to be answered anyway.
        super().__init__(message.encode(errors="backslashreplace").decode())
        self.code = code
        self.reason = reason or _REASONS.get(code, "InternalError")
        self.causes = causes
        self.key = key


def status_of(error: ApiError) -> Document:
    """Return the error as a Status object."""
    details: Document = {}
    if error.key is not None:
        kind = resource_of_kind(error.key.kind).KIND
        # Of what is invalid clients print the kind, of all else they know the resource.
        named = kind.kind if error.reason == _REASONS[422] else kind.plural
        details |= {"name": error.key.name, "group": kind.group, "kind": named}
    if error.causes:
        details["causes"] = [
            {"reason": cause.reason, "message": cause.message}
            | ({"field": cause.field} if cause.field else {})
            for cause in error.causes
        ]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error),
        "reason": error.reason,
        "details": details,
        "code": error.code,
    }


def success(key: ObjectKey, uid: str) -> Document:
    """Return the Status of a deletion."""
    kind = resource_of_kind(key.kind).KIND
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": key.name, "group": kind.group, "kind": kind.plural, "uid": uid},
    }


def to_api_error(error: Exception) -> ApiError:
    """Return what the client is told about any error that a request may raise."""
    if isinstance(error, ApiError):
        return error
    text = str(error)
    match error:
        case StoreError():
            key = getattr(error, "key", None)
            answer = ApiError(
                _STORE_CODES.get(error.reason, 500),
                _store_text(error),
                reason=error.reason,
                key=key,
            )
        case InvalidObjectError():
            answer = ApiError(422, text, causes=_fault_causes(error), key=error.key)
        case ApplyConflictError():
            answer = ApiError(409, text, causes=_conflict_causes(error))
        case NotAnApproverError():
            answer = ApiError(403, text)
        case (
            PatchError()
            | BuildRefusedError()
            | RolloutRefusedError()
            | RefusedError()
            | InvalidRulesError()
            | PruningRefusedError()
        ):
            answer = ApiError(422, text)
        case (
            UnknownKindError()
            | InvalidApplyError()
            | InvalidManifestTextError()
            | InvalidWebhookError()
        ):
            answer = ApiError(400, text)
        case NoPreviousLogError():
            answer = ApiError(400, text)
        case ExaminationError():
            code = _EXAMINATION_CODES.get(error.reason, 503 if error.retryable else 500)
            answer = ApiError(code, text)
        case WorkloadError() | BuildError():
            answer = ApiError(503 if error.retryable else 500, text, reason=error.reason)
        case HTTPException():
            answer = ApiError(error.status_code, error.detail)
        case _:
            answer = ApiError(500, "the server failed; its log says why")
    return answer


def _store_text(error: StoreError) -> str:
    """Return what a client is told, in the words of an API server where scripts look for them."""
    match error:
        case NotFoundError(key=key, cause="") if key.name:
            return f'{resource_of_kind(key.kind).KIND.resource} "{key.name}" not found'
        case AlreadyExistsError(key=key) if key.name:
            return f'{resource_of_kind(key.kind).KIND.resource} "{key.name}" already exists'
        case _ if error.of_native_write:
            return f"{error}; {_BY_KUBECTL}"
        case _:
            return str(error)


def _fault_causes(error: InvalidObjectError) -> tuple[ErrorCause, ...]:
    return tuple(ErrorCause(fault.cause.value, fault.message, fault.path) for fault in error.faults)


def _conflict_causes(error: ApplyConflictError) -> tuple[ErrorCause, ...]:
    return tuple(
        ErrorCause("FieldManagerConflict", f'conflict with "{entry.manager}"', entry.field)
        for entry in error.conflicts
    )


def error_response(error: ApiError) -> Response:
    """Return the error as an HTTP answer."""
    headers = {"Retry-After": "1"} if error.code in {429, 503} else None
    return JSONResponse(status_of(error), error.code, headers)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error that a request raised."""
    del request
    return error_response(to_api_error(error))


type _ErrorHandler = Callable[[Request, Exception], Any]

ERROR_HANDLERS: Mapping[Any, _ErrorHandler] = dict.fromkeys(
    (
        ApiError,
        StoreError,
        InvalidObjectError,
        ApplyConflictError,
        PatchError,
        BuildRefusedError,
        RefusedError,
        RolloutRefusedError,
        InvalidRulesError,
        PruningRefusedError,
        UnknownKindError,
        InvalidApplyError,
        InvalidManifestTextError,
        InvalidWebhookError,
        WorkloadError,
        BuildError,
        HTTPException,
        http.HTTPStatus.INTERNAL_SERVER_ERROR.value,
    ),
    answer_error,
)
"""For Starlette; what is not named here is logged by the HTTP server with its traceback."""
