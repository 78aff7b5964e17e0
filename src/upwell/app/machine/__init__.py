"""Adapters of this machine alone: containers in Podman, HAProxy, the packet filter."""
