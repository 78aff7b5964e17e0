from collections.abc import AsyncIterator

import pytest
from tests.support.server.api_server import Api, serving

from upwell.server.http.limits import ServerLimits


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    limits = ServerLimits(body_seconds=0.3, watches=2, bookmark_seconds=0.05)
    async with serving(limits) as running:
        yield running
