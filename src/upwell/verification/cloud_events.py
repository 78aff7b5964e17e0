"""Delivers CloudEvents 1.0 over HTTP in structured mode, signed as GitHub signs its webhooks."""

import hashlib
import hmac
from http import HTTPStatus

from upwell.verification.http import HttpClient, Request, parse_url, place
from upwell.verification.interface import Event, ProbeError

SIGNATURE_HEADER = "X-Upwell-Signature"
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"


def signature(secret: bytes, body: bytes) -> str:
    """Return the header's value: `sha256=` and the HMAC of the body in hex."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


async def deliver(client: HttpClient, event: Event) -> None:
    """Send an event; raises ProbeError unless it was taken."""
    headers = {"Content-Type": CONTENT_TYPE}
    if event.secret:
        headers[SIGNATURE_HEADER] = signature(event.secret, event.body)
    url = parse_url(event.url)
    answer = await client.send(Request("POST", url, headers, event.body))
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise ProbeError(f"{place(url.origin())} answered {answer.status}")
