"""Upwell keeps every running container on a patched base image."""

from importlib.metadata import version

__version__ = version("upwell")
