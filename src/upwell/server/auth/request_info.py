"""Action of a request, read from its method and path alone, before anything is served."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs

from starlette.types import Scope

from upwell.api.meta import Kind
from upwell.audit.events import FieldChange
from upwell.policy.access.roles import REPOSITORIES, Action
from upwell.server.auth.people import BEGINNINGS, SESSIONS, is_sessions_path
from upwell.server.auth.registry_access import REGISTRY_TOKEN_PATH, REGISTRY_TOKENS
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget, parse_target

AUDIT_NOTE = "upwell.audit_note"
"""Key of the scope under which a handler puts an AuditNote."""
CREATED = "upwell.created_objects"
"""Key of the scope under which a handler puts CreatedObjects, a tuple."""
PEER = "upwell.peer_uid"
"""Key of the scope's state under which the uid of a client on the local socket is."""
IDENTIFY = "upwell.identify"
"""Key of the scope's state under which is what takes the sender's name (`Identify`)."""
TOKEN_EXCHANGE_PATH = "/oauth/token"  # noqa: S105 - a path
"""Takes tokens of foreign issuers; what they say decides, and no token of ours."""
SIGNED = re.compile(r"/(verdicts|approvals|replica-logs)/[^/]+")
"""Paths that end in a token which opens them, and nothing else."""
_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_READS = {"get", "list", "watch"}
_TRUE = {"1", "true"}
REGISTRY_PATH = "/v2/"
"""Registry clients ask here first how they log in."""
_REGISTRY_PARTS = ("/manifests/", "/blobs/", "/tags/", "/referrers/")


class Identify(Protocol):
    """Counts a connection for whom it is."""

    def __call__(self, principal: str, *, limited: bool) -> None:
        """Count it; with `limited`, raises ApiError 429 where the principal has too many."""


@dataclass(frozen=True, slots=True)
class AuditNote:
    """Facts that a handler adds to the audit event, beyond those of the request."""

    name: str = ""
    """Of the object that was created, or that a token stands for."""
    namespace: str = ""
    user: str = ""
    """In whose name a token acts."""
    reason: str = ""
    """Reason, as its author gives it."""
    changes: tuple[FieldChange, ...] = ()
    """Fields of the object that the request changed."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Further facts of the line, by keys as Kubernetes has them."""
    denied: bool = False
    """True of a refusal whose status does not say so: its line is among those of the denied."""
    is_nothing: bool = False
    """True if the request changed nothing, whatever its verb."""


@dataclass(frozen=True, slots=True)
class CreatedObject:
    """Object that a request has made beside what it is for; it has an audit event of its own."""

    resource: str
    """The plural: `imagestreams`."""
    namespace: str
    name: str
    changes: tuple[FieldChange, ...] = ()


def is_registry(scope: Scope) -> bool:
    """Return True if the request speaks the OCI distribution protocol."""
    path: str = scope["path"]
    return path == REGISTRY_PATH.rstrip("/") or path.startswith(REGISTRY_PATH)


_SCOPES = frozenset({"namespaces", "projects"})
"""Kinds whose objects are namespaces, and lie in themselves."""
_BOUNDS = frozenset({"resourcequotas", "limitranges"})


def action_of(scope: Scope) -> Action:
    """Return what the request is about to do; a path that names no object stands for itself."""
    if scope["path"] == REGISTRY_TOKEN_PATH:
        return Action("create", REGISTRY_TOKENS)
    if is_registry(scope):
        return _registry_action(scope)
    if scope["path"] in BEGINNINGS:
        return Action("create", "sessions")
    if is_sessions_path(scope["path"]):
        return _sessions_action(scope)
    target = _target(scope["path"])
    if target is None:
        return Action(_VERBS.get(scope["method"], "get"), scope["path"].strip("/"))
    verb = _verb(scope, target)
    return action_on(target.kind, verb, target.namespace, target.name, target.subresource)


def action_on(
    kind: Kind, verb: str, namespace: str = "", name: str = "", subresource: str = ""
) -> Action:
    """Return the action on objects of a kind, in the namespace whose grants decide on it.

    Where that is none, `namespace` counts for nothing.
    """
    if kind.plural in _SCOPES:
        namespace = name
    elif not kind.namespaced:
        namespace = ""
    elif kind.plural in _BOUNDS and verb not in _READS:
        namespace = ""  # a namespace's own admin is bound by its limits (as on OpenShift)
    return Action(verb, kind.plural, namespace, name, subresource)


def repository_namespace(repository: str) -> str:
    """Return the namespace that a repository of the embedded registry belongs to."""
    return repository.partition("/")[0]


def query_of(scope: Scope) -> dict[str, list[str]]:
    """Return the query's parameters."""
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _sessions_action(scope: Scope) -> Action:
    name = scope["path"].removeprefix(SESSIONS).strip("/")
    verb = _VERBS.get(scope["method"], "get")
    return Action("list" if verb == "get" and not name else verb, "sessions", name=name)


def _verb(scope: Scope, target: RequestTarget) -> str:
    verb = _VERBS.get(scope["method"], "get")
    if target.name:
        return verb
    if verb == "get":
        wanted = query_of(scope).get("watch", [""])[0].lower()
        return "watch" if wanted in _TRUE else "list"
    return "deletecollection" if verb == "delete" else verb


def _target(path: str) -> RequestTarget | None:
    match path.split("/", 4)[1:]:
        case ["api", version, *rest] if rest:
            group, below = "", "/".join(rest)
        case ["apis", group, version, *rest] if rest:
            below = "/".join(rest)
        case _:
            return None
    try:
        return parse_target(group, version, below)
    except ApiError:
        return None  # the router answers 404


def _registry_action(scope: Scope) -> Action:
    # The namespace is the same wherever a router sees the end of the repository's name.
    below = scope["path"].removeprefix(REGISTRY_PATH)
    repository = below if below != "_catalog" else ""
    for part in _REGISTRY_PARTS:
        repository = repository.partition(part)[0]
    reads = scope["method"] in {"GET", "HEAD"} and "/blobs/uploads/" not in below
    verb = "pull" if reads else "push"
    return Action(verb, REPOSITORIES, repository_namespace(repository), repository)
