"""CloudEvents 1.0 in their JSON form, and the signature of their bodies."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upwell.api.meta import format_time
from upwell.api.subscription import ContentType, Severity

CONTENT_TYPE = ContentType.CLOUD_EVENTS.value
SIGNATURE_HEADER = "X-Upwell-Signature"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event. `subject` names the object: events of one subject are sent in order."""

    id: str
    type: str
    subject: str
    time: datetime
    severity: Severity
    message: str
    details: Mapping[str, object] = field(default_factory=dict)
    told_by: str = ""
    """Type of another event of the subject that tells this one, too; not part of the JSON form."""

    def encode(self, source: str) -> bytes:
        """Return the JSON form (CloudEvents JSON Event Format 1.0, 3); equal events, equal bytes.

        `severity` is an extension attribute; `source` is the URL of the server that tells.
        """
        document: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": source,
            "type": self.type,
            "subject": self.subject,
            "time": format_time(self.time),
            "severity": self.severity.value,
            "datacontenttype": "application/json",
            "data": {"message": self.message, **self.details},
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: bytes, body: bytes) -> str:
    """Return what signs a body, as GitHub signs its webhooks: `sha256=` and the HMAC in hex."""
    return f"sha256={hmac.digest(secret, body, 'sha256').hex()}"
