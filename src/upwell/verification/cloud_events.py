"""Delivers CloudEvents 1.0 over HTTP in structured mode, signed as all that Upwell sends."""

from http import HTTPStatus

from upwell.formats.cloud_events import CONTENT_TYPE, SIGNATURE_HEADER, signature
from upwell.verification.http import HttpClient, ProbeRequest, parse_url, place
from upwell.verification.interface import ProbeError, SignedEvent


async def deliver(client: HttpClient, event: SignedEvent) -> None:
    """Send an event; raises ProbeError unless it was taken."""
    headers = {"Content-Type": CONTENT_TYPE}
    if event.secret:
        headers[SIGNATURE_HEADER] = signature(event.secret, event.body)
    url = parse_url(event.url)
    answer = await client.send(ProbeRequest("POST", url, headers, event.body))
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise ProbeError(f"{place(url.origin())} answered {answer.status}")
