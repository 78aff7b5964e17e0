"""upwell.dev/v1alpha1 RunningWorkload: what a cluster's Pods run, and what that stands on."""

from typing import ClassVar

from pydantic import Field

from upwell.api.columns import running
from upwell.api.meta import Kind, Model, Resource


class ImageAncestor(Model):
    """Tag of an ImageStream that has an image, or one that this stands on."""

    tag: str
    """`NAMESPACE/STREAM:TAG`."""
    digest: str
    """Digest of the tag's that is stood on."""
    newest: str
    """Digest that the tag names now."""
    behind: int = 0
    """Images that the tag got after that one."""
    by: str = ""
    """Source of the knowledge: `tag` (it is the very image), `build` (a Build of ours made it of
    this), or `layers` (its lowest layers are those of this)."""


class WorkloadImage(Model):
    """An image that containers of a workload run, init and ephemeral containers among them."""

    image: str
    """As the Pods name it."""
    digest: str
    pods: int
    nodes: int
    ancestors: tuple[ImageAncestor, ...] = ()
    """The image's own tag, then what it stands on, the nearest first."""
    behind: int | None = None
    """Most images that one of them has got since; None: it is not known."""
    unknown: str | None = None
    """Reason why nothing is known of what it stands on."""


class RunningWorkloadStatus(Model):
    """Images of a workload, by what its Pods' nodes report."""

    workload_kind: str = ""
    workload_name: str = ""
    given: bool = False
    """Upwell sets its images: by triggers, or by a stage of a Pipeline."""
    pods: int = 0
    images: tuple[WorkloadImage, ...] = ()
    left_out: int = 0
    """Images beyond the longest answer."""


class RunningWorkload(Resource):
    """A workload that has Pods, whoever has made it; a view, never stored."""

    KIND: ClassVar[Kind] = Kind(
        "upwell.dev",
        "v1alpha1",
        "RunningWorkload",
        "runningworkloads",
        has_status=False,
        verbs=("list",),
        has_age=False,
        columns=running.RUNNING_WORKLOAD,
    )

    status: RunningWorkloadStatus = Field(default_factory=RunningWorkloadStatus)
