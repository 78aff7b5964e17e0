"""The image that a build can put on its new base: that of an earlier build of all the same inputs.

Equal inputs are found by the identity of builds: with the base of the earlier build in the place of
the new one, this build is that one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from upwell.api.builds.build import Build, BuildPhase, ResolvedImage
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import parse
from upwell.oci import Digest, InvalidDigestError, Reference
from upwell.policy.builds.base_changes import output_elsewhere, rebase_obstacle
from upwell.policy.builds.identity import inputs_hash
from upwell.policy.builds.images import FINAL_IMAGE
from upwell.policy.builds.objects import object_versions
from upwell.policy.builds.plan import ResolvedInputs
from upwell.policy.builds.run_policy import number_of


class NotRebasedError(Exception):
    """The build's image cannot be put on its new base; the message goes on after a colon."""


@dataclass(frozen=True, slots=True)
class RebaseSource:
    """An image whose own layers are those that the build would make."""

    build: str
    """The build that made it."""
    image: Reference
    """Pinned, where the outcome goes too."""
    base: Reference
    """The base that it stands on, pinned."""
    digest: Digest
    """Of the image."""


def rebase_source(
    build: Build, inputs: ResolvedInputs, builds: Iterable[Build], tagged: str
) -> RebaseSource:
    """Return what `build` can put on its new base; raises NotRebasedError.

    `builds` are those of its BuildConfig; `tagged` is the digest that its output has now.
    """
    final = _final(inputs.images.resolved)
    if final is None:
        raise NotRebasedError("its image stands on no other")
    _require_rebasable(build, inputs, final)
    if inputs.push is None:
        raise NotRebasedError("its result goes nowhere")
    done = sorted(filter(_is_done, builds), key=number_of, reverse=True)
    for earlier in done:
        base = _final(earlier.status.images)
        digest = _result(earlier)
        if base is None or digest is None or _pin(base) == _pin(final):
            continue
        if _identity(build, inputs, final, base) != earlier.status.inputs:
            continue
        if str(digest) != tagged and not _was_decided(build, earlier):
            raise NotRebasedError(
                f"its output names {tagged or 'nothing'}, which is not what build"
                f" {earlier.name} has made of the same source"
            )
        image = inputs.push.with_digest(digest)
        return RebaseSource(earlier.name, image, Reference.parse(base.reference), digest)
    raise NotRebasedError(_news(inputs, done, final))


def _was_decided(build: Build, earlier: Build) -> bool:
    """Return True if a try that was cut off may have moved a tag elsewhere to the outcome.

    In the server's own registry that has a tag of its own, by which it is found.
    """
    found = build.status.rebase
    is_elsewhere = output_elsewhere(build.spec) is not None
    return is_elsewhere and found is not None and found.rebased and found.build == earlier.name


def _require_rebasable(build: Build, inputs: ResolvedInputs, final: ResolvedImage) -> None:
    if why := rebase_obstacle(build.spec):
        raise NotRebasedError(why)
    if build.spec.strategy.docker_strategy is not None and final.name != FINAL_IMAGE:
        arguments = {one.name: one.value for one in build.spec.strategy.docker_strategy.build_args}
        try:
            dockerfile = parse(inputs.source.dockerfile or "", arguments)
        except DockerfileError as error:
            raise NotRebasedError(str(error)) from error
        if dockerfile.shares_final_base:
            raise NotRebasedError(f"another stage of its Dockerfile takes from {final.name} too")


def _is_done(build: Build) -> bool:
    return build.status.phase is BuildPhase.COMPLETE


def _final(images: Sequence[ResolvedImage]) -> ResolvedImage | None:
    return next((image for image in images if image.final), None)


def _pin(image: ResolvedImage) -> str:
    return image.reference.partition("@")[2]


def _result(build: Build) -> Digest | None:
    output = build.status.output
    try:
        return Digest.parse(output.to.image_digest) if output and output.to else None
    except InvalidDigestError:
        return None


def _identity(
    build: Build, inputs: ResolvedInputs, final: ResolvedImage, base: ResolvedImage
) -> str:
    """Return the identity that the build would have on another base."""
    pins = {**inputs.images.pins(), final.name: base.reference}
    commit = inputs.source.commit.commit if inputs.source.commit else ""
    return inputs_hash(build.spec, commit, pins, object_versions(inputs.objects))


def _news(inputs: ResolvedInputs, done: Sequence[Build], final: ResolvedImage) -> str:
    """Say in what the build differs from the last one, besides its base."""
    if not done:
        return "no earlier build of it is kept"
    return f"more than its base has changed since build {done[0].name}" + "".join(
        f": {one}" for one in _differences(inputs, done[0], final)
    )


def _differences(inputs: ResolvedInputs, last: Build, final: ResolvedImage) -> Iterator[str]:
    commit = inputs.source.commit.commit if inputs.source.commit else ""
    before = last.revision.commit or ""
    if commit != before:
        yield f"its source is at {commit[:12] or 'none'}, and was at {before[:12] or 'none'}"
    was = {image.name: _pin(image) for image in last.status.images}
    for image in inputs.images.resolved:
        if image.name != final.name and _pin(image) != was.get(image.name):
            yield f"{image.name} is {_pin(image)}"
