"""Options of requests that write: fieldManager, dryRun, force, and the client's rights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from upwell.policy.access.roles import Grant
from upwell.policy.access.visibility import EVERYTHING_VISIBLE, SecretView
from upwell.server.admission.admission import UNKNOWN_FIELD
from upwell.server.auth.caller import (
    admission_of_request,
    caller_of,
    grants_of,
    person_of,
    registry_of,
)
from upwell.server.http.errors import ApiError
from upwell.server.http.query import is_true
from upwell.server.http.visibility import view_of
from upwell.server.objects.large_work import LargeWork

_MAX_MANAGER = 128
IGNORE, STRICT, WARN = "Ignore", "Strict", "Warn"
_FIELD_VALIDATION = (IGNORE, STRICT, WARN)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Name and rights of the client that writes, and how it writes."""

    manager: str
    dry_run: bool = False
    force: bool = False
    user: str = ""
    """The name of the client's token."""
    person: str = ""
    """The person whose token it is, or again its name."""
    grants: tuple[Grant, ...] | None = None
    """Grants of the client's token; None: everything is allowed."""
    size: int = 0
    """Bytes of the body."""
    work: LargeWork = field(default_factory=LargeWork)
    """Does what takes long, in the request's turn."""
    view: SecretView = EVERYTHING_VISIBLE
    """Write-only values as the client sees them, and writes them back."""
    registry: str = ""
    """The `host:port` by which images of the embedded registry are named."""
    admission: str = ""
    """On a cluster: id of the admission in force, which the author gets."""
    field_validation: str = WARN
    """Treatment of fields that nobody knows (meta/v1 FieldValidation)."""
    keeps_author: bool = False
    """True if the write says nothing that its client stands for: the object's author stays."""

    def heard(self, warnings: Iterable[str]) -> tuple[str, ...]:
        """Return the warnings that the client wants to have."""
        ignores = self.field_validation == IGNORE
        return tuple(one for one in warnings if not (ignores and one.startswith(UNKNOWN_FIELD)))


def write_options(request: Request, size: int = 0, work: LargeWork | None = None) -> WriteOptions:
    """Return who writes and how, with a body of `size` bytes; raises ApiError.

    `fieldValidation` Strict refuses what Kubernetes' own kinds do not have. All else that nobody
    knows is kept by design, and told unless it is Ignore.
    """
    query = request.query_params
    dry_run = [value for value in query.getlist("dryRun") if value]
    if any(value != "All" for value in dry_run):
        raise ApiError(400, f"dryRun: expected All, found {dry_run[0]!r}")
    validation = query.get("fieldValidation") or WARN
    if validation not in _FIELD_VALIDATION:
        known = ", ".join(_FIELD_VALIDATION)
        raise ApiError(422, f"fieldValidation: expected one of {known}, found {validation[:40]!r}")
    agent = request.headers.get("User-Agent", "").split("/", 1)[0].strip()
    manager = query.get("fieldManager") or agent or "unknown"
    if len(manager) > _MAX_MANAGER or not manager.isprintable():
        raise ApiError(400, f"fieldManager: at most {_MAX_MANAGER} printable characters")
    return WriteOptions(
        manager,
        dry_run=bool(dry_run),
        force=is_true(request, "force"),
        user=caller_of(request),
        person=person_of(request),
        grants=grants_of(request),
        size=size,
        work=work or LargeWork(),
        view=view_of(request),
        registry=registry_of(request),
        admission=admission_of_request(request),
        field_validation=validation,
    )


def is_dry(request: Request, options: Mapping[str, Any]) -> bool:
    """Return True if a deletion with these DeleteOptions is only tried; raises ApiError."""
    return write_options(request).dry_run or bool(options.get("dryRun"))
