"""Answers to a change of the base that an image stands on."""

from enum import StrEnum

from upwell.api.meta import Model

ON_BASE_CHANGE_ANNOTATION = "upwell.dev/on-base-change"
"""On a BuildConfig: the answer when an image change trigger of its base fires."""


class OnBaseChange(StrEnum):
    """Answer to a change of the base alone."""

    AUTO = "auto"
    """Put the image on the new base where that is safe, and build it otherwise."""
    REBASE = "rebase"
    """Put it on the new base where that is safe, and build nothing."""
    REBUILD = "rebuild"
    """Build it."""
    NOTIFY = "notify"
    """Do neither, and say that the base has changed."""


class BuildRebase(Model):
    """Upwell's own: why a build has put an image on another base, or has not."""

    rebased: bool = False
    image: str | None = None
    """The image that was, or would have been, put on the new base, by digest."""
    build: str | None = None
    """The build that had made it."""
    base: str | None = None
    """The base that it stood on, by digest."""
    message: str | None = None
    """The reasons against it."""
