"""A folder of its own for the HAProxy of each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.router.haproxy_folder import haproxy_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with haproxy_folder() as path:
        yield path
