"""Entries of Rekor's transparency log, and what shows that the log has them.

A promise of the log (SignedEntryTimestamp) is signed with the entry's time; a proof of inclusion
(RFC 6962, 2.1.1) leads to a signed checkpoint (transparency-dev, formats/log), which has no time.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from upwell.formats.sigstore.documents import (
    InvalidSignatureDocumentError,
    canonical,
    decoded,
    encoded,
    items,
    json_object,
    mapping,
    text,
)
from upwell.formats.sigstore.keys import SignatureKey

MAX_ENTRY_BYTES = 512 * 1024
"""Of one entry as JSON."""
_MAX_HASHES = 64
_MAX_CHECKPOINT = 16 * 1024
_MAX_CHECKPOINT_SIGNATURES = 16
_MAX_NUMBER = 2**53
_LATEST = 253_402_300_800
"""The end of the year 9999, in seconds."""
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
_HINT_BYTES = 4


class NotLoggedError(ValueError):
    """Proof is missing that the log has an entry; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Hashes that lead from an entry to the root of the log, and the log's word for that root."""

    index: int
    size: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    def leads_to_root(self, leaf: bytes) -> bool:
        """Return True if the checkpoint's tree has the leaf (RFC 9162, 2.1.3.2)."""
        root = _root(leaf, self.index, self.size, self.hashes)
        return root is not None and self._stated() == [str(self.size), encoded(root)]

    def _stated(self) -> list[str]:
        """Return size and root of the log, as the checkpoint states them."""
        return self.checkpoint.rpartition("\n\n")[0].split("\n")[1:3]

    def is_signed_by(self, keys: Iterable[SignatureKey]) -> bool:
        """Return True if one of the keys has signed the checkpoint (C2SP, signed-note)."""
        note, _, signatures = self.checkpoint.rpartition("\n\n")
        signed = f"{note}\n".encode()
        lines = [one for one in signatures.split("\n") if one.startswith("— ")]
        made = list(map(_note_signature, lines[:_MAX_CHECKPOINT_SIGNATURES]))
        return any(key.verifies(one, signed) for key in keys for one in made if one)

    def document(self) -> dict[str, Any]:
        """Return it as a bundle has it."""
        return {
            "logIndex": str(self.index),
            "treeSize": str(self.size),
            "rootHash": next(iter(self._stated()[1:]), ""),
            "hashes": [encoded(one) for one in self.hashes],
            "checkpoint": {"envelope": self.checkpoint},
        }


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry as somebody tells of it; `body` is its canonical form."""

    body: bytes = field(repr=False)
    integrated: int
    """Seconds since 1970; nobody vouches for it but the promise."""
    log_id: str
    """SHA-256 of the log's key, in hexadecimal."""
    index: int
    promise: bytes = field(default=b"", repr=False)
    proof: InclusionProof | None = None

    def time(self, keys: Iterable[SignatureKey]) -> datetime:
        """Return when a log of these keys took it in; raises NotLoggedError."""
        if not self.promise:
            raise NotLoggedError("its log entry has no signed time (SignedEntryTimestamp)")
        signed = canonical(self._promised())
        if not any(key.verifies(self.promise, signed) for key in keys):
            raise NotLoggedError("its log entry is not of the policy's log (rekorKeyData)")
        return datetime.fromtimestamp(self.integrated, UTC)

    def require_logged(self, keys: Sequence[SignatureKey]) -> None:
        """Raise NotLoggedError unless a log of these keys has it, whenever that was."""
        if self.promise or self.proof is None:
            self.time(keys)
            return
        leaf = hashlib.sha256(b"\0" + self.body).digest()
        if not self.proof.leads_to_root(leaf) or not self.proof.is_signed_by(keys):
            raise NotLoggedError("its proof of inclusion is not of the policy's log (rekorKeyData)")

    def _promised(self) -> dict[str, Any]:
        return {
            "body": encoded(self.body),
            "integratedTime": self.integrated,
            "logID": self.log_id,
            "logIndex": self.index,
        }

    def annotation(self) -> str:
        """Return it as cosign has it in an annotation (cosign, pkg/cosign/bundle)."""
        document = {"SignedEntryTimestamp": encoded(self.promise), "Payload": self._promised()}
        return canonical(document).decode()

    def document(self, kind: str, version: str) -> dict[str, Any]:
        """Return it as a bundle has it (sigstore, protobuf-specs, TransparencyLogEntry)."""
        found: dict[str, Any] = {
            "logIndex": str(self.index),
            "logId": {"keyId": encoded(bytes.fromhex(self.log_id))},
            "kindVersion": {"kind": kind, "version": version},
            "integratedTime": str(self.integrated),
            "canonicalizedBody": encoded(self.body),
        }
        if self.promise:
            found["inclusionPromise"] = {"signedEntryTimestamp": encoded(self.promise)}
        if self.proof is not None:
            found["inclusionProof"] = self.proof.document()
        return found

    @classmethod
    def of_annotation(cls, raw: str) -> Self:
        """Read what cosign has in an annotation; raises InvalidSignatureDocumentError."""
        document = json_object(raw.encode(), "log entry", MAX_ENTRY_BYTES)
        payload = mapping(document.get("Payload"), "Payload")
        return cls(
            decoded(payload.get("body"), "Payload.body"),
            _time(payload.get("integratedTime")),
            _log_id(payload.get("logID")),
            _number(payload.get("logIndex"), "Payload.logIndex"),
            decoded(document.get("SignedEntryTimestamp"), "SignedEntryTimestamp"),
        )

    @classmethod
    def of_bundle(cls, value: object) -> Self:
        """Read what a bundle has; raises InvalidSignatureDocumentError."""
        entry = mapping(value, "tlogEntries")
        promise = mapping(entry.get("inclusionPromise") or {}, "inclusionPromise")
        proof = entry.get("inclusionProof")
        key_id = mapping(entry.get("logId"), "logId").get("keyId")
        return cls(
            decoded(entry.get("canonicalizedBody"), "canonicalizedBody"),
            _time(entry.get("integratedTime") or 0),
            _log_id(decoded(key_id, "logId.keyId").hex()),
            _number(entry.get("logIndex") or 0, "logIndex"),
            decoded(promise.get("signedEntryTimestamp") or "", "signedEntryTimestamp"),
            _proof(proof, decoded) if proof else None,
        )

    @classmethod
    def of_answer(cls, raw: bytes) -> Self:
        """Read an answer of Rekor's API (v1, LogEntry); raises InvalidSignatureDocumentError."""
        document = json_object(raw, "answer of the log", MAX_ENTRY_BYTES)
        entry = mapping(next(iter(document.values()), None), "answer of the log")
        shown = mapping(entry.get("verification") or {}, "verification")
        proof = shown.get("inclusionProof")
        return cls(
            decoded(entry.get("body"), "body"),
            _time(entry.get("integratedTime")),
            _log_id(entry.get("logID")),
            _number(entry.get("logIndex"), "logIndex"),
            decoded(shown.get("signedEntryTimestamp"), "signedEntryTimestamp"),
            _proof(proof, _hexadecimal) if proof else None,
        )


