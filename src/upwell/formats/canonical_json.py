"""The one JSON text of equal values (RFC 8259), for hashes and for bodies that are sent again.

Documents of sigstore have a form of their own (`formats/sigstore/documents`).
"""

import json
from collections.abc import Mapping


def canonical_json(document: Mapping[str, object]) -> bytes:
    """Return a text that equal documents share: keys sorted, no spaces, ASCII alone.

    Hashes of it are kept: it is the same in every version of Upwell.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
