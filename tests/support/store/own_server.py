"""Our own API server as a store: the client that people's commands use, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from tests.support.server.api_server import serving

from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.store.interface import AlreadyExistsError
from upwell.store.kubernetes import KubernetesStore


@asynccontextmanager
async def own_client(namespace: str) -> AsyncIterator[KubernetesStore]:
    """Give a client of a new server with an empty namespace."""
    async with serving(DEFAULT_LIMITS) as api:
        api.clock.now = datetime.now(UTC)
        async with KubernetesStore(api.url) as client:
            with suppress(AlreadyExistsError):
                await client.create(Namespace(metadata=ObjectMeta(name=namespace)))
            yield client
