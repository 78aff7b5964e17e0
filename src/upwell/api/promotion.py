"""upwell.dev/v1alpha1: what moves through the stages, each move, and what a base change causes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, Condition, Kind, Model, Resource, Time
from upwell.api.pipeline import GROUP, ClusterPhase, ClusterProgress

PIPELINE_LABEL = "upwell.dev/pipeline"
"""On a Release and a Promotion: the Pipeline's name."""


class BaseImage(Model):
    """An image that another was built on."""

    image: str
    """Its name, for people."""
    digest: str


class Component(Model):
    """One image of a Release, and where it comes from."""

    name: str
    image: str
    """Pull spec with digest."""
    build: str = ""
    """`NAMESPACE/NAME` of the Build that made it; empty for one from outside."""
    revision: str = ""
    """The commit that it was built from."""
    bases: tuple[BaseImage, ...] = ()


class ReleaseSpec(Model):
    """Digests that move as one; never changed."""

    pipeline: str = ""
    number: int = 0
    """Counts the Releases of a Pipeline: the higher is the newer."""
    components: tuple[Component, ...] = ()
    cause: str = ""
    """Cause of the change, for people."""


class ReleasePhase(StrEnum):
    """Phase of a Release."""

    WAITING = "Waiting"
    """It has stages before it; the message says what it waits for."""
    MOVING = "Moving"
    PROMOTED = "Promoted"
    """It is verified in every last stage."""
    REJECTED = "Rejected"
    SUPERSEDED = "Superseded"
    """A newer one went, or goes, in its place."""

    @property
    def is_final(self) -> bool:
        """True if automation moves it no more."""
        return self in {self.PROMOTED, self.REJECTED, self.SUPERSEDED}


class Rejection(Model):
    """Rejection of a Release, which must not go on."""

    reason: str
    by: str = ""
    """A person's name; empty when Upwell found it."""
    stage: str = ""
    at: Time


class ReleaseStage(Model):
    """A stage in which a Release was verified."""

    name: str
    at: Time
    promotion: str = ""
    """The Promotion that holds the evidence."""


BY_HAND_ANNOTATION = "upwell.dev/made-by-hand"
"""On a Release that a client has written, and not Upwell of what its Pipeline's components name.
Kept by the server alone."""


class ReleaseStatus(Model):
    """Status of a Release."""

    phase: ReleasePhase = ReleasePhase.WAITING
    message: str = ""
    rejection: Rejection | None = None
    restored: Time | None = None
    """Time at which a person lifted a rejection: what went wrong before counts no more."""
    verified: tuple[ReleaseStage, ...] = ()
    """In the order in which they came; a failed re-verification takes its stage out."""
    conditions: tuple[Condition, ...] = ()


class Release(Resource):
    """An immutable set of digests, promoted as one."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Release",
        "releases",
        ("rel",),
        columns=(
            Column("PIPELINE", "spec.pipeline"),
            Column("PHASE", "status.phase"),
            Column("VERIFIED", "status.verified[*].name"),
            Column("CAUSE", "spec.cause"),
            Column("IMAGES", "spec.components[*].image", wide=True),
            Column("MESSAGE", "status.message", wide=True),
        ),
    )

    spec: ReleaseSpec = Field(default_factory=ReleaseSpec)
    status: ReleaseStatus = Field(default_factory=ReleaseStatus)


class Purpose(StrEnum):
    """Purpose of a Promotion."""

    PROMOTE = "Promote"
    ROLL_BACK = "RollBack"
    """A person puts an earlier Release back: neither verified nor approved again."""
    VERIFY = "Verify"
    """Purpose to verify again what serves; nothing is rolled out."""


class PromotionSpec(Model):
    """A Release into a stage; never changed."""

    pipeline: str = ""
    release: str = ""
    stage: str = ""
    purpose: Purpose = Purpose.PROMOTE
    requested_by: str = ""
    """A person's or token's name; empty when Upwell decided it."""
    reason: str = ""
    bypass: str = ""
    """An emergency's reason: approval, windows, freezes and the order of stages do not hold it."""
    past_image_policies: tuple[str, ...] = ()
    """Digests that image policies do not keep out: an emergency's, set by the server alone."""
    hold: str = ""
    """The hold that the request has put on the stage: that one does not keep it from beginning."""


class PromotionPhase(StrEnum):
    """Phase of a Promotion."""

    WAITING = "Waiting"
    """For approval, a window, or the end of a freeze; nothing is changed yet."""
    ROLLING_OUT = "RollingOut"
    VERIFYING = "Verifying"
    """Checks and soak."""
    ROLLING_BACK = "RollingBack"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUPERSEDED = "Superseded"
    REJECTED = "Rejected"
    """Not approved, or its Release was rejected before it began."""

    @property
    def is_final(self) -> bool:
        """True if nothing more happens."""
        return self in {self.SUCCEEDED, self.FAILED, self.SUPERSEDED, self.REJECTED}


