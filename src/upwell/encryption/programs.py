"""Keys that only a program knows: it wraps and unwraps, and shows no key."""

import base64
import binascii
import subprocess
from collections.abc import Sequence

from upwell.encryption.faults import EncryptionKeyError, WrongPinError

OTHER_KEY = 3
"""Exit code to `unwrap`: another key has wrapped it."""
EXPLAINED = 4
"""Exit code of our own programs: the last line of stderr says all, the next step too."""
WRONG_PIN = 5
"""The same, of a PIN."""
_SECONDS = 30
_MAX_OUTPUT = 64 * 1024
_MAX_REASON = 600


class KeyProgram:
    """A program that knows the key: of a TPM, a PKCS#11 token or a KMS. Implements WrappingKey.

    It is run with `wrap` or `unwrap`, gets one line of base64 on stdin, and answers with one, all
    within 30 s; it is killed then. Exit code 3 to `unwrap` says that another key wrapped it; any
    other but 0 is a fault.
    """

    def __init__(self, command: Sequence[str], name: str, arguments: Sequence[str] = ()) -> None:
        """`arguments` come after the verb."""
        self._command = tuple(command)
        self._name = name
        self._arguments = tuple(arguments)

    def wrap(self, data_key: bytes) -> bytes:
        """Wrap."""
        found = self.ask("wrap", data_key)
        if found is None:
            raise EncryptionKeyError(f"{self._name} wrap: exited with {OTHER_KEY}")
        return found

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Unwrap."""
        return self.ask("unwrap", wrapped)

    def ask(self, verb: str, content: bytes) -> bytes | None:
        """Run it; None: another key wrapped the content. Raises EncryptionKeyError."""
        what = f"{self._name} {verb}"
        try:
            done = subprocess.run(
                [*self._command, verb, *self._arguments],
                input=base64.b64encode(content) + b"\n",
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise EncryptionKeyError(f"{what}: no answer within {_SECONDS} s") from error
        except OSError as error:
            raise EncryptionKeyError(f"{what}: {error.strerror}") from error
        if verb == "unwrap" and done.returncode == OTHER_KEY:
            return None
        why = done.stderr[-_MAX_REASON:].decode(errors="replace").strip()
        if done.returncode in {EXPLAINED, WRONG_PIN}:
            kind = WrongPinError if done.returncode == WRONG_PIN else EncryptionKeyError
            raise kind(f"{self._name}: {why.splitlines()[-1] if why else 'no reason was given'}")
        if done.returncode:
            raise EncryptionKeyError(f"{what}: exited with {done.returncode}: {why}")
        try:
            return base64.b64decode(done.stdout[:_MAX_OUTPUT].strip(), validate=True)
        except binascii.Error as error:
            raise EncryptionKeyError(f"{what}: answered something else than base64") from error
