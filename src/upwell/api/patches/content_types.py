"""The content types of patches, each with what it does to a document."""

from collections.abc import Callable, Mapping
from typing import Final

from upwell.api.patches.patch import (
    Document,
    json_patch,
    merge_patch,
    strategic_merge_patch,
)

APPLY: Final = "application/apply-patch+yaml"
"""Server-side apply, which needs to know who asks."""
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"

PATCHES: Final[Mapping[str, Callable[[Document, object], Document]]] = {
    JSON_PATCH: json_patch,
    MERGE_PATCH: merge_patch,
    STRATEGIC_MERGE_PATCH: strategic_merge_patch,
}
