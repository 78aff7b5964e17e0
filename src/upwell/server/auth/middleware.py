"""Authentication, authorization, rate limits and the audit log."""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field
from secrets import token_bytes

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upwell.audit.events import AuditEvent
from upwell.audit.log import AuditLog, AuditUnavailableError
from upwell.machine.clock import elapsed
from upwell.oci.manifest import MAX_MANIFEST_BYTES
from upwell.policy.access.roles import (
    EVERYWHERE,
    QUESTIONS,
    REPOSITORIES,
    Action,
    Grant,
    Role,
    missing,
)
from upwell.policy.access.visibility import SecretView, WriteOnlyValues
from upwell.policy.images.streams import INPUTS_TAG_PREFIX
from upwell.server.auth import passwords
from upwell.server.auth.admin_token import RotateAdminToken
from upwell.server.auth.caller import ANONYMOUS, EMBEDDED_REGISTRY
from upwell.server.auth.long_running import ResponseProgress, run_while
from upwell.server.auth.people import OPEN_PATHS, SESSION_PREFIX, People, is_sessions_path
from upwell.server.auth.principals import Principal
from upwell.server.auth.rate_limits import OpenByClient, Rate, RateError, Rates
from upwell.server.auth.registry_access import (
    LOGIN,
    REGISTRY_TOKEN_PATH,
    REGISTRY_TOKENS,
    RegistryAccess,
    RegistryAccessTokens,
    challenge,
    is_registry_access,
)
from upwell.server.auth.request_info import (
    AUDIT_NOTE,
    IDENTIFY,
    PEER,
    SIGNED,
    TOKEN_EXCHANGE_PATH,
    AuditNote,
    Identify,
    action_of,
    is_registry,
    query_of,
)
from upwell.server.auth.request_seats import RequestSeats, SeatError
from upwell.server.auth.tokens import LOCAL_ADMIN, Tokens
from upwell.server.http.bounded_body import EarlyResponse, drained
from upwell.server.http.errors import ApiError, status_of
from upwell.server.http.limits import ServerLimits
from upwell.server.http.visibility import VIEW

_HEALTH = {"/livez", "/readyz", "/healthz"}
_OPEN = {
    *_HEALTH,
    *("/version", "/image-signing.pub", "/webhooks/registry"),
    *(TOKEN_EXCHANGE_PATH, passwords.METADATA, passwords.AUTHORIZE),
    *OPEN_PATHS,
}
"""Needs no token: says nothing that is private, is a hint that is looked into, takes another, or
begins a session."""
_BUILD_WEBHOOK = re.compile(
    r"/(?:apis/build\.openshift\.io|oapi)/v1/namespaces/[^/]+/buildconfigs/[^/]+/webhooks/[^/]+/[^/]+"
)
"""Has a secret of its own in its path."""
_DISCOVERY = re.compile(
    r"/api(?:/v1)?|/apis(?:/[^/]+){0,2}|/openapi/v[23](?:/.*)?|/v2/(?:_catalog|auth)?|/v2"
)
"""Needs a token, and no role: what is listed there is what the token may pull."""
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_READS = {"get", "list", "watch"}
_INTO_CONTAINERS = {"exec", "attach", "portforward"}
_STREAMED = {"instantiatebinary", "evidence"}
"""Parts whose bodies are written to files as they arrive."""
_SMALL_BODY, _LARGEST_BODY = 64 * 1024, MAX_MANIFEST_BYTES
"""Bytes of a body that count for nothing, and of the largest that is held."""
_DENIED = {401, 403}
_ANSWERS = {"http.response.start", "websocket.accept"}
_POLICY_VIOLATION = 1008
_DENIALS = "websocket.http.response"
"""The ASGI extension for answers to a websocket that is not accepted."""
_MAX_CLOSE_BYTES = 123
"""Of a reason to close (RFC 6455, 5.5)."""
_KEY_BYTES = 32
_PROXY_SCHEME = b"x-forwarded-proto"
"""Header in which a proxy tells how the client has reached it."""
_OCI_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}


