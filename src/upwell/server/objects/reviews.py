"""Reviews of a client's identity and rights, by the same rules as its requests."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.codec import RESOURCES, InvalidObjectError, encode_json
from upwell.api.meta import Resource, format_time
from upwell.api.reviews import (
    NonResourceRule,
    ResourceAttributes,
    ResourceRule,
    SelfSubjectAccessReview,
    SelfSubjectReview,
    SelfSubjectReviewStatus,
    SelfSubjectRulesReview,
    SubjectAccessReview,
    SubjectAccessReviewStatus,
    SubjectRulesReviewStatus,
    TokenReview,
    TokenReviewSpec,
    TokenReviewStatus,
    UserInfo,
)
from upwell.api.values.faults import Fault
from upwell.policy.access.roles import (
    EVERYWHERE,
    Action,
    Grant,
    Role,
    Rule,
    grant_text,
    missing,
    rules_in,
)
from upwell.policy.access.service_accounts import parse_account
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import action_on
from upwell.server.auth.requests.paths import is_open_path
from upwell.server.auth.service_accounts import API_AUDIENCE
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as

GRANTS = "upwell.dev/grants"
"""In `extra` of a user: the grants of the token."""
ENDS = "upwell.dev/ends"
"""In `extra` of a user: the end of the token or session, in UTC."""
_MAX_AUDIENCES = 8
_EVERYONE = Principal("system:anonymous", (Grant(Role.ADMIN, frozenset({EVERYWHERE})),))
"""Principal of every request where no tokens are asked for."""
_KINDS = {resource.KIND.plural: resource.KIND for resource in RESOURCES}
_OF_COLLECTIONS = frozenset({"list", "watch", "create", "deletecollection"})
_OPEN_PATHS = (
    *("/livez", "/readyz", "/healthz", "/version", "/image-signing.pub"),
    *("/api", "/api/*", "/apis", "/apis/*", "/openapi/*"),
)


_NEVER = {
    "impersonate": "nobody acts as somebody else here: `upwell token create` makes a token with"
    " other rights",
    "bind": "bindings are kept and give no rights: `upwell token create --grant` does",
    "escalate": "Roles are kept and give no rights: `upwell token create --grant` does",
}
"""Verbs beside those of requests that nobody has, and why (rbac.authorization.k8s.io)."""


class ReviewHandlers:
    """Answers the creation of reviews."""

    def __init__(self, limits: ServerLimits, access: AccessControl | None = None) -> None:
        """Without `access`, nobody is anybody."""
        self._limits = limits
        self._access = access

    async def identity(self, request: Request, target: RequestTarget) -> Response:
        """Say who the client is."""
        del target
        review = await self._asked(request, SelfSubjectReview)
        user = _user(request)
        return _answer(review, SelfSubjectReviewStatus(user_info=_info(user)))

    async def token(self, request: Request, target: RequestTarget) -> Response:
        """Say whose token somebody was sent, and for which of the receivers it is."""
        del target
        review = await self._asked(request, TokenReview)
        wanted = review.spec.audiences[:_MAX_AUDIENCES] or (API_AUDIENCE,)
        found: dict[str, Principal] = {}
        for audience in wanted:
            user = await self._owner(review.spec.token, audience)
            if user is not None and not user.registry_only:
                found[audience] = user
        review = review.model_copy(update={"spec": TokenReviewSpec(audiences=wanted)})
        if not found:
            why = "the token is unknown, has ended, or is for somebody else"
            return _answer(review, TokenReviewStatus(error=why))
        user = next(iter(found.values()))
        status = TokenReviewStatus(authenticated=True, user=_info(user), audiences=tuple(found))
        return _answer(review, status)

    async def _owner(self, token: str, audience: str) -> Principal | None:
        if self._access is None or not token:
            return None
        if audience == API_AUDIENCE:
            found = await self._access.principal(token)
            return None if self._access.is_local_alone(found) else found
        return await self._access.tokens.accounts.principal(token, audience)

    async def access_of(self, request: Request, target: RequestTarget) -> Response:
        """Say whether somebody may do something, by their rights of now."""
        del target
        review = await self._asked(request, SubjectAccessReview, _wanted)
        grants = await self._access.grants(review.spec.user) if self._access is not None else ()
        # Who has no grant may be nobody at all: of a name alone, nothing is known.
        user = Principal(review.spec.user if grants else "", grants)
        return _answer(review, _access_status(review, user))

    async def access(self, request: Request, target: RequestTarget) -> Response:
        """Say whether the client may do something."""
        del target
        review = await self._asked(request, SelfSubjectAccessReview, _wanted)
        return _answer(review, _access_status(review, _user(request)))

    async def rules(self, request: Request, target: RequestTarget) -> Response:
        """Say all that the client may do in a namespace."""
        del target
        review = await self._asked(request, SelfSubjectRulesReview)
        rules = _rules_in(_user(request), review.spec.namespace)
        paths = NonResourceRule(verbs=("get",), non_resource_urls=_OPEN_PATHS)
        status = SubjectRulesReviewStatus(
            resource_rules=tuple(_rule(rule) for rule in rules), non_resource_rules=(paths,)
        )
        return _answer(review, status)

    async def _asked[R: Resource](
        self, request: Request, kind: type[R], check: Callable[[R], object] | None = None
    ) -> R:
        return await read_as(request, self._limits, kind, check)


def _wanted(review: SelfSubjectAccessReview | SubjectAccessReview) -> Action:
    """Return what a review asks about; raises InvalidObjectError for nothing, or nobody."""
    faults = []
    if isinstance(review, SubjectAccessReview) and not review.spec.user:
        faults.append(Fault("spec.user", "name somebody"))
    wanted, path = review.spec.resource_attributes, review.spec.non_resource_attributes
    action = None
    if wanted is not None:
        action = _action(wanted)
    elif path is not None:
        action = Action(path.verb, path.path.strip("/"))
    else:
        faults.append(Fault("spec", "name resourceAttributes or nonResourceAttributes"))
    if faults or action is None:
        raise InvalidObjectError(str(review.KIND), tuple(faults))
    return action


def _access_status(
    review: SelfSubjectAccessReview | SubjectAccessReview, user: Principal
) -> SubjectAccessReviewStatus:
    """Return whether somebody may do what is asked; raises InvalidObjectError for nothing."""
    action = _wanted(review)
    wanted, path = review.spec.resource_attributes, review.spec.non_resource_attributes
    if wanted is not None and (why := _NEVER.get(action.verb)):
        return SubjectAccessReviewStatus(allowed=False, reason=why)
    open_path = path is not None and wanted is None and is_open_path(path.path)
    allowed = (open_path and user.may_anything) or user.may(action)
    return SubjectAccessReviewStatus(allowed=allowed, reason=None if allowed else missing(action))


def _info(user: Principal) -> UserInfo:
    """Return what is told of somebody."""
    extra = {GRANTS: tuple(grant_text(grant) for grant in user.grants)}
    if user.ends is not None:
        extra[ENDS] = (format_time(user.ends.replace(microsecond=0)),)
    return UserInfo(
        username=user.username or _EVERYONE.username,
        uid=user.uid or None,
        groups=(*_groups(user), *user.groups),
        extra=extra,
    )


def _groups(user: Principal) -> tuple[str, ...]:
    if not user.username:
        return ("system:unauthenticated",)
    account = parse_account(user.username)
    named = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}") if account else ()
    return ("system:authenticated", *named)


def _user(request: Request) -> Principal:
    user: Principal = request.scope.get("user", _EVERYONE)
    return user


def _answer(review: Resource, status: object) -> Response:
    return json_response(encode_json(review.model_copy(update={"status": status})), 201)


def _action(wanted: ResourceAttributes) -> Action:
    place = (wanted.namespace, wanted.name, wanted.subresource)
    kind = _KINDS.get(wanted.resource)
    if kind is None:
        return Action(wanted.verb, wanted.resource, *place)
    return action_on(kind, wanted.verb, *place)


def _rules_in(user: Principal, namespace: str) -> Iterator[Rule]:
    """Yield what the user may do in a namespace.

    Of what lies in none, a role there brings but what the user may do with it all the same.
    """
    for rule in rules_in(user.grants, namespace):
        by_verbs: dict[frozenset[str], set[str]] = {}
        for resource in rule.resources:
            by_verbs.setdefault(_verbs_on(user, rule, resource, namespace), set()).add(resource)
        for verbs in filter(None, by_verbs):
            yield replace(rule, verbs=verbs, resources=frozenset(by_verbs[verbs]))


def _verbs_on(user: Principal, rule: Rule, resource: str, namespace: str) -> frozenset[str]:
    """Return the verbs of a rule of a namespace that the user has on a resource.

    A Namespace lies in itself: of its kind, this one object is asked about.
    """
    kind = _KINDS.get(resource)
    if kind is None or kind.namespaced:
        return rule.verbs

    def may(verb: str) -> bool:
        name = "" if verb in _OF_COLLECTIONS else namespace
        return all(user.may(action_on(kind, verb, name=name, subresource=p)) for p in rule.parts)

    return frozenset(filter(may, rule.verbs))


def _rule(rule: Rule) -> ResourceRule:
    resources = [
        resource if part in {"", EVERYWHERE} else f"{resource}/{part}"
        for resource in sorted(rule.resources)
        for part in sorted(rule.parts)
    ]
    return ResourceRule(
        verbs=tuple(sorted(rule.verbs)), api_groups=("*",), resources=tuple(resources)
    )