class Vote(Model):
    """Vote of a person on a Promotion that needs approval."""

    by: str
    approved: bool
    at: Time
    comment: str = ""
    override: str = ""
    """Reason for which it counts although its author asked for the promotion, or wrote it."""
    groups: tuple[str, ...] = ()
    """Groups of the person, of those that were approvers of the stage."""
    link_by: str = ""
    """Person who made the link by which it was given, where nothing else shows whose it is."""
    pipeline: str = ""
    """Uid of the Pipeline that it is given under: it counts under no other of the same name."""
    generation: int = 0
    """Generation of that Pipeline that it agrees to, as the vote of somebody without a part in it;
    0: it is none."""


class ApprovalLink(Model):
    """A link by which a person without a token votes; the link itself is known to its holder."""

    id: str
    person: str
    """Name that the vote has."""
    by: str = ""
    """Person who asked for it."""
    created: Time
    expires: Time
    revoked: Time | None = None


class CheckPhase(StrEnum):
    """Phase of an attempt of a check."""

    PENDING = "Pending"
    RUNNING = "Running"
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """It gave no answer that can be trusted: never taken for a pass."""

    @property
    def is_final(self) -> bool:
        """True if the attempt has ended."""
        return self in {self.PASSED, self.FAILED, self.INCONCLUSIVE}


class Evidence(Model):
    """Evidence of how a check went: content by digest, or a link."""

    name: str
    digest: str = ""
    size: int = 0
    """Bytes."""
    url: str = ""


class Sample(Model):
    """One value of a metric check; None when the query gave none."""

    at: Time
    value: float | None = None
    good: bool = False


class CheckResult(Model):
    """A check of a Promotion, at its newest attempt."""

    name: str
    phase: CheckPhase = CheckPhase.PENDING
    attempt: int = 1
    started: Time | None = None
    first_started: Time | None = None
    """Start of the first run of an attempt that runs again: something was wrong beside it."""
    ended_instance_excused: bool = False
    """A run of this attempt failed while an instance ended by itself: the next time that counts."""
    ended: Time | None = None
    """While a further attempt has not begun: when the one before it ended."""
    message: str = ""
    by: str = ""
    """Author of the verdict, when it came from outside."""
    run: str = ""
    """The run of a CI that gave it, as the CI names it."""
    flaky: bool = False
    """It passed, but not at the first attempt."""
    evidence: tuple[Evidence, ...] = ()
    samples: tuple[Sample, ...] = ()
    """Of a metric check, the newest; counts are kept apart."""
    bad_samples: int = 0


class Step(Model):
    """One step of a Promotion: Images, RollOut, Review, Verify, RollBack."""

    name: str
    started: Time
    ended: Time | None = None
    message: str = ""


class PromotionStatus(Model):
    """Status of a Promotion, and its evidence."""

    observed_generation: int | None = None
    phase: PromotionPhase = PromotionPhase.WAITING
    message: str = ""
    """Reason of its wait, or of its end."""
    until: Time | None = None
    """Time at which that is over, if it is known."""
    previous: str = ""
    """The Release that served before."""
    last_good: str = ""
    """The Release that a failure goes back to."""
    votes: tuple[Vote, ...] = ()
    links: tuple[ApprovalLink, ...] = ()
    """Approval links, the newest last."""
    waiting_since: Time | None = None
    started: Time | None = None
    """Time at which the first workload was changed."""
    serving_since: Time | None = None
    """Time at which every rollout was complete: the soak begins here."""
    soaked_seconds: float = 0
    """Part of the soak that was seen to go well: none while something was wrong, nor unwatched."""
    tested: tuple[str, ...] = ()
    """Digests that instances of the stage ran when its Release was verified."""
    ended: Time | None = None
    steps: tuple[Step, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    commit: str = ""
    """The commit that holds the digests, of a stage that is kept in git."""
    clusters: tuple[ClusterProgress, ...] = ()
    """Of a stage on clusters, how each of them stands."""
    conditions: tuple[Condition, ...] = ()


def _checks(promotion: Mapping[str, Any]) -> str:
    """Return how each check stands: `smoke=Passed,latency=Running`."""
    checks = (promotion.get("status") or {}).get("checks") or []
    return ",".join(f"{one['name']}={one.get('phase', CheckPhase.PENDING)}" for one in checks)


def _clusters(promotion: Mapping[str, Any]) -> str:
    """Return how each cluster stands: `east=Complete,west=Away`."""
    clusters = (promotion.get("status") or {}).get("clusters") or []
    return ",".join(f"{one['name']}={one.get('phase', ClusterPhase.WAITING)}" for one in clusters)


APPROVED = "Approved"
"""Condition of a Promotion that needs approval: False while it waits for that alone."""


class Promotion(Resource):
    """One Release into one stage: its steps, results and evidence."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Promotion",
        "promotions",
        ("promo",),
        columns=(
            Column("RELEASE", "spec.release"),
            Column("STAGE", "spec.stage"),
            Column("PHASE", "status.phase"),
            Column("BY", "spec.requestedBy"),
            Column("CHECKS", 'status.checks[?(@.phase!="Passed")].phase', wide=True, text=_checks),
            Column(
                "CLUSTERS",
                'status.clusters[?(@.phase!="Complete")].phase',
                wide=True,
                text=_clusters,
            ),
            Column("MESSAGE", "status.message", wide=True),
        ),
    )

    spec: PromotionSpec = Field(default_factory=PromotionSpec)
    status: PromotionStatus = Field(default_factory=PromotionStatus)
