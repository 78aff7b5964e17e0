"""Content addresses (OCI image-spec, descriptor.md, section Digests)."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(?P<algorithm>sha256|sha512):(?P<hex>[0-9a-f]{64,128})")
_SHORT = 12


class InvalidDigestError(ValueError):
    """The text is not a digest of an algorithm that we can verify."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a digest: {text!r} (expected sha256:<64 hex digits>)")
        self.text = text


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content address, `sha256:<hex>` or `sha512:<hex>`; one that exists was checked."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `algorithm:hex`; raises InvalidDigestError."""
        match = _DIGEST.fullmatch(text)
        if match is None or len(match["hex"]) != _HEX_LENGTH[match["algorithm"]]:
            raise InvalidDigestError(text)
        return cls(match["algorithm"], match["hex"])

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of `content`."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def matches(self, content: bytes) -> bool:
        """Return True if `content` is what this digest addresses."""
        return hashlib.new(self.algorithm, content).hexdigest() == self.hex

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people."""
        return self.hex[:_SHORT]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