def _unkept_values() -> WriteOnlyValues:
    """Return what hides values with a key that ends with the process."""
    return WriteOnlyValues(token_bytes(_KEY_BYTES))


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Settings of authentication and authorization."""

    tokens: Tokens
    audit: AuditLog
    anonymous: Role | None = None
    """Role in all namespaces of requests without a token."""
    clock: Callable[[], float] = elapsed
    """Seconds, for rates."""
    values: WriteOnlyValues = field(default_factory=_unkept_values)
    """Hides values from those who may not read Secrets."""
    rotate_admin: RotateAdminToken | None = None
    """Makes another token of the server's own user."""
    local_users: frozenset[int] = frozenset()
    """The uids that may do everything on the local socket; all others may do nothing there."""
    registry: str = ""
    """The `host:port` by which images of the embedded registry are named."""
    people: People | None = None
    """People who sign in; None: nobody does."""
    registry_tokens: RegistryAccessTokens = field(
        default_factory=lambda: RegistryAccessTokens(elapsed)
    )
    """Tokens for some repositories, which registry clients get for their login."""
    admin_by_socket: bool = False
    """True if the token of the server's own user is refused over the network."""

    def __post_init__(self) -> None:
        """Have ServiceAccounts ask here what those may do who gave them their grants."""
        self.tokens.accounts.ask(self.grants)

    async def principal(self, token: str) -> Principal | None:
        """Return whose token it is; None when it opens nothing. Raises ApiError 503."""
        if token.startswith(SESSION_PREFIX):
            return await self.people.principal(token) if self.people is not None else None
        return await self.tokens.principal(token)

    def is_local_alone(self, user: Principal | None) -> bool:
        """Return True for the server's own user where their token is refused over the network."""
        return user is LOCAL_ADMIN and self.admin_by_socket

    async def grants(self, author: str) -> tuple[Grant, ...]:
        """Return what an author of objects may do now; none: nobody has the name any more."""
        if author == ANONYMOUS:
            return anonymous_grants(self.anonymous)
        if self.people is not None and self.people.owns(author):
            return await self.people.grants(author)
        return await self.tokens.grants(author)


def anonymous_grants(role: Role | None) -> tuple[Grant, ...]:
    """Return the grants of a client without a token."""
    return (Grant(role, frozenset({EVERYWHERE})),) if role else ()


class ScopeError(ApiError):
    """A registry client has the right, but its token is for something else: it gets another."""

    def __init__(self, why: str) -> None:
        super().__init__(401, why, reason="Unauthorized")


