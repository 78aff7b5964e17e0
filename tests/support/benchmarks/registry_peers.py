"""Registries that benchmarks measure beside: docker-registry, and distribution 3 where it is.

Debian's docker-registry is distribution 2.8. UPWELL_DISTRIBUTION is the path of distribution 3,
built by `git clone -b v3.0.0 https://github.com/distribution/distribution`, and therein
`go build ./cmd/registry`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.support.registry.docker_registry import docker_registry

DOCKER_REGISTRY = "docker-registry"
DISTRIBUTION = "distribution 3"
_DISTRIBUTION_PROGRAM = os.environ.get("UPWELL_DISTRIBUTION", "")


@asynccontextmanager
async def registry_peers(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run every registry that is here; yields `host:port` of each by its name."""
    programs = {DOCKER_REGISTRY: "docker-registry"}
    if _DISTRIBUTION_PROGRAM:
        programs[DISTRIBUTION] = _DISTRIBUTION_PROGRAM
    async with AsyncExitStack() as stack:
        hosts = {}
        for name, program in programs.items():
            place = folder / name.replace(" ", "-")
            place.mkdir()
            running = docker_registry(place, program=program)
            hosts[name] = await stack.enter_async_context(running)
        yield hosts
