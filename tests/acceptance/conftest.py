"""An installed system, as its user runs it, and a client of it."""

from collections.abc import AsyncIterator

import pytest
from tests.support.installation.installation import Installation, installation

from upwell.store.interface import ApiClient


@pytest.fixture
async def made() -> AsyncIterator[Installation]:
    async with installation() as running:
        yield running


@pytest.fixture
async def client(made: Installation) -> AsyncIterator[ApiClient]:
    async with made.client() as connected:
        yield connected
