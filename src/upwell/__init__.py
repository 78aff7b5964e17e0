"""Upwell keeps every running container on a patched base image."""

import os
from typing import TYPE_CHECKING

# There are none for this program, and the search looks at all that is installed, at each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Return the version, which the metadata of the installation tells: it takes time."""
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415

            return version("upwell")
        raise AttributeError(name)
