"""upwell.dev/v1alpha1: stages, what moves through them, and what one base image change sets off."""

from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, Condition, Kind, Model, Resource

GROUP = "upwell.dev"


class Stage(Model):
    """One stage of a Pipeline."""

    name: str
    namespace: str | None = None
    workloads: tuple[dict[str, Any], ...] = ()
    after: tuple[str, ...] = ()


class PipelineSpec(Model):
    """Ordered stages."""

    stages: tuple[Stage, ...] = ()


class ConditionedStatus(Model):
    """A status that is all conditions."""

    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()


class Pipeline(Resource):
    """The way of an application to production."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Pipeline",
        "pipelines",
        ("pl",),
        columns=(Column("STAGES", "spec.stages[*].name"),),
    )

    spec: PipelineSpec = Field(default_factory=PipelineSpec)
    status: ConditionedStatus = Field(default_factory=ConditionedStatus)


class Component(Model):
    """One image of a Release."""

    name: str
    image: str
    """Pull spec with digest."""


class ReleaseSpec(Model):
    """Digests that move as one."""

    pipeline: str = ""
    components: tuple[Component, ...] = ()


class Release(Resource):
    """An immutable set of digests."""

    KIND: ClassVar[Kind] = Kind(GROUP, "v1alpha1", "Release", "releases", ("rel",))

    spec: ReleaseSpec = Field(default_factory=ReleaseSpec)
    status: ConditionedStatus = Field(default_factory=ConditionedStatus)


class PromotionSpec(Model):
    """A Release into a stage."""

    pipeline: str = ""
    release: str = ""
    stage: str = ""


class Promotion(Resource):
    """One Release into one stage."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Promotion",
        "promotions",
        ("promo",),
        columns=(Column("RELEASE", "spec.release"), Column("STAGE", "spec.stage")),
    )

    spec: PromotionSpec = Field(default_factory=PromotionSpec)
    status: ConditionedStatus = Field(default_factory=ConditionedStatus)


class BaseChange(Model):
    """A base image's old and new digest."""

    image: str
    old: str = ""
    new: str


class WaveSpec(Model):
    """The changes that a Wave carries."""

    changes: tuple[BaseChange, ...] = ()


class Wave(Resource):
    """One change of base images and all that follows from it."""

    KIND: ClassVar[Kind] = Kind(GROUP, "v1alpha1", "Wave", "waves")

    spec: WaveSpec = Field(default_factory=WaveSpec)
    status: ConditionedStatus = Field(default_factory=ConditionedStatus)
