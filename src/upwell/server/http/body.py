"""Bodies of API requests: bounded in size, time and depth, to one document."""

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from upwell.api.codec import decode_part
from upwell.api.manifests import parse_manifests
from upwell.api.meta import Model
from upwell.oci.json_values import has_more_values, holds_unicode
from upwell.server.http import protobuf
from upwell.server.http.bounded_body import drained
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.target import RequestTarget
from upwell.server.http.values import MAX_VALUES, require_bounded, too_many_values

_JSON = "application/json"
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")

type Document = dict[str, Any]


def media_type(request: Request) -> str:
    """Return the Content-Type without its parameters."""
    return request.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return the whole body; raises ApiError when it is too large or too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    break
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive in {seconds:g} seconds") from None
    except ClientDisconnect:
        raise ApiError(400, "the connection closed in the middle of the body") from None
    if len(body) > limit:
        await drained(request)
        raise ApiError(413, f"the body has more than {limit} bytes")
    return bytes(body)


async def read_part[M: Model](
    request: Request, target: RequestTarget, limits: ServerLimits, model: type[M]
) -> M:
    """Return what is asked of a part of an object; an empty body is an object without fields.

    Raises ApiError and InvalidObjectError.
    """
    body = await read_body(request, limits.webhook_bytes, limits.body_seconds)
    document = decode_object(body, media_type(request)) if body.strip() else {}
    return decode_part(model, f"the request to {target.subresource} {target.key}", document)


def decode_object(body: bytes, content_type: str) -> Document:
    """Return the one object that the body holds; raises ApiError."""
    if content_type in _YAML:
        return decode_yaml_object(body)
    if content_type == protobuf.MEDIA_TYPE:
        read = protobuf.decode_protobuf(body)
        require_bounded(read)
        _require_unicode(read)
        return read
    if content_type not in {_JSON, ""}:
        raise ApiError(415, f"cannot read {content_type}: send {_JSON} or {_YAML[0]}")
    document = decode_json(body)
    if not isinstance(document, dict):
        raise ApiError(400, "expected a JSON object")
    return document


def decode_yaml_object(body: bytes) -> Document:
    """Return the one object of a YAML (or JSON) text; raises ApiError."""
    if body.lstrip()[:1] == b"{":
        return decode_object(body, _JSON)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: {error}") from None
    documents = parse_manifests(text, "the body", MAX_VALUES)
    if len(documents) != 1:
        raise ApiError(400, f"expected one object, found {len(documents)}")
    require_bounded(documents[0])
    _require_unicode(documents[0])
    return documents[0]


def decode_json(body: bytes) -> Any:
    """Return the JSON value of the body; raises ApiError."""
    if has_more_values(body, 2 * MAX_VALUES):  # a list has a separator besides its values'
        raise too_many_values()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    require_bounded(value)
    _require_unicode(value, body)
    return value


def _require_unicode(value: Any, raw: bytes | None = None) -> None:
    if not holds_unicode(value, raw):
        raise ApiError(400, "the body has half of a surrogate pair, which is no Unicode")
