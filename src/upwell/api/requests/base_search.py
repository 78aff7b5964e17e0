"""upwell.dev/v1alpha1 BaseSearch: which known images an image stands on, by its layers."""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, Resource


class BaseSearchSpec(Model):
    """Image whose base is searched for."""

    layers: tuple[str, ...] = ()
    """Digests of its layers, the lowest first (image-spec, manifest.md)."""


class FoundBase(Model):
    """Known image whose layers are the lowest of the one that was asked about."""

    name: str
    """Tag at which its updates are found."""
    image: str
    """The very image, by digest; of several platforms perhaps."""
    layers: int
    own: bool = False
    """True where a stream of the namespace that asks has had it, or a build there was made of what
    its tag has; False: somebody else's word is all that there is for it."""


class BaseSearchStatus(Model):
    """Answer: the image with the most layers first."""

    bases: tuple[FoundBase, ...] = ()


class BaseSearch(Resource):
    """Question of what an image stands on; not kept."""

    KIND: ClassVar[Kind] = Kind(
        "upwell.dev",
        "v1alpha1",
        "BaseSearch",
        "basesearches",
        has_status=False,
        verbs=("create",),
    )

    spec: BaseSearchSpec = Field(default_factory=BaseSearchSpec)
    status: BaseSearchStatus = Field(default_factory=BaseSearchStatus)
