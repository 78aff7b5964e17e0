"""Envelopes for tests."""

import json

from upwell.delivery.interface import Envelope


def envelope(number: int | str, subject: str = "shop/ImageStream/base") -> Envelope:
    name = f"event-{number}"
    body = json.dumps({"id": name, "subject": subject, "data": {"message": name}}).encode()
    return Envelope(name, "dev.upwell.image.changed", subject, "info", name, body)
