"""Fixtures of all unit tests."""

from collections.abc import Iterator

import pytest

from upwell.oci.registry_names import OwnRegistry, serve_as


@pytest.fixture(autouse=True)
def _no_own_registry() -> Iterator[None]:
    """Let the process serve no registry, whatever ran in it before."""
    before = serve_as(OwnRegistry())
    yield
    serve_as(before)
