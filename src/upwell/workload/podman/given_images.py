"""Images of the common storage, by the namespaces that their registries have given them to.

All namespaces' images lie in one storage. That one is there says nothing about who may have it:
what was pulled with a login is for the namespace whose login it was, and what was pulled without
one is everybody's. Of what is not known, the registry is asked, as if the image were missing.
"""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from upwell.machine.private_file import write_private
from upwell.oci import Reference

_log = logging.getLogger(__name__)

EVERYBODY = ""
"""In the place of a namespace: of an image that a registry gives without a login."""
_LOCAL = "localhost"
"""Podman's own name for what was built or loaded on this machine: no registry has it."""
_MOST = 20_000
"""Pairs that are remembered; the registry is asked about others."""

type _Pair = tuple[str, str]
"""Namespace, and image."""


class GivenImages:
    """Pairs of namespace and image, in a file of one line each, the oldest first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pairs: dict[_Pair, None] = {}

    def load(self) -> None:
        """Read the file; blocks. Of what it does not say, in whole lines, registries are asked."""
        try:
            text = self._file.read_text(errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("given images not read", extra={"why": str(error)})
            return
        lines = text.splitlines()
        known = [pair for pair in map(_pair_of, lines) if pair is not None]
        self._pairs = dict.fromkeys(known[-_MOST:])
        if len(self._pairs) != len(lines) or not text.endswith("\n"):
            with suppress(OSError):  # then it is mended at the next start
                write_private(self._file, "".join(map(_line, self._pairs)).encode(), synced=False)

    def has(self, namespace: str, image: Reference) -> bool:
        """Return True if the image is known to have been given to the namespace, or to all."""
        if image.registry == _LOCAL:
            return True
        return any((one, str(image)) in self._pairs for one in (namespace, EVERYBODY))

    def add(self, namespace: str, image: Reference) -> None:
        """Note that a registry gave an image; a full disk loses that at the next start."""
        pair = (namespace, str(image))
        if pair in self._pairs:
            return
        self.trust(namespace, image)
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - the descriptor has the mode already
                file.write(_line(pair))
        except OSError as error:
            _log.warning("given image not noted", extra={"image": pair[1], "why": str(error)})

    def trust(self, namespace: str, image: Reference) -> None:
        """Count an image as given to a namespace until this process ends."""
        self._pairs[namespace, str(image)] = None
        if len(self._pairs) > _MOST:
            del self._pairs[next(iter(self._pairs))]


def _line(pair: _Pair) -> str:
    return json.dumps(pair) + "\n"


def _pair_of(line: str) -> _Pair | None:
    """Return the pair of a line; None where it was not written whole."""
    with suppress(ValueError):
        match json.loads(line):
            case [str(namespace), str(image)]:
                return namespace, image
    return None
