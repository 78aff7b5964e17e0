"""Rules of retention: the server's own, and those that a request asks for; pure."""

from dataclasses import dataclass, replace
from datetime import timedelta

from upwell.api.requests.prune import PruneSpec

DEFAULT_TAG_REVISIONS = 3
DEFAULT_GRACE = timedelta(hours=24)
DEFAULT_PULLED_GRACE = timedelta(days=7)
RECORD_NAME = "upwell-pruning"
"""The ConfigMap in the system namespace that says when was pruned last."""
MINIMUM_GRACE = timedelta(minutes=10)
"""A push needs a while between its first blob and its tag."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for what is kept besides what is named."""

    keep_tag_revisions: int = DEFAULT_TAG_REVISIONS
    """Digests of each tag of an ImageStream, the newest first."""
    keep_younger_than: timedelta = DEFAULT_GRACE
    keep_pulled_images: timedelta | None = DEFAULT_PULLED_GRACE
    """Time since the last use of an image that was pulled for workloads; None: it stays."""

    @property
    def when_space_is_short(self) -> "Rules":
        """Rules by which what can be pulled again stays no longer than all else."""
        if self.keep_pulled_images is None:
            return self
        return replace(
            self, keep_pulled_images=min(self.keep_pulled_images, self.keep_younger_than)
        )


class PruningRefusedError(Exception):
    """It cannot be known what is needed, so nothing is removed; the message says what to do."""


class InvalidRulesError(Exception):
    """The rules that somebody asks for would take what is still needed."""


def rules_of(spec: PruneSpec, defaults: Rules) -> Rules:
    """Return the rules that a request asks for; raises InvalidRulesError."""
    revisions, seconds = spec.keep_tag_revisions, spec.keep_younger_than_seconds
    grace = defaults.keep_younger_than if seconds is None else timedelta(seconds=seconds)
    if grace < MINIMUM_GRACE:
        shortest = f"{MINIMUM_GRACE.total_seconds() / 60:g} minutes"
        raise InvalidRulesError(
            f"keepYoungerThanSeconds: must be at least {shortest}, to protect running"
            " pushes and builds"
        )
    asked = seconds is not None and defaults.keep_pulled_images is not None
    return Rules(
        defaults.keep_tag_revisions if revisions is None else revisions,
        grace,
        grace if asked else defaults.keep_pulled_images,
    )
