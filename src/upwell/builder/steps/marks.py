"""Marks that part the steps of builds which must not take each other's place in the layers.

Buildah finds a step again by the history before it, in all images that it sees. A mark stands there
before the first step of a build, and whoever may pull its image can read it. So it keeps builds
apart in a store that holds steps alone (`store`), and says nothing of an image from a registry.
"""

import hashlib
import hmac
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes

from upwell.machine.private_file import write_private
from upwell.oci import ImageConfig

_KEY_BYTES = 32
_SCOPE = "dev.upwell.build.steps"
"""Label of what stands for the builds that find each other's steps again."""


class StepMarks:
    """Makes marks by a key in a file, which is made at first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = b""

    def of(self, scope: str) -> str:
        """Return the mark of a scope, hexadecimal; empty for none. Raises OSError."""
        if not scope:
            return ""
        self._key = self._key or self._kept()
        return hmac.new(self._key, scope.encode(), hashlib.sha256).hexdigest()

    def _kept(self) -> bytes:
        with suppress(FileNotFoundError):
            if len(key := self._path.read_bytes()) == _KEY_BYTES:
                return key
        key = token_bytes(_KEY_BYTES)
        write_private(self._path, key)
        return key


def mark_lines(mark: str) -> tuple[str, ...]:
    """Return the instruction that parts the steps of one scope from those of all others.

    A label is part of the history as it stands here: a build argument could give an ARG another
    value.
    """
    return (f"LABEL {_SCOPE}={mark}",) if mark else ()


def bears(image: ImageConfig, mark: str) -> bool:
    """Say whether an image claims to have steps with this mark, or with what could be it."""
    return any(mark in step for step in image.history)
