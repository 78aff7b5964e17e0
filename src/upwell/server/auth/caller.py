"""The client behind a request: its name, and what it may do."""

from collections.abc import Callable

from starlette.requests import Request

from upwell.api.builds.build import Build
from upwell.api.codec import resource_of_kind
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.policy.access.authority import refusal
from upwell.policy.access.content import content_needs
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import Action, Grant, is_allowed, missing
from upwell.policy.waves.lowered_approvals import lowering_refusal, tag_removal_refusal
from upwell.server.auth.principals import Principal
from upwell.server.http.errors import ApiError

ANONYMOUS = "anonymous"
"""Name of a client without a token, where that is allowed."""


EMBEDDED_REGISTRY = "upwell.embedded_registry"
"""Key of the scope under which the `host:port` of the embedded registry stands."""


ADMISSION = "upwell.admission"
"""Key of the scope under which the id of a cluster's admission stands; see `Requester`."""


def caller_of(request: Request) -> str:
    """Return the name of the client, as objects and logs tell it."""
    user = request.scope.get("user")
    return user.username if isinstance(user, Principal) and user.username else ANONYMOUS


def person_of(request: Request) -> str:
    """Return the person behind the client: one, whichever of their tokens they have sent."""
    user = request.scope.get("user")
    return (user.person if isinstance(user, Principal) else "") or caller_of(request)


def groups_of(request: Request) -> tuple[str, ...]:
    """Return the groups of the person behind the client, as far as they are known."""
    user = request.scope.get("user")
    return user.groups if isinstance(user, Principal) else ()


def require_right(request: Request, action: Action) -> None:
    """Raise ApiError unless the client may do something beside what its request is for."""
    grants = grants_of(request)
    if grants is not None and not is_allowed(grants, action):
        raise ApiError(403, f"token {caller_of(request)} may not {action}: {missing(action)}")


def grants_of(request: Request) -> tuple[Grant, ...] | None:
    """Return what the client may do; None where nobody is asked for a token."""
    user = request.scope.get("user")
    return user.grants if isinstance(user, Principal) else None


def require_rights(request: Request, resource: Resource) -> None:
    """Raise ApiError unless the client has every right that an object takes.

    For an object that is answered or carried out, and not stored.
    """
    grants = grants_of(request)
    if grants is None:
        return
    why = refusal(resource, None, GrantedRights(grants), registry_of(request))
    if why is not None:
        raise ApiError(403, f"token {caller_of(request)} may not have this done: it {why}")


def require_content_rights(request: Request, build: Build) -> None:
    """Raise ApiError unless the client has every right that deciding a build's content takes."""
    grants = grants_of(request)
    if grants is None:
        return
    why = GrantedRights(grants).lacking(content_needs(build, registry_of(request)))
    if why is not None:
        message = f"token {caller_of(request)} may not decide what this builds: it {why}"
        raise ApiError(403, message)


def require_deletion(request: Request, resource: Resource) -> None:
    """Raise ApiError unless the client has every right that the deletion of an object takes."""
    grants = grants_of(request)
    if grants is None:
        return
    why = lowering_refusal(resource, None, GrantedRights(grants))
    if why is not None:
        message = f"token {caller_of(request)} may not delete {resource.key}: it {why}"
        raise ApiError(403, message, key=resource.key)


def require_tag_removal(request: Request, stream: ImageStream, tag: str) -> None:
    """Raise ApiError unless the client has the right that removing a tag with its history takes."""
    grants = grants_of(request)
    why = tag_removal_refusal(stream, GrantedRights(grants)) if grants is not None else None
    if why is not None:
        message = f"token {caller_of(request)} may not delete tag {tag} of {stream.key}: it {why}"
        raise ApiError(403, message, key=stream.key)


def registry_of(request: Request) -> str:
    """Return the `host:port` by which images of the embedded registry are named; empty: unknown."""
    return str(request.scope.get(EMBEDDED_REGISTRY, ""))


def admission_of_request(request: Request) -> str:
    """Return the id that the author of an object gets; empty: there is none to be had."""
    return str(request.scope.get(ADMISSION, ""))


def may_read(request: Request) -> Callable[[str, str], bool]:
    """Return what tells whether a client may read objects of a kind in a namespace.

    Each is decided once.
    """
    grants = grants_of(request)
    known: dict[tuple[str, str], bool] = {}

    def may(kind: str, namespace: str) -> bool:
        if grants is None:
            return True
        place = (kind, namespace)
        if place not in known:
            known[place] = is_allowed(
                grants, Action("get", resource_of_kind(kind).KIND.plural, namespace)
            )
        return known[place]

    return may
