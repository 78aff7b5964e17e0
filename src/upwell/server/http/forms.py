"""Forms, as pages and clients of OAuth send them (WHATWG URL Standard, 5)."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from upwell.server.http.body import media_type, read_body
from upwell.server.http.errors import ApiError

FORM_TYPE = "application/x-www-form-urlencoded"
_MAX_FIELDS = 16


async def read_form(request: Request, limit: int, seconds: float) -> dict[str, str]:
    """Return the fields of a form of at most `limit` bytes; one that is empty is not there.

    Raises ApiError: 415 for no form, 400 for a damaged one, or a field that is there twice
    (RFC 6749, 3.1), and what `read_body` raises.
    """
    if media_type(request) != FORM_TYPE:
        raise ApiError(415, f"expected a form: send {FORM_TYPE}")
    body = await read_body(request, limit, seconds)
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        message = f"the body is no form of UTF-8 with at most {_MAX_FIELDS} fields"
        raise ApiError(400, message) from error
    form = dict(pairs)
    if len(form) < len(pairs):
        raise ApiError(400, "a field of the form is there twice")
    return form
