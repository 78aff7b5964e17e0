"""A change hook for Buildbot: a base image that Upwell has imported is a change to build for.

Upwell POSTs CloudEvents to /change_hook/upwell and signs their bodies as GitHub does. An event may
come twice: the second build makes the same image, and changes nothing.
"""

import hmac
import json

from twisted.internet import defer

LIMIT = 1024 * 1024
"""Bytes of an event."""


class UpwellHook:
    """Options: `secret` (bytes), `subject` of the events (NAMESPACE/ImageStream/NAME), `repository`
    and `branch` of the sources to build.
    """

    def __init__(self, _master, options):
        self._options = options

    def getChanges(self, request):
        """Return the changes that an event comes to; raises ValueError, which is answered by 400."""
        body = request.content.read(LIMIT + 1)
        if len(body) > LIMIT:
            raise ValueError(f"an event has at most {LIMIT} bytes")
        signature = request.getHeader("X-Upwell-Signature") or ""
        expected = "sha256=" + hmac.digest(self._options["secret"], body, "sha256").hex()
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise ValueError("the signature is wrong: is the Subscription's secret this one?")
        event = json.loads(body)
        wanted = ("dev.upwell.image.changed", self._options["subject"])
        if (event.get("type"), event.get("subject")) != wanted:
            return defer.succeed(([], None))
        return defer.succeed(([self._change(event)], None))

    def _change(self, event):
        data = event["data"]
        return {
            "author": "upwell",
            "comments": f"base image {data['stream']}:{data['tag']} is {data['new']}",
            "repository": self._options["repository"],
            "branch": self._options["branch"],
            "category": "base-image",
            "properties": {"base_image": data["new"], "event": event["id"]},
        }
