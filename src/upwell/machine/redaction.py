"""Keeps known secrets out of a log, wherever the pieces of output are cut."""

import base64
from collections.abc import Iterable
from urllib.parse import quote

from upwell.machine.process import LogSink

_MASK = b"********"
_SHORTEST = 4
"""A shorter secret would mask ordinary words, and protect nothing."""


class Redaction:
    """A sink that passes output on with every secret masked; `flush` at the end."""

    def __init__(self, log: LogSink, secrets: Iterable[str]) -> None:
        self._log = log
        self._secrets = sorted(_forms(secrets), key=len, reverse=True)
        self._held = b""

    def __call__(self, piece: bytes) -> None:
        """Pass `piece` on, except for an end that may be the beginning of a secret."""
        text = self._held + piece
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        held = max((_overlap(text, secret) for secret in self._secrets), default=0)
        ready, self._held = text[: len(text) - held], text[len(text) - held :]
        if ready:
            self._log(ready)

    def flush(self) -> None:
        """Pass on what was held back."""
        if self._held:
            self._log(self._held)
            self._held = b""

    def mask(self, text: str) -> str:
        """Return `text` with every secret masked."""
        raw = text.encode()
        for secret in self._secrets:
            raw = raw.replace(secret, _MASK)
        return raw.decode(errors="replace")


def basic_auth(username: str, password: str) -> str:
    """Return the value that HTTP basic authentication sends (RFC 7617)."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _forms(secrets: Iterable[str]) -> set[bytes]:
    """Secrets as they may be printed: plain, in a URL, and each line of one that has several."""
    plain = {line for secret in secrets for line in secret.splitlines()}
    return {
        form.encode()
        for secret in plain
        for form in (secret, quote(secret, safe=""))
        if len(form) >= _SHORTEST
    }


def _overlap(text: bytes, secret: bytes) -> int:
    """Return the length of the longest end of `text` that begins, but is not all of, `secret`."""
    for length in range(min(len(text), len(secret) - 1), 0, -1):
        if text.endswith(secret[:length]):
            return length
    return 0
