"""Admission of requests: whose they are, whether they may go on, and how often."""

from upwell.policy.access.roles import REPOSITORIES, Action, missing
from upwell.policy.access.visibility import SecretView
from upwell.policy.images.streams import INPUTS_TAG_PREFIX
from upwell.server.auth.access_control import AccessControl, anonymous_grants
from upwell.server.auth.caller import ADMISSION, EMBEDDED_REGISTRY
from upwell.server.auth.people import is_sessions_path
from upwell.server.auth.principals import Principal
from upwell.server.auth.rate_limits import Rate, Rates
from upwell.server.auth.registry_access import LOGIN, REGISTRY_TOKEN_PATH, is_registry_access
from upwell.server.auth.request_info import REGISTRY_PATH, is_registry, query_of
from upwell.server.auth.requests.head import RequestHead
from upwell.server.auth.requests.paths import (
    is_discovery,
    is_health,
    is_open_path,
    needs_no_token,
)
from upwell.server.auth.requests.refusals import (
    ChallengeError,
    ScopeError,
    UnauthenticatedError,
    without_token,
)
from upwell.server.auth.tokens import LOCAL_ADMIN
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.visibility import VIEW

# oc and kubectl discover first, and show no words of a refusal there.
_IMPERSONATED = (
    "impersonation (--as, Impersonate-User) is not supported here, and nothing was done:"
    " `upwell token create NAME --grant ROLE@NAMESPACE` makes a token with other rights,"
    " `upwell login --token` logs in with it"
)


class RequestAdmission:
    """Judges requests by the rights of their clients, and by how many these have sent."""

    def __init__(self, access: AccessControl, limits: ServerLimits) -> None:
        self._access = access
        self._limits = limits
        self._rates = Rates(access.clock)
        self._anonymous = Principal("", anonymous_grants(access.anonymous))

    async def admit(self, request: RequestHead) -> None:
        """Raise ApiError 401, 403 or 429 unless the request may go on."""
        if is_health(request.path) and not request.impersonates:
            return
        if request.peer is not None and request.peer not in self._access.local_users:
            raise ApiError(
                403, f"{request.source} may not use the local socket: name the server with --server"
            )
        principal = await self._principal(request)
        request.scope["user"] = request.user = principal or self._anonymous
        request.scope[VIEW] = SecretView(self._access.values, request.user.grants)
        request.scope[EMBEDDED_REGISTRY] = self._access.registry
        request.scope[ADMISSION] = self._access.admission()
        request.identify()
        self._count(request)
        if request.impersonates and not is_discovery(request.path):
            raise ApiError(403, _IMPERSONATED)
        if needs_no_token(request.path) or request.sends_login:
            return
        if principal is None and request.has_credentials:
            raise UnauthenticatedError("the token is unknown or has expired")
        if principal is None and self._anonymous.grants:
            if request.path == REGISTRY_TOKEN_PATH:
                return  # one for what everyone may do
            if request.path == REGISTRY_PATH:
                raise ChallengeError
        if self._allows(request.user, request):
            _require_build(request)
            _keep_mounts_inside(request)
        elif principal is None:
            raise without_token(request.scope)
        elif request.owner is not None and self._allows(request.owner, request):
            raise ScopeError("the token is for other repositories")
        else:
            raise ApiError(
                403,
                f"token {principal.username} may not {request.action}: {missing(request.action)}",
            )

    async def stands(self, request: RequestHead) -> bool:
        """Return True if the client of a request that was let in may still have its answer."""
        if not request.user.username:
            return True  # what everyone may do does not change
        try:
            now = await self._principal(request)
        except ApiError:  # a session that nobody confirms any more
            return False
        return now is not None and (now == request.user or self._allows(now, request))

    def _allows(self, user: Principal, request: RequestHead) -> bool:
        if user.registry_only and not is_registry(request.scope):
            return False
        if is_open_path(request.path) or is_sessions_path(request.path):
            return user.may_anything
        return user.may(request.action)

    async def _principal(self, request: RequestHead) -> Principal | None:
        if token := request.token:
            found = await self._owner(request, token)
            if request.peer is None and self._access.is_local_alone(found):
                raise UnauthenticatedError("admin.token opens the local socket alone")
            if request.access is not None and found is not None:
                request.owner = found
                return request.access.of(found, request.path)
            return found
        is_local = request.peer is not None and not request.has_credentials
        return LOCAL_ADMIN if is_local and request.peer in self._access.local_users else None

    async def _owner(self, request: RequestHead, token: str) -> Principal | None:
        """Return whose token it is; of one for some repositories, whose login it was given for."""
        if not is_registry_access(token):
            request.scope[LOGIN] = token
            return await self._access.principal(token)
        if not is_registry(request.scope) or request.path == REGISTRY_TOKEN_PATH:
            return None
        request.access = self._access.registry_tokens.open(token)
        if request.access is None:
            return None
        login = request.access.login
        return await self._access.principal(login) if login else self._anonymous

    def _count(self, request: RequestHead) -> None:
        limits = self._limits
        if request.user.unlimited:
            return
        if request.user.username:
            rate = Rate(limits.requests_per_second, limits.requests_burst)
        else:  # a client that guesses tokens is nobody yet, and counts by its address
            rate = Rate(limits.anonymous_per_second, limits.anonymous_burst)
        self._rates.take(request.client(request.user), rate)


def _require_build(request: RequestHead) -> None:
    """Raise ApiError for a tag of a build's inputs, which this build alone may set.

    What has the tag is taken for the result of these inputs, and signed as one, by every build
    that has the same: so a build whose code has its login sets no other's.
    """
    if request.action.verb != "push" or request.scope["method"] != "PUT":
        return
    user = request.user
    is_server = user.registry_only and user.repositories is None
    named = request.path.rpartition("/manifests/")[2]
    for tag in (named, *query_of(request.scope).get("tag", ())):
        if tag.startswith(INPUTS_TAG_PREFIX) and not (is_server or user.inputs_tag == tag):
            raise ApiError(403, f"tag {tag[:100]} is set by its build alone: push to another tag")


def _keep_mounts_inside(request: RequestHead) -> None:
    """Let a push take blobs only from repositories that its author may pull.

    The registry then answers as it does when it has no such blob: the client uploads it.
    """
    if request.action.verb != "push":
        return
    for source in query_of(request.scope).get("from", ()):
        pull = Action("pull", REPOSITORIES, source.partition("/")[0], source)
        if not request.user.may(pull):
            request.scope["query_string"] = b""
            return
