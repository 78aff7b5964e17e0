"""upwell.dev/v1alpha1 ImpactPlan: what a change of an image would reach; asked by being created."""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, Resource, Time


class ImpactPlanSpec(Model):
    """Change that is asked about: of an image, or that of a Wave."""

    image: str = ""
    """Image of a registry, or `[NAMESPACE/]STREAM:TAG`."""
    digest: str = ""
    """Digest that it changes to; empty: a new one, which nothing has yet."""
    wave: str = ""
    """Wave whose change it is, in place of `image` and `digest`."""
    builds_at_once: int | None = None
    """Builds that run at a time, for the estimate; None: as many as ever did."""


class PlannedSource(Model):
    """Object or image by which the change comes."""

    name: str
    role: str
    automatic: bool
    hidden: bool = False
    """It comes by way of others in between, which the client may not read."""


class PlannedAnswer(Model):
    """Answer of a BuildConfig to a change of its base."""

    answer: str
    rebase: str
    """`ifSafe`: the layers decide when the image is there; or `no`."""
    against: str | None = None
    registry: str | None = None
    """Registry other than the server's own that the image is rebased in: what it will not mount of
    the base is sent there."""


class PlannedObstacle(Model):
    """Reason why the change does not go on at an object by itself, now."""

    reason: str
    until: Time | None = None
    stops: bool = True
    """True where it lasts until a person acts."""


class PlannedObject(Model):
    """One object that the change reaches."""

    name: str
    kind: str
    action: str
    level: int
    on_base_change: PlannedAnswer | None = None
    sources: tuple[PlannedSource, ...] = Field(default=(), alias="from")
    after: tuple[str, ...] = ()
    """Workloads of earlier stages, which are verified before."""
    stage: str | None = None
    by_itself: bool = True
    done: bool = False
    behind: int = 0
    first: bool = False
    """It goes first, and others wait until it is healthy."""
    obstacles: tuple[PlannedObstacle, ...] = ()
    ends_after_seconds: int | None = None


class PlannedCanary(Model):
    """Rule of the server for the workloads that go first."""

    share: float
    healthy_for_seconds: int
    workloads: int
    """Workloads that go first, those that the client may not read among them."""


class PlanSummary(Model):
    """Counts of what is to be done, those that the client may not read among them."""

    builds: int = 0
    rebased_if_safe: int = 0
    levels: int = 0
    workloads: int = 0
    not_by_itself: int = 0
    marked: int = 0
    """Objects with an obstacle that lasts until a person acts."""
    seconds: int | None = None
    """Estimated time from the imports on."""
    guessed: int = 0
    unknown: int = 0
    builds_at_once: int = 1


class HiddenObjects(Model):
    """Counts of objects that the change reaches, and the client may not read."""

    builds: int = 0
    workloads: int = 0
    tags: int = 0


class ImpactPlanStatus(Model):
    """Plan of a change: objects in order, each after those that it comes from."""

    images: tuple[str, ...] = ()
    """Image that changes; empty: nothing that the client may read stands on it."""
    image_kind: str = ""
    """`DockerImage` or `ImageStreamTag`."""
    digest: str | None = None
    steps: tuple[PlannedObject, ...] = ()
    left_out: int = 0
    """Objects beyond the longest answer; they are counted in the summary."""
    hidden: HiddenObjects = Field(default_factory=HiddenObjects)
    canary: PlannedCanary | None = None
    """None: all go at once."""
    summary: PlanSummary = Field(default_factory=PlanSummary)


class ImpactPlan(Resource):
    """Question of what a change of an image would reach; not kept."""

    KIND: ClassVar[Kind] = Kind(
        "upwell.dev",
        "v1alpha1",
        "ImpactPlan",
        "impactplans",
        has_status=False,
        verbs=("create",),
    )

    spec: ImpactPlanSpec = Field(default_factory=ImpactPlanSpec)
    status: ImpactPlanStatus = Field(default_factory=ImpactPlanStatus)
