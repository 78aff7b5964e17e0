"""Marks of the builds that find each other's steps again: each scope has a store by its own.

Buildah finds a step again by the history before it, in all images that it sees. Where a build names
several images, one of them could pass for a step upon another: so a mark stands there before the
first step, too. An image cannot pass for a step upon itself, as its history is too short.
"""

import hashlib
import hmac
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes

from upwell.machine.private_file import write_private
from upwell.oci import ImageConfig, Reference

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


def mark_lines(mark: str, images: Collection[Reference]) -> tuple[str, ...]:
    """Return the instruction that parts steps from the images that a build names; none for one.

    A label is part of the history as it stands here: a build argument could give an ARG another
    value. It is a step of its own, which takes as long as any other.
    """
    return (f"LABEL {_SCOPE}={mark}",) if mark and len(images) > 1 else ()


def bears(image: ImageConfig, mark: str) -> bool:
    """Say whether an image claims to have steps with this mark, or with what could be it."""
    return any(mark in step for step in image.history)