def _proof(value: object, hash_of: Callable[[object, str], bytes]) -> InclusionProof:
    proof = mapping(value, "inclusionProof")
    stated = proof.get("checkpoint")
    checkpoint = text(stated.get("envelope") if isinstance(stated, dict) else stated, "checkpoint")
    if len(checkpoint) > _MAX_CHECKPOINT:
        raise InvalidSignatureDocumentError(f"checkpoint: more than {_MAX_CHECKPOINT} letters")
    hashes = items(proof.get("hashes") or [], "inclusionProof.hashes", _MAX_HASHES)
    return InclusionProof(
        _number(proof.get("logIndex") or 0, "inclusionProof.logIndex"),
        _number(proof.get("treeSize"), "inclusionProof.treeSize"),
        tuple(hash_of(one, "inclusionProof.hashes") for one in hashes),
        checkpoint,
    )


def _root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a path leads to (RFC 9162, 2.1.3.2); None: it is no such path."""
    if index >= size:
        return None
    found, at, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            return None
        if at % 2 or at == last:
            found = _node(sibling, found)
            while at and not at % 2:
                at, last = at >> 1, last >> 1
        else:
            found = _node(found, sibling)
        at, last = at >> 1, last >> 1
    return found if last == 0 else None


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _note_signature(line: str) -> bytes:
    try:
        return decoded(line.rpartition(" ")[2], "checkpoint")[_HINT_BYTES:]
    except InvalidSignatureDocumentError:
        return b""


def _number(value: object, what: str) -> int:
    """Return a number, which protobuf's JSON has as text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise InvalidSignatureDocumentError(f"{what}: expected a whole number")
    return value


def _time(value: object) -> int:
    found = _number(value, "integratedTime")
    if found >= _LATEST:
        raise InvalidSignatureDocumentError("integratedTime: no time")
    return found


def _log_id(value: object) -> str:
    found = text(value, "logID")
    if not _HEX.fullmatch(found):
        raise InvalidSignatureDocumentError("logID: expected a SHA-256 in hexadecimal")
    return found


def _hexadecimal(value: object, what: str) -> bytes:
    found = text(value, what)
    if not _HEX.fullmatch(found):
        raise InvalidSignatureDocumentError(f"{what}: expected a SHA-256 in hexadecimal")
    return bytes.fromhex(found)


def log_id_of(key: SignatureKey) -> str:
    """Return the id of the log that signs by a key."""
    return decoded(key.id, "key").hex()
