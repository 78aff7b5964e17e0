"""The API behind its authorization, with a client for each list of grants."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_log
from tests.support.server.memory_actions import MemoryActions

from upwell.actions.running import RunningActions
from upwell.api.codec import RESOURCES
from upwell.api.core import Secret
from upwell.audit.keeping import ReadableAudit
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import (
    TokenRecord,
    Tokens,
    hash_of,
    new_token,
    own_token,
    secret_name,
)
from upwell.server.exchange.exchange import TokenExchange
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore
from upwell.uploads.interface import BinaryInputs

REGISTRY = "registry.test:7080"
"""The `host:port` of images of the embedded registry."""
_VERSIONS = {kind.KIND.plural: kind.KIND.api_version for kind in RESOURCES}


def path_of(plural: str, namespace: str, name: str = "", part: str = "") -> str:
    """Return the path of objects, of one, or of a part of it."""
    version = _VERSIONS[plural]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    steps = (f"{group}/namespaces/{namespace}/{plural}", name, part)
    return "/".join(step for step in steps if step)


@dataclass
class GrantedApi:
    """The API, and the tokens that were made so far."""

    api: Api
    access: AccessControl
    admin: str
    tokens: dict[str, str] = field(default_factory=dict)

    async def grant(
        self, name: str, *grants: str, person: str = "", groups: tuple[str, ...] = ()
    ) -> None:
        """Make a token, or give the token of that name other grants, or a person and groups."""
        if name in self.tokens:
            await self.revoke(name)
        self.tokens[name] = new_token(name)
        given = tuple(map(parse_grant, grants))
        record = TokenRecord(name, hash_of(self.tokens[name]), given, person=person, groups=groups)
        await self.api.store.create(record.as_secret())

    async def revoke(self, name: str) -> None:
        """Delete a token."""
        await self.api.store.delete(Secret, "upwell-system", secret_name(name))

    async def send(
        self, who: str, method: str, path: str, body: Any = None, **options: Any
    ) -> ApiAnswer:
        """Send a request as `who`; `admin` is the server's own user."""
        token = self.admin if who == "admin" else self.tokens[who]
        headers = {"Authorization": f"Bearer {token}"}
        return await self.api.send(method, path, body, **options, **headers)

    async def create(
        self, who: str, plural: str, namespace: str, document: dict[str, Any]
    ) -> ApiAnswer:
        """Create an object as `who`."""
        return await self.send(who, "POST", path_of(plural, namespace), document)


@contextlib.asynccontextmanager
async def open_granted_api(
    folder: Path,
    inputs: BinaryInputs | None = None,
    exchange: Callable[[AccessControl, ApiClock], TokenExchange] | None = None,
    *,
    admin_by_socket: bool = False,
    running: Callable[[MemoryActions], RunningActions] | None = None,
    audit: ReadableAudit | None = None,
) -> AsyncIterator[GrantedApi]:
    """Serve the API with the local administrator's token alone."""
    admin = new_token("admin")
    found: list[AccessControl] = []

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        tokens = Tokens(store, clock, [own_token(admin)])
        own = audit_log(folder, clock)
        control = AccessControl(tokens, own, registry=REGISTRY, admin_by_socket=admin_by_socket)
        found.append(control)
        return control

    limits = ServerLimits(requests_per_second=1e6, requests_burst=10**6)
    async with serving(
        limits, guard=guard, inputs=inputs, exchange=exchange, running=running, audit=audit
    ) as api:
        yield GrantedApi(api, found[0], admin)
