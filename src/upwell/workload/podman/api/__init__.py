"""Podman's REST API (libpod 5): its server process, requests, hijacked streams and their frames."""
