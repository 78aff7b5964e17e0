"""Upwell keeps every running container on a patched base image."""

import os

# There are none for this program, and the search looks at all that is installed, at each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__version__ = "0.1.0"
"""The one place of the version, from which packages, images and releases have it (scripts/version).

To ask the metadata of the installation for it takes long.
"""
