"""Images of the common storage, by the namespaces that their registries have given them to.

All namespaces' images lie in one storage. That one is there says nothing about who may have it:
what was pulled with a login is for the namespace whose login it was, and what was pulled without
one is everybody's. Of what is not known, the registry is asked, as if the image were missing.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from upwell.machine.private_file import write_private
from upwell.oci import Reference
from upwell.workload.podman.api.stored_images import LOCAL

_log = logging.getLogger(__name__)

EVERYBODY = ""
"""In the place of a namespace: of an image that a registry gives without a login."""
_REFUSED = "refused"
_MOST = 20_000
"""Pairs that are remembered; the registry is asked about others.

Beyond that, the namespace that has most of them forgets its oldest: none makes others' go.
"""

type _Pair = tuple[str, str]
"""Namespace, and image."""


def _forget_excess(pairs: dict[_Pair, None]) -> None:
    excess = len(pairs) - _MOST
    if excess <= 0:
        return
    owned: dict[str, deque[_Pair]] = {}
    for pair in pairs:
        owned.setdefault(pair[0], deque()).append(pair)
    for _ in range(excess):
        del pairs[max(owned.values(), key=len).popleft()]


class GivenImages:
    """Pairs of namespace and image, in a file of one line each, the oldest first.

    What is not in the file is asked about: so no line of it may say less than its absence. Doubt is
    therefore kept on containers (`is_unverified`). `preloaded` are names of images that are
    everybody's, with `/*` at the end for all below: an administrator has put them there.

    A line with a third part says what is less than given: that a registry has `refused` the image.
    """

    def __init__(self, file: Path, preloaded: Iterable[str] = ()) -> None:
        self._file = file
        self._preloaded = tuple(preloaded)
        self._given: dict[_Pair, None] = {}
        self._unverified: set[_Pair] = set()
        """Pairs that count as given until this process ends: no registry could be asked."""
        self._doubtful: set[_Pair] = set()
        """The same, of an earlier version that noted them here, and not on containers."""
        self._refused: dict[_Pair, None] = {}
        """Pairs that a registry has refused since the image lies here."""

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
        for line in lines:
            self._take(line)
        for pairs in (self._given, self._refused):
            _forget_excess(pairs)
        known = len(self._given) + len(self._doubtful) + len(self._refused)
        if known != len(lines) or not text.endswith("\n"):
            whole = [*(json.dumps((*pair, "unasked")) for pair in sorted(self._doubtful))]
            whole += (json.dumps((*pair, _REFUSED)) for pair in self._refused)
            whole += map(json.dumps, self._given)
            with suppress(OSError):  # then it is mended at the next start
                content = "".join(f"{line}\n" for line in whole)
                write_private(self._file, content.encode(), synced=False)

    def _take(self, line: str) -> None:
        """Note what a line says; nothing where it was not written whole."""
        with suppress(ValueError):
            match json.loads(line):
                case [str(namespace), str(image)]:
                    self._doubtful.discard((namespace, image))
                    self._refused.pop((namespace, image), None)
                    self._given[namespace, image] = None
                case [str(namespace), str(image), "refused"]:
                    self._given.pop((namespace, image), None)
                    self._refused[namespace, image] = None
                case [str(namespace), str(image), str()]:
                    self._given.pop((namespace, image), None)
                    self._doubtful.add((namespace, image))

    def has(self, namespace: str, image: Reference) -> bool:
        """Return True if the image is known to have been given to the namespace, or to all."""
        if image.registry == LOCAL or self._is_preloaded(image):
            return True
        pairs = {(one, str(image)) for one in (namespace, EVERYBODY)}
        return not pairs.isdisjoint(self._given) or not pairs.isdisjoint(self._unverified)

    def _is_preloaded(self, image: Reference) -> bool:
        return any(
            image.name.startswith(one[:-1]) if one.endswith("/*") else image.name == one
            for one in self._preloaded
        )

    def is_unverified(self, namespace: str, image: Reference) -> bool:
        """Return True if what is now made of the image proves nothing: nobody could be asked."""
        return (namespace, str(image)) in self._unverified

    def is_doubtful(self, namespace: str, image: Reference) -> bool:
        """Return True if no container proves anything, whatever it carries."""
        return (namespace, str(image)) in self._doubtful

    def is_withheld(self, namespace: str, names: Iterable[Reference]) -> bool:
        """Return True if it takes a registry to give the namespace an image, which has all `names`.

        One has refused it to the namespace, or has given it to another, which has a login.
        """
        known = {str(name) for name in names if not self.has(namespace, name)}
        if any((namespace, name) in self._refused for name in known):
            return True
        return any(name in known for other, name in self._given if other != namespace)

    def refuse(self, namespace: str, image: Reference) -> None:
        """Note that a registry does not give an image that lies here to the namespace."""
        pair = (namespace, str(image))
        if pair in self._refused:
            return
        self._refused[pair] = None
        _forget_excess(self._refused)
        self._append((*pair, _REFUSED))

    def add(self, namespace: str, image: Reference) -> None:
        """Note that a registry gave an image; a full disk loses that at the next start."""
        pair = (namespace, str(image))
        self._unverified.discard(pair)
        self._doubtful.discard(pair)
        self._refused.pop(pair, None)
        if pair in self._given:
            return
        self._given[pair] = None
        _forget_excess(self._given)
        self._append(pair)

    def _append(self, line: Sequence[str]) -> None:
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - the descriptor has the mode already
                file.write(f"{json.dumps(line)}\n")
        except OSError as error:
            _log.warning("given image not noted", extra={"image": line[1], "why": str(error)})

    def use_unverified(self, namespace: str, image: Reference) -> None:
        """Count an image as given until this process ends: its registry cannot be asked."""
        self._unverified.add((namespace, str(image)))
