"""Private images of the common storage, by the namespaces that were given them.

All namespaces' images lie in one storage. That one is there says nothing about who may have it:
what was pulled with a login is for the namespace whose login it was. Another one asks the registry
with a login of its own, as if the image were missing. What was pulled without a login is
everybody's, and so is what an administrator has put into the storage.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from upwell.machine.private_file import write_private
from upwell.oci import Reference

_log = logging.getLogger(__name__)

EVERYBODY = ""
"""In the place of a namespace: of private images that were given without a login after all."""
_MOST = 20_000
"""Pairs that are remembered."""

type _Pair = tuple[str, str]
"""Namespace, and image."""


class GivenImages:
    """Pairs of namespace and private image, in a file of one line each, the oldest first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pairs: dict[_Pair, None] = {}
        self._namespaces: defaultdict[str, set[str]] = defaultdict(set)
        """By image."""

    def load(self) -> None:
        """Read the file; blocks. An image of which it says nothing is not known as private."""
        try:
            lines = self._file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("given images not read", extra={"why": str(error)})
            return
        for pair in chain.from_iterable(map(_pair_of, lines[-_MOST:])):
            self._remember(pair)
        if len(lines) > _MOST:
            with suppress(OSError):  # then it is cut at the next start
                write_private(self._file, "".join(map(_line, self._pairs)).encode(), synced=False)

    def has(self, namespace: str, image: Reference) -> bool:
        """Return True if the image is not known as private, or was given to the namespace."""
        given = self._namespaces.get(str(image))
        return given is None or not given.isdisjoint({namespace, EVERYBODY})

    def add(self, namespace: str, image: Reference) -> None:
        """Note that a registry gave a private image; a full disk loses that at the next start."""
        pair = (namespace, str(image))
        if pair in self._pairs:
            return
        self._remember(pair)
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - the descriptor has the mode already
                file.write(_line(pair))
        except OSError as error:
            _log.warning("given image not noted", extra={"image": pair[1], "why": str(error)})

    def publish(self, image: Reference) -> None:
        """Note that a registry has given an image without a login."""
        if str(image) in self._namespaces:
            self.add(EVERYBODY, image)

    def _remember(self, pair: _Pair) -> None:
        self._pairs[pair] = None
        self._namespaces[pair[1]].add(pair[0])
        if len(self._pairs) > _MOST:
            oldest = next(iter(self._pairs))
            del self._pairs[oldest]
            # Its image stays private: who is forgotten asks the registry again.
            self._namespaces[oldest[1]].discard(oldest[0])


def _line(pair: _Pair) -> str:
    return json.dumps(pair) + "\n"


def _pair_of(line: str) -> Iterable[_Pair]:
    """Return the pair of a line; none where it was not written whole."""
    with suppress(ValueError):
        match json.loads(line):
            case [str(namespace), str(image)]:
                return ((namespace, image),)
    return ()
