"""Quarantine: a new base image on which several applications fail is kept from all."""

from collections.abc import Iterable, Iterator, Mapping

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline, Quarantine, QuarantineSpec
from upwell.api.promotion import BaseImage, Release
from upwell.oci import Digest
from upwell.policy.builds.triggers import digest_of
from upwell.policy.promotion.components import FindBuild, bases
from upwell.policy.promotion.releases import new_bases


def quarantines(
    pipeline: Pipeline, rejected: Release, releases: Iterable[Release]
) -> Iterator[Quarantine]:
    """Yield a quarantine for each base image that is to blame, now that `rejected` is.

    `releases` are those of all Pipelines. A base is to blame when enough Pipelines have a Release
    that Upwell rejected and for which this base was new: what a person rejects says nothing of it.
    """
    threshold = pipeline.spec.quarantine_after
    everywhere = list(releases)
    if not threshold:
        return
    for base in _blamed(rejected, everywhere):
        failed = [one for one in everywhere if base.digest in _digests_blamed(one, everywhere)]
        where = {(one.namespace, one.spec.pipeline) for one in [*failed, rejected]}
        if len(where) >= threshold:
            yield _quarantine(base, {one.key: one for one in [*failed, rejected]}.values())


def held_by[H](image: str, held: Mapping[str, H], find: FindBuild) -> H | None:
    """Return what keeps `image`, a pull spec with digest, out of builds: itself, or a base of it.

    `held` are found by their digests.
    """
    return next(all_held_by(image, held, find), None)


def all_held_by[H](image: str, held: Mapping[str, H], find: FindBuild) -> Iterator[H]:
    """Yield all that keeps `image` out of builds: what is about itself, and about its bases."""
    if not held:
        return
    digest = digest_of(image)
    if digest in held:
        yield held[digest]
    made_by = find(digest)
    for one in bases(made_by, find) if made_by is not None else ():
        if one.digest in held:
            yield held[one.digest]


def _digests_blamed(release: Release, everywhere: Iterable[Release]) -> set[str]:
    rejection = release.status.rejection
    if rejection is None or rejection.by:
        return set()
    return {base.digest for base in _blamed(release, everywhere)}


def _blamed(release: Release, everywhere: Iterable[Release]) -> tuple[BaseImage, ...]:
    return new_bases(
        release,
        [
            one
            for one in everywhere
            if (one.namespace, one.spec.pipeline) == (release.namespace, release.spec.pipeline)
        ],
    )


def _quarantine(base: BaseImage, failed: Iterable[Release]) -> Quarantine:
    releases = tuple(sorted(f"{one.namespace}/{one.name}" for one in failed))
    return Quarantine(
        metadata=ObjectMeta(name=quarantine_name(base.digest)),
        spec=QuarantineSpec(
            digest=base.digest,
            image=base.image,
            reason=f"{len(releases)} applications failed on it: {', '.join(releases)}",
            releases=releases,
        ),
    )


def quarantine_name(digest: str) -> str:
    """Return the one name of a base image's quarantine: made twice, it is made once."""
    return f"base-{Digest.parse(digest).short}"
