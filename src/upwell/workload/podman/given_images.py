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

_UNASKED = "unasked"
"""In a line: the namespace runs the image, as its registry could not be asked."""

type _Pair = tuple[str, str]
"""Namespace, and image."""


class GivenImages:
    """Pairs of namespace and image, in a file of one line each, the oldest first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pairs: dict[_Pair, bool] = {}
        """True: a registry has given it; False: nobody could ask."""
        self._trusted: set[_Pair] = set()
        """Pairs of the latter sort that count as given until this process ends."""

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
        known = [entry for entry in map(_entry_of, lines) if entry is not None]
        self._pairs = dict(known[-_MOST:])
        if len(self._pairs) != len(lines) or not text.endswith("\n"):
            whole = "".join(_line(pair, given=given) for pair, given in self._pairs.items())
            with suppress(OSError):  # then it is mended at the next start
                write_private(self._file, whole.encode(), synced=False)

    def has(self, namespace: str, image: Reference) -> bool:
        """Return True if the image is known to have been given to the namespace, or to all."""
        if image.registry == _LOCAL:
            return True
        pairs = [(one, str(image)) for one in (namespace, EVERYBODY)]
        return any(self._pairs.get(one) or one in self._trusted for one in pairs)

    def is_doubtful(self, namespace: str, image: Reference) -> bool:
        """Return True if what the namespace runs of the image proves nothing: nobody was asked."""
        return self._pairs.get((namespace, str(image))) is False

    def add(self, namespace: str, image: Reference) -> None:
        """Note that a registry gave an image; a full disk loses that at the next start."""
        self._note((namespace, str(image)), given=True)

    def trust(self, namespace: str, image: Reference) -> None:
        """Count an image as given until this process ends: its registry cannot be asked."""
        self._trusted.add((namespace, str(image)))
        self._note((namespace, str(image)), given=False)

    def _note(self, pair: _Pair, *, given: bool) -> None:
        if self._pairs.get(pair) is given:
            return
        self._pairs.pop(pair, None)
        self._pairs[pair] = given
        if len(self._pairs) > _MOST:
            del self._pairs[next(iter(self._pairs))]
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - the descriptor has the mode already
                file.write(_line(pair, given=given))
        except OSError as error:
            _log.warning("given image not noted", extra={"image": pair[1], "why": str(error)})


def _line(pair: _Pair, *, given: bool) -> str:
    return json.dumps(pair if given else (*pair, _UNASKED)) + "\n"


def _entry_of(line: str) -> tuple[_Pair, bool] | None:
    """Return what a line says; None where it was not written whole."""
    with suppress(ValueError):
        match json.loads(line):
            case [str(namespace), str(image)]:
                return (namespace, image), True
            case [str(namespace), str(image), str()]:
                return (namespace, image), False
    return None