class AuthMiddleware:
    """ASGI middleware in front of everything that is served."""

    def __init__(
        self,
        app: ASGIApp,
        access: AccessControl,
        limits: ServerLimits,
        shutdown: asyncio.Event | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self._limits = limits
        self._rates = Rates(access.clock)
        self._watches = OpenByClient(limits.watches_per_client)
        self._namespace_watches = OpenByClient(limits.watches_per_namespace)
        self._anonymous = Principal("", anonymous_grants(access.anonymous))
        self._seats = RequestSeats(limits.seats, shutdown)
        self._transfers = RequestSeats(limits.transfers, shutdown)
        self._bodies = RequestSeats(limits.bodies, shutdown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope.setdefault("method", "GET")  # a websocket begins with one (RFC 6455, 4.1)
        request = _RequestInfo(scope)
        with ExitStack() as stack:
            try:
                await self._admit(request)
                if request.is_long_running:
                    stack.enter_context(self._watches.counted(request.client(request.user)))
                    if namespace := request.action.namespace:
                        counted = self._namespace_watches.counted(f"namespace {namespace}")
                        stack.enter_context(counted)
                if request.is_change:
                    await self._access.audit.require()
            except ApiError as error:
                with suppress(AuditUnavailableError):  # it is refused all the same
                    await self._record(request, error.code)
                await _refuse(scope, receive, send, error)
                return
            except AuditUnavailableError as error:
                await _refuse(scope, receive, send, ApiError(503, str(error)))
                return
            await self._serve_in_turn(request, receive, send)

    async def _admit(self, request: "_RequestInfo") -> None:
        """Raise ApiError 401, 403 or 429 unless the request may go on."""
        if request.path in _HEALTH:
            return
        if request.peer is not None and request.peer not in self._access.local_users:
            raise ApiError(
                403, f"{request.source} may not use the local socket: name the server with --server"
            )
        principal = await self._principal(request)
        request.scope["user"] = request.user = principal or self._anonymous
        request.scope[VIEW] = SecretView(self._access.values, request.user.grants)
        request.scope[EMBEDDED_REGISTRY] = self._access.registry
        request.identify()
        self._count(request)
        if request.path in _OPEN or _carries_secret(request.path) or request.sends_login:
            return
        if principal is None and request.has_credentials:
            raise _unauthorized("the token is unknown or has expired")
        if self._allows(request.user, request):
            _require_build(request)
            _keep_mounts_inside(request)
        elif principal is None:
            raise _unauthorized("no token was sent")
        elif request.owner is not None and self._allows(request.owner, request):
            raise ScopeError("the token is for other repositories")
        else:
            raise ApiError(
                403,
                f"token {principal.username} may not {request.action}: {missing(request.action)}",
            )

    def _allows(self, user: Principal, request: "_RequestInfo") -> bool:
        if user.registry_only and not is_registry(request.scope):
            return False
        if is_open_path(request.path) or is_sessions_path(request.path):
            return user.may_anything
        return user.may(request.action)

    async def _principal(self, request: "_RequestInfo") -> Principal | None:
        if token := request.token:
            found = await self._owner(request, token)
            if request.peer is None and self._access.is_local_alone(found):
                raise _unauthorized("admin.token opens the local socket alone")
            if request.access is not None and found is not None:
                request.owner = found
                return request.access.of(found, request.path)
            return found
        is_local = request.peer is not None and not request.has_credentials
        return LOCAL_ADMIN if is_local and request.peer in self._access.local_users else None

    async def _owner(self, request: "_RequestInfo", token: str) -> Principal | None:
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

    def _count(self, request: "_RequestInfo") -> None:
        limits = self._limits
        if request.user.unlimited:
            return
        if request.user.username:
            rate = Rate(limits.requests_per_second, limits.requests_burst)
        else:  # a client that guesses tokens is nobody yet, and counts by its address
            rate = Rate(limits.anonymous_per_second, limits.anonymous_burst)
        self._rates.take(request.client(request.user), rate)

    async def _serve_in_turn(self, request: "_RequestInfo", receive: Receive, send: Send) -> None:
        """Serve once there is a seat, which long answers do not take, and room for the body."""
        if not request.takes_seat:
            await self._serve(request, receive, send)
            return
        client, size = request.client(request.user), request.held_bytes
        seats = self._transfers if request.is_transfer else self._seats
        try:
            async with seats.seat(client), AsyncExitStack() as stack:
                if size > _SMALL_BODY:
                    await stack.enter_async_context(self._bodies.seat(client, size))
                await self._serve(request, receive, send)
        except SeatError as error:
            await _refuse(request.scope, receive, send, error)

    async def _serve(self, request: "_RequestInfo", receive: Receive, send: Send) -> None:
        """Serve; what belongs in the audit log is there before the answer begins."""
        is_recorded = is_replaced = False

        async def recording(message: Message) -> None:
            nonlocal is_recorded, is_replaced
            if message["type"] in _ANSWERS and not is_recorded:
                is_recorded = True
                _warn_of_end(request.user, message)
                try:
                    await self._record(request, message.get("status", 101))
                except AuditUnavailableError as error:
                    is_replaced = not request.goes_on_unrecorded
                    if is_replaced:
                        await _refuse(request.scope, receive, send, _unrecorded(error))
            if not is_replaced:
                await send(message)

        try:
            if request.is_long_running:
                await self._serve_long_running(request, receive, recording)
            else:
                await self._app(request.scope, receive, recording)
        finally:
            if not is_recorded:  # the client has left, or the handler has failed
                with suppress(AuditUnavailableError):
                    await self._record(request, 0)

    async def _serve_long_running(
        self, request: "_RequestInfo", receive: Receive, send: Send
    ) -> None:
        """Serve until the client's token, or its right to this, has ended."""
        ending = ResponseProgress(request.scope, send)

        async def stands() -> bool:
            if not request.user.username:
                return True  # what everyone may do does not change
            try:
                now = await self._principal(request)
            except ApiError:  # a session that nobody confirms any more
                return False
            return now is not None and (now == request.user or self._allows(now, request))

        answer = self._app(request.scope, receive, ending.send)
        if not await run_while(answer, stands, self._limits.recheck_seconds):
            error = ApiError(403, "the token does not allow this any more")
            with suppress(AuditUnavailableError):
                await self._record(request, error.code)
            if ending.has_begun:
                await ending.end(str(error))
            else:
                await _refuse(request.scope, receive, send, error)

    async def _record(self, request: "_RequestInfo", code: int) -> None:
        """Record a request that is worth it; raises AuditUnavailableError."""
        if code not in _DENIED and not request.is_noteworthy:
            return
        action = request.action
        note: AuditNote = request.scope.get(AUDIT_NOTE, AuditNote())
        if note.is_nothing and code not in _DENIED:
            return
        event = AuditEvent(
            note.user or request.user.username,
            request.source,
            action.verb,
            action.resource,
            action.part,
            note.namespace or action.namespace,
            note.name or action.name,
            code,
            note.reason,
            note.changes,
            note.denied,
            note.annotations,
        )
        await self._access.audit.record(event)


class _RequestInfo:
    """One request, before anything of its body is read."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.action = _without_secret(self.path, action_of(scope))
        self.user = Principal("", ())
        header: bytes = dict(scope["headers"]).get(b"authorization", b"")
        self._authorization = header.decode("latin-1")
        self.access: RegistryAccess | None = None
        """Access that a token for some repositories gives."""
        self.owner: Principal | None = None
        """Owner of the login that it was given for."""
        self.peer: int | None = scope.get("state", {}).get(PEER)
        """The uid of a client on the local socket."""

    @property
    def source(self) -> str:
        """The client's address; of one on the local socket, its user."""
        if self.peer is not None:
            return f"uid {self.peer}"
        return str((self.scope.get("client") or ("",))[0])

    def client(self, user: Principal) -> str:
        """Return what limits are counted for, as messages name it."""
        return f"token {user.username}" if user.username else f"address {self.source}"

    def identify(self) -> None:
        """Tell the connection whose it is; raises ApiError 429 where they have too many."""
        identify: Identify | None = self.scope.get("state", {}).get(IDENTIFY)
        if identify is not None and self.user.username:
            identify(self.user.username, limited=not self.user.unlimited)

    @property
    def has_credentials(self) -> bool:
        """Return True if the request carries credentials."""
        return bool(self._authorization)

    @property
    def token(self) -> str:
        """The token that was sent: as Bearer, or as the password of Basic to the registry."""
        scheme, _, value = self._authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return value.strip()
            case "basic" if is_registry(self.scope):
                try:
                    text = base64.b64decode(value.strip(), validate=True).decode()
                except (binascii.Error, UnicodeDecodeError):
                    return ""
                return text.partition(":")[2]
            case _:
                return ""

    @property
    def sends_login(self) -> bool:
        """Return True if the login is in the body, in exchange for a token."""
        return self.path == REGISTRY_TOKEN_PATH and self.scope["method"] == "POST"

    @property
    def is_long_running(self) -> bool:
        """Return True if the response goes on for as long as something happens."""
        if self.scope["type"] == "websocket":
            return True
        return self.action.verb == "watch" or "follow" in query_of(self.scope)

    @property
    def takes_seat(self) -> bool:
        """Return True if it counts among the requests that a client may have served at once."""
        return not (self.is_long_running or self.user.unlimited or self.path in _HEALTH)

    @property
    def is_transfer(self) -> bool:
        """Return True if it moves content of any size, a piece after the other."""
        is_blob = is_registry(self.scope) and "/blobs/" in self.path
        return is_blob or self.action.part in _STREAMED

    @property
    def held_bytes(self) -> int:
        """The bytes of its body that are held in memory at once, at most."""
        headers = dict(self.scope["headers"])
        if self.is_transfer or (b"transfer-encoding" not in headers and not self._length):
            return 0
        return min(self._length or _LARGEST_BODY, _LARGEST_BODY)

    @property
    def _length(self) -> int:
        text = dict(self.scope["headers"]).get(b"content-length", b"0")
        return int(text[:12]) if text.isdigit() else 0

    @property
    def is_noteworthy(self) -> bool:
        """Return True if it belongs in the audit log: it changes something or touches a Secret."""
        action = self.action
        if action.resource == REPOSITORIES:
            # Of a push, the manifest: blobs are nothing by themselves.
            pushed = self.scope["method"] == "PUT" and "/manifests/" in self.path
            return pushed or self.scope["method"] == "DELETE"
        if action.resource == "secrets" or action.part in _INTO_CONTAINERS:
            return True
        return action.verb in _WRITES and action.resource not in QUESTIONS

    @property
    def is_change(self) -> bool:
        """Return True if it may change something, or goes into a container."""
        enters = self.action.part in _INTO_CONTAINERS  # over a WebSocket, which begins with a GET
        if self.goes_on_unrecorded:
            return False
        return self.is_noteworthy and (enters or self.action.verb not in _READS)

    @property
    def goes_on_unrecorded(self) -> bool:
        """Return True for a token that gives its client no more than the login it came with.

        Images are pulled while nothing can be recorded.
        """
        return self.action.resource == REGISTRY_TOKENS


def _carries_secret(path: str) -> bool:
    """Return True if the path itself carries the secret that opens it."""
    return any(form.fullmatch(path) for form in (_BUILD_WEBHOOK, SIGNED))


def _without_secret(path: str, action: Action) -> Action:
    """Return an action without the secret that its path carries."""
    if signed := SIGNED.fullmatch(path):
        return Action(action.verb, signed[1])
    if not _BUILD_WEBHOOK.fullmatch(path):
        return action
    *_, namespace, _, name, _, _, _ = path.split("/")
    return Action("create", "buildconfigs", namespace, name, "webhooks")


def _require_build(request: _RequestInfo) -> None:
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


def _keep_mounts_inside(request: _RequestInfo) -> None:
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


def _warn_of_end(user: Principal, answer: Message) -> None:
    """Tell the owner of a token that it ends soon, as Kubernetes' clients print it (RFC 9111)."""
    if user.is_ending and user.ends is not None and "headers" in answer:
        text = f"token {user.username} ends at {user.ends:%Y-%m-%d %H:%M} UTC: make another"
        warning = (b"warning", f'299 - "{text}"'.encode())
        answer["headers"] = [*answer["headers"], warning]


def _unrecorded(error: AuditUnavailableError) -> ApiError:
    return ApiError(500, f"it is done, but the audit log has no line of it: {error}")


def _unauthorized(why: str) -> ApiError:
    message = f"{why}: `upwell token create` makes one, UPWELL_TOKEN passes it to the command line"
    return ApiError(401, message, reason="Unauthorized")


def is_open_path(path: str) -> bool:
    """Return True if every token may read the path, whatever its roles."""
    return path in _OPEN or _DISCOVERY.fullmatch(path) is not None


async def _refuse(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    if scope["type"] == "websocket":
        await _refuse_websocket(scope, receive, send, error)
    else:
        answer = await _refusal(scope, receive, error)
        await answer(scope, receive, send)


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    """Answer before it is accepted; where the server cannot, it answers 403 to a close."""
    await receive()
    if _DENIALS in scope.get("extensions", {}):
        await JSONResponse(status_of(error), error.code)(scope, receive, send)
        return
    reason = str(error).encode()[:_MAX_CLOSE_BYTES].decode(errors="ignore")
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})


async def _refusal(scope: Scope, receive: Receive, error: ApiError) -> Response:
    headers = {}
    if isinstance(error, RateError):
        headers["Retry-After"] = str(error.retry_after)
    elif error.code == 429:  # noqa: PLR2004 - Too Many Requests
        headers["Retry-After"] = "1"
    registry, bearer = is_registry(scope), ""
    if error.code == 401:  # noqa: PLR2004 - Unauthorized
        headers["WWW-Authenticate"] = f'{"Basic" if registry else "Bearer"} realm="upwell"'
        bearer = _challenge(scope, error) if registry else ""
    answer = JSONResponse if await drained(Request(scope, receive)) else EarlyResponse
    if not registry:
        return answer(status_of(error), error.code, headers)
    entry = {"code": _OCI_CODES[error.code], "message": str(error), "detail": None}
    response = answer({"errors": [entry]}, error.code, headers)
    if bearer:
        response.headers.append("WWW-Authenticate", bearer)
    return response


def _challenge(scope: Scope, error: ApiError) -> str:
    """Return the challenge for those who want a token; Basic comes before it."""
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"localhost").decode("latin-1").replace('"', "")
    # Whoever says so, it can but move the login of this client from the plain port to TLS.
    behind_tls = headers.get(_PROXY_SCHEME, b"").strip().lower() == b"https"
    address = f"{'https' if behind_tls else scope.get('scheme', 'http')}://{host}"
    why = "insufficient_scope" if isinstance(error, ScopeError) else ""
    return challenge(address, action_of(scope), scope["path"], why)
