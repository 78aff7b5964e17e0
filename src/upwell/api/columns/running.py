"""Columns of RunningWorkloads."""

from upwell.api.columns.documents import Document, items
from upwell.api.meta import Column, ColumnType


def _images(workload: Document) -> str:
    return ",".join(str(one.get("image")) for one in items(workload, "status", "images"))


def _behind(workload: Document) -> str:
    known = [one.get("behind") for one in items(workload, "status", "images")]
    counts = [count for count in known if isinstance(count, int)]
    return str(max(counts)) if counts else ""


RUNNING_WORKLOAD = (
    Column("KIND", "status.workloadKind"),
    Column("GIVEN", "status.given", ColumnType.BOOLEAN),
    Column("PODS", "status.pods", ColumnType.INTEGER),
    Column("BEHIND", "status.images[*].behind", text=_behind, empty="<unknown>"),
    Column("IMAGES", "status.images[*].image", text=_images, wide=True),
)
