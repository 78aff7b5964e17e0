"""The images of a Release as a stage names them."""

from upwell.api.pipeline import Stage
from upwell.api.promotion import Release
from upwell.oci import Reference


def stage_images(release: Release, stage: Stage) -> dict[str, str]:
    """Return component -> pull spec with digest, in the stage's mirror if it has one.

    Raises InvalidReferenceError.
    """
    return {
        one.name: str(mirrored(Reference.parse(one.image), stage.mirror))
        for one in release.spec.components
    }


def mirrored(image: Reference, prefix: str | None) -> Reference:
    """Return where a mirror has `image`: its repository below the prefix, the digest kept."""
    if not prefix or image.digest is None:
        return image
    goal = Reference.parse(f"{prefix.rstrip('/')}/{image.repository}")
    return goal.with_digest(image.digest)
