"""Containers of an instance: what Podman is asked to make, and their starts and files."""
