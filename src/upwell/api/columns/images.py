"""Columns of ImageStreams, their tags, and Images."""

from upwell.api.columns.documents import Document, items, part
from upwell.api.meta import Column, ColumnType

_WIDTH = 40
_MARGIN = _WIDTH // 4


def _repository(stream: Document) -> str:
    status = part(stream, "status")
    found = (
        status.get("publicDockerImageRepository")
        or part(stream, "spec").get("dockerImageRepository")
        or status.get("dockerImageRepository")
    )
    return str(found or "")


def _tags(stream: Document) -> str:
    """Return as many tags as fit, the one that was written last first."""
    histories = sorted(
        ((_newest(one), str(one.get("tag"))) for one in items(stream, "status", "tags")),
        key=lambda pair: pair[0],
        reverse=True,
    )
    tags = [tag for _, tag in histories]
    shown: list[str] = []
    left = _WIDTH
    for tag in tags:
        left -= len(tag) + 1
        has_room = left >= 0 or (left >= -_MARGIN and left + len(tag) > _MARGIN)
        if shown and not has_room:
            break
        shown.append(tag)
    more = len(tags) - len(shown)
    return f"{','.join(shown)} + {more} more..." if more else ",".join(shown)


def _newest(history: Document) -> str:
    events = items(history, "items")
    return str(events[0].get("created") or "") if events else ""


def _updated(stream: Document) -> str:
    return max(map(_newest, items(stream, "status", "tags")), default="")


IMAGE_STREAM = (
    Column("IMAGE REPOSITORY", "status.dockerImageRepository", text=_repository, empty=""),
    Column("TAGS", "status.tags[*].tag", text=_tags, empty=""),
    Column("UPDATED", "status.tags[*].items[0].created", ColumnType.AGO, text=_updated, empty=""),
    Column("AGE", "metadata.creationTimestamp", ColumnType.DATE, wide=True),
)
_REFERENCE = "image.dockerImageReference"
_UPDATED = Column("UPDATED", "metadata.creationTimestamp", ColumnType.AGO, empty="")
_IMAGE_NAME = Column("IMAGE NAME", "image.metadata.name", wide=True)
IMAGE = (Column("IMAGE REFERENCE", "dockerImageReference"),)
IMAGE_STREAM_TAG = (Column("IMAGE REFERENCE", _REFERENCE), _UPDATED, _IMAGE_NAME)
IMAGE_STREAM_IMAGE = (_UPDATED, Column("IMAGE REFERENCE", _REFERENCE, wide=True), _IMAGE_NAME)
