"""Query parameters that many requests share."""

from starlette.requests import HTTPConnection, Request

from upwell.server.http.errors import ApiError

_MAX_DIGITS = 9


def is_true(request: HTTPConnection, name: str) -> bool:
    """Return True if a parameter is set, as Kubernetes reads booleans: `?watch` is true as well."""
    value = request.query_params.get(name)
    return value is not None and value.lower() not in {"false", "0", "f"}


def integer(request: Request, name: str) -> int | None:
    """Return a parameter that counts something; None when absent. Raises ApiError."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ApiError(400, f"{name}: expected a number, found {text[:20]!r}")
    return int(text)
