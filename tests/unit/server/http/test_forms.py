"""Forms: few fields, once each, of UTF-8; else refused with what was expected."""

import pytest
from starlette.requests import Request
from starlette.types import Message

from upwell.server.http.errors import ApiError
from upwell.server.http.forms import FORM_TYPE, read_form


def request_of(body: bytes, content_type: str = FORM_TYPE) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def test_fields_are_read() -> None:
    form = await read_form(
        request_of(b"decision=approve&comment=looks+g%C3%B6%C3%B6d&none="), 99, 1
    )

    assert form == {"decision": "approve", "comment": "looks gööd"}


@pytest.mark.parametrize(
    ("body", "content_type", "code", "said"),
    [
        (b"a=1", "application/json", 415, FORM_TYPE),
        (b"a=1", "", 415, FORM_TYPE),
        (b"a=1&a=2", FORM_TYPE, 400, "twice"),
        (b"a=\xff", FORM_TYPE, 400, "UTF-8"),
        (b"&".join(b"f%d=1" % at for at in range(17)), FORM_TYPE, 400, "16"),
        (b"a=" + b"1" * 200, FORM_TYPE, 413, "199"),
    ],
)
async def test_other_bodies_are_refused(
    body: bytes, content_type: str, code: int, said: str
) -> None:
    with pytest.raises(ApiError, match=said) as refused:
        await read_form(request_of(body, content_type), 199, 1)

    assert refused.value.code == code
