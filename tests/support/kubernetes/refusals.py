"""Errors as they come of the answers of an API server."""

from typing import Any

from upwell.api.apps import Job
from upwell.api.meta import Kind, ObjectKey
from upwell.store.interface import StoreError
from upwell.store.kubernetes_errors import ApiStatus

_REASONS = {403: "Forbidden", 500: "InternalError"}


def answered(code: int, message: str, kind: Kind = Job.KIND, **details: Any) -> StoreError:
    """Return the error of a Status (meta/v1) about an object of a kind."""
    about = {"group": kind.group, "kind": kind.plural, "name": "a", **details}
    status = {"reason": _REASONS.get(code, ""), "message": message, "details": about}
    return ApiStatus.of(status, code).error(kind, ObjectKey(kind.kind, "shop", "a"))
