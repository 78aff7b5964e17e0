"""Upwell keeps every running container on a patched base image."""

import os

# There are none for this program, and the search looks at all that is installed, at each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__version__ = "0.1.0"
"""That of pyproject.toml; to ask the metadata of the installation for it takes long."""
