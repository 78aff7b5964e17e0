"""Declaration of fields that are written, and read by those alone who may read Secrets.

A field says so by its type, `Annotated[str, WriteOnly()]`; `hidden` beside it does the rest, for
every kind and every way of reading.
"""

import re
from collections.abc import Callable
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_plus, urlencode, urlsplit

type Cover = Callable[[str], str]
"""Returns the placeholder of a value; the same for the same value of the same object."""

_REFERENCE = re.compile(r"\$\{\{?[\w.-]+\}?\}")
"""A parameter of a Template, which is not the value yet."""
_SECRET_PARAMETER = re.compile(
    r"token|secret|passw|api[-_]?key|access[-_]?key|(?:^|[-_])sig(?:nature)?$", re.IGNORECASE
)
"""Names of a query's parameters whose values are secret."""
_LOOSE_LOGIN = re.compile(r"((?:[a-z][a-z0-9+.-]*:/+)?)[^/?#@:]+:(?!/)[^@]*@", re.IGNORECASE)
"""User and password of what is no URL, such as `user:password@proxy:3128`."""


class WriteOnly:
    """Marks a field all of whose value is secret; of a mapping, each value."""

    def hide(self, text: str, cover: Cover) -> str:
        """Return what may be shown of the value."""
        return text if not text or _REFERENCE.fullmatch(text) else cover(text)


class UrlCredentials(WriteOnly):
    """Marks a URL that may hold a user's name and password, or a token in its query.

    The placeholder stands for the whole URL: with another host in it, it stands for nothing, so
    that nobody sends a password that they cannot read to a host of their choice.
    """

    def hide(self, text: str, cover: Cover) -> str:
        """Return the URL without its secrets."""
        return with_covered_credentials(text, lambda: cover(text))


class ObjectsInside(WriteOnly):
    """Marks a list of whole objects, as of a Template; their own fields are hidden."""


def with_covered_credentials(url: str, cover: Callable[[], str]) -> str:
    """Return a URL with `cover()` in the place of its secrets; itself if it has none."""
    if "@" not in url and "?" not in url:
        return url
    try:
        parts = urlsplit(url)
        has_user = parts.password is not None or (
            parts.scheme in {"http", "https"} and bool(parts.username)
        )
    except ValueError:
        parts, has_user = SplitResult("", "", "", "", ""), False  # no URL, as validation says
    if not parts.netloc and (loose := _LOOSE_LOGIN.match(url)):
        return f"{loose[1]}{cover()}@{url[loose.end() :]}"
    query = _covered_query(parts, cover)
    if not has_user and query == parts.query:
        return url
    netloc = f"{cover()}@{parts.netloc.rpartition('@')[2]}" if has_user else parts.netloc
    return parts._replace(netloc=netloc, query=query).geturl()


def secrets_in(url: str) -> tuple[str, ...]:
    """Return the password and the secret values of the query, as they stand in it and decoded."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return ()
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    query = [value for name, _, value in pairs if _SECRET_PARAMETER.search(unquote_plus(name))]
    found = [(password or "", unquote(password or ""))]
    found += [(value, unquote_plus(value)) for value in query]
    return tuple(dict.fromkeys(text for pair in found for text in pair if text))


def without_credentials(url: str) -> str:
    """Return a URL as it may be published: `***` in the place of its secrets."""
    return with_covered_credentials(url, lambda: "***")


def _covered_query(parts: SplitResult, cover: Callable[[], str]) -> str:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not any(_SECRET_PARAMETER.search(name) for name, _ in pairs):
        return parts.query
    shown = [(name, cover() if _SECRET_PARAMETER.search(name) else value) for name, value in pairs]
    return urlencode(shown, safe="*")
