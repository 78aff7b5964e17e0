"""upwell.dev/v1alpha1 Prune: asks what may be removed, or for its removal; only ever created."""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, Resource, Scope
from upwell.api.pipeline import GROUP


class PruneSpec(Model):
    """Rules for what is kept."""

    confirm: bool = False
    """Remove it; otherwise only say what would go."""
    leftovers: bool = False
    """Only what interrupted work left; `confirm` removes then what is unexplained as well."""
    keep_tag_revisions: int | None = Field(default=None, ge=1)
    keep_younger_than_seconds: float | None = Field(default=None, ge=0)


class PrunedItem(Model):
    """One thing that goes."""

    what: str
    """`image`, `tag`, `tag revision`, `Image`, `package list`, `build log`, …"""
    name: str
    reason: str = ""
    bytes: int = 0


class KeptImage(Model):
    """A stored image that stays, and what keeps it."""

    image: str
    reason: str


class PruneStatus(Model):
    """Items that go, the largest first, and those that stay."""

    items: tuple[PrunedItem, ...] = ()
    kept: tuple[KeptImage, ...] = ()
    bytes: int = 0
    """Bytes that the items free together."""
    unexplained: tuple[PrunedItem, ...] = ()
    """Leftovers whose owners are neither there nor known to be deleted: nothing removes them but
    a request for `leftovers` that confirms it."""
    left_out: str | None = None
    """Storage that was not pruned, or not all of it, each with the reason: images that another
    registry's retention removes, and what failed; None: there is none."""
    more: bool = False
    """The limit of one run was reached: ask again."""


class Prune(Resource):
    """One run of the garbage collection."""

    KIND: ClassVar[Kind] = Kind(GROUP, "v1alpha1", "Prune", "prunes", scope=Scope.CLUSTER)

    spec: PruneSpec = Field(default_factory=PruneSpec)
    status: PruneStatus = Field(default_factory=PruneStatus)
