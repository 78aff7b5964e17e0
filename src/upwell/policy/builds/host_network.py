"""The machine's own network, as builds ask for it; pure."""

from upwell.api.builds.build import Build
from upwell.api.builds.config import HOST_NETWORK_ANNOTATION, BuildConfig


def asks_for_host_network(build: Build | BuildConfig) -> bool:
    """Return True if the builds are to have the machine's own network."""
    return build.annotations.get(HOST_NETWORK_ANNOTATION) == "true"
