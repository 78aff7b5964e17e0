"""Regular expressions of users, in the language of RE2 (github.com/google/re2/wiki/Syntax).

RE2 takes time linear in the text and bounded memory, whatever the expression: the module `re`
backtracks, and one expression of a dozen characters holds it up for hours. OpenShift's own
expressions are Go's, which are RE2's too.
"""

import re

import re2  # type: ignore[import-untyped]  # it has no stubs

MAX_EXPRESSION = 1024
"""Characters of one expression."""
_MAX_MEMORY = 64 * 1024
"""Bytes of a compiled expression and its matching, beyond which RE2 refuses to compile it."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class InvalidExpressionError(ValueError):
    """The text is no regular expression of RE2; the message says what to write instead."""


class RegularExpression:
    """A compiled expression; matching takes time linear in the text."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        """Compile; raises InvalidExpressionError."""
        if len(text) > MAX_EXPRESSION:
            raise InvalidExpressionError(f"a pattern has at most {MAX_EXPRESSION} characters")
        options = re2.Options()
        options.max_mem = _MAX_MEMORY
        options.log_errors = False
        try:
            self._compiled = re2.compile(_ESCAPED.sub(_as_re2, text), options=options)
        except re2.error as error:
            raise InvalidExpressionError(_fault(text, error)) from error
        except UnicodeError as error:
            raise InvalidExpressionError(f"{text!r} is not Unicode text") from error
        finally:
            re2.purge()  # the library's own cache would keep 128 of them, of up to that size each
        self.text = text

    def search(self, text: str) -> bool:
        """Return True if some part of `text` matches."""
        return self._compiled.search(_encoded(text)) is not None

    def fullmatch(self, text: str) -> bool:
        """Return True if the whole of `text` matches."""
        return self._compiled.fullmatch(_encoded(text)) is not None


def _encoded(text: str) -> bytes:
    """Return UTF-8; what file names hold beyond it matches no letter of any expression."""
    return text.encode(errors="surrogatepass")


def _as_re2(escape: re.Match[str]) -> str:
    r"""Return an escape as RE2 writes it; Python's `\Z` is its `\z`."""
    return r"\z" if escape[1] == "Z" else escape[0]


def _fault(text: str, error: Exception) -> str:
    cause = error.args[0] if error.args else ""
    why = cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
    hint = ""
    if "perl operator" in why or "escape" in why:
        hint = "; lookahead, lookbehind and backreferences are not available: match without them"
    elif "repetition size" in why or "too large" in why:
        hint = "; repeat less often (at most 1000 times), or with * or +"
    return f"{text!r} is not a regular expression of RE2: {why}{hint}"
