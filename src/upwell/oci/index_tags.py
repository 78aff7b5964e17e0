"""Tags in a mirror that say which stored manifest an upstream index means here.

A mirror holds the manifest of one platform under its own digest. The tag remembers the index that
led to it: so the index is fetched once, and a manifest that is named by its index alone can be told
to be in use.
"""

import re

from upwell.oci import Digest, Platform

_TAG = re.compile(r"index-(?P<hex>[0-9a-f]{64})-[a-z0-9]+", re.ASCII)
_ALGORITHM = "sha256"
"""The hex digits of longer digests do not fit into a tag."""


def index_tag(index: Digest, platform: Platform) -> str | None:
    """Return the tag that stands for an index on a platform; None: there is none for it."""
    tag = f"index-{index.hex}-{platform.os}{platform.architecture}{platform.variant}"
    return tag if index.algorithm == _ALGORITHM and _TAG.fullmatch(tag) else None


def index_of_tag(tag: str) -> Digest | None:
    """Return the index that a tag stands for; None: it is another kind of tag."""
    match = _TAG.fullmatch(tag)
    return Digest(_ALGORITHM, match["hex"]) if match else None
