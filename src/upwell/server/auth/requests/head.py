"""Head of a request: whose it is, what it asks for, and what serving it takes."""

import base64
import binascii

from starlette.types import Scope

from upwell.oci.manifest import MAX_MANIFEST_BYTES
from upwell.policy.access.roles import QUESTIONS, REPOSITORIES
from upwell.server.auth.principals import Principal
from upwell.server.auth.registry_access import (
    REGISTRY_TOKEN_PATH,
    REGISTRY_TOKENS,
    RegistryAccess,
)
from upwell.server.auth.request_info import (
    IDENTIFY,
    PEER,
    Identify,
    action_of,
    is_registry,
    query_of,
)
from upwell.server.auth.requests.paths import is_health, without_secret

_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_READS = {"get", "list", "watch"}
_INTO_CONTAINERS = {"exec", "attach", "portforward"}
_IMPERSONATION = b"impersonate-"
"""Beginning of the headers that name another user, group, uid or extra (Kubernetes' --as)."""
_STREAMED = {"instantiatebinary", "evidence"}
"""Parts whose bodies are written to files as they arrive."""
_LARGEST_BODY = MAX_MANIFEST_BYTES
"""Bytes of the largest body that is held."""


class RequestHead:
    """Facts of one request, before anything of its body is read."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.action = without_secret(self.path, action_of(scope))
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
    def impersonates(self) -> bool:
        """Return True if it is to be carried out as somebody else than its sender."""
        return any(name.lower().startswith(_IMPERSONATION) for name, _ in self.scope["headers"])

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
        return not (self.is_long_running or self.user.unlimited or is_health(self.path))

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
