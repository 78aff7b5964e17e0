"""Builds whose base alone has changed: their last image is put on the new base, where that is safe.

In place of the builder, and with the same outcome: an image under the tag of the build's inputs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from upwell.api.build import Build
from upwell.api.meta import ObjectKey
from upwell.api.values.base_changes import BuildRebase, OnBaseChange
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan
from upwell.formats.s2i.contract import generated_labels
from upwell.machine.process import LogSink
from upwell.oci import Digest, InvalidManifestError, Reference
from upwell.oci.rebase.documents import BuildRecord, NotRebasableError
from upwell.oci.rebase.placing import PlacedImage, WrittenBlobs
from upwell.policy.builds.images import BUILDER_IMAGE
from upwell.policy.builds.plan import ResolvedInputs
from upwell.policy.builds.rebase_source import NotRebasedError, RebaseSource, rebase_source
from upwell.policy.rebase.findings import cut, listed
from upwell.policy.rebase.plan import NamedDigest, RebasePlan, RebaseRequest
from upwell.reconcilers.builds.context import config_of
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.reconcilers.builds.planner import pull_error
from upwell.reconcilers.rebase.comparisons import BaseComparisons, ComparisonBounds
from upwell.reconcilers.rebase.planning import LayerScanner, RebasePlanner
from upwell.registry.errors import RegistryError
from upwell.registry.interface import Registry, RequestAccess
from upwell.registry.rebasing.reading import ImageReader

_NOT_REBASED = "NotRebased"
"""Reason of a build that may only be rebased, and cannot be."""
_KEPT_COMPARISONS = 8
_KEPT_BYTES = 96 * 1024 * 1024
"""Memory of comparisons that are kept: two bases of Debian take about ten megabytes."""
_MAX_CONFIG_BYTES = 1024 * 1024
"""Of an image that is rebased; those of applications have some ten thousand bytes."""
_DEFAULT_BOUNDS = ComparisonBounds()
_MAX_MESSAGE = 2000
_MOST_REASONS = 10
"""In the status; the log has some more."""
_MOST_LINES = 50


class RebaseOutput(Protocol):
    """Writer of rebased images into the server's own registry, the tag last."""

    async def write(self, placed: PlacedImage, target: Reference) -> WrittenBlobs:
        """Write an image under a tag; raises RegistryError or BuildError."""
        ...

    async def keep(self, target: Reference, digest: Digest) -> None:
        """Give an image of the repository a tag; raises RegistryError."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedRebase:
    """Rebase that was decided about, and not written yet."""

    outcome: BuildRebase
    lines: tuple[str, ...] = ()
    """Text for the log."""
    plan: RebasePlan | None = None
    """Its target is the tag of the build's inputs; None: the image is to be built."""


class BuildRebases:
    """Rebases of builds; `builds_of` returns the builds of a BuildConfig."""

    def __init__(
        self,
        builds_of: Callable[[ObjectKey], Iterable[Build]],
        registry: Registry,
        mirror: ImageMirror,
        scanner: LayerScanner,
        output: RebaseOutput,
        bounds: ComparisonBounds = _DEFAULT_BOUNDS,
    ) -> None:
        self._builds_of = builds_of
        self._registry = registry
        self._mirror = mirror
        self._scanner = scanner
        self._output = output
        self._bounds = bounds
        self._comparisons = BaseComparisons(_KEPT_COMPARISONS, _KEPT_BYTES)

    async def prepare(
        self, build: Build, inputs: ResolvedInputs, plan: BuildPlan, tagged: str
    ) -> PreparedRebase:
        """Decide about a build, whose images are in the registry; raises BuildError.

        `tagged` is the digest that its output has now. Writes nothing.
        """
        try:
            source = rebase_source(build, inputs, self._builds_of(config_of(build)), tagged)
        except NotRebasedError as error:
            return _refused(BuildRebase(message=str(error)))
        found = BuildRebase(
            image=str(source.image),
            build=source.build,
            base=str(source.base),
        )
        try:
            planned = await self._plan(inputs, plan, source)
        except (NotRebasableError, InvalidManifestError) as error:
            return _refused(found.model_copy(update={"message": str(error)}))
        except RegistryError as error:
            if error.retryable and build.spec.on_base_change == OnBaseChange.REBASE:
                raise pull_error(error) from error
            return _refused(found.model_copy(update={"message": str(error)}))
        findings = [str(finding) for one in planned.platforms for finding in one.findings]
        if findings:
            why = "; ".join(listed(findings, _MOST_REASONS))
            return _refused(found.model_copy(update={"message": why}), findings)
        lines = (
            f"Nothing but the base has changed since build {source.build}.",
            "Its layers depend on nothing that the base update changes: they get the new base.",
            f"Image {found.image}",
            f"Old base {source.base}",
            f"New base {inputs.images.base}",
        )
        return PreparedRebase(found.model_copy(update={"rebased": True}), lines, planned)

    @staticmethod
    def require_build(build: Build, outcome: BuildRebase) -> None:
        """Raise BuildError if a build may only be rebased."""
        if build.spec.on_base_change == OnBaseChange.REBASE:
            config = config_of(build)
            raise BuildError(
                _NOT_REBASED,
                f"its base has changed, and it is only rebased, which is not possible:"
                f" {outcome.message}; `upwell start-build {config.name} -n {build.namespace}`"
                " builds it",
            )

    async def write(self, prepared: PreparedRebase, log: LogSink) -> Digest:
        """Write what was prepared, and return its digest; raises BuildError."""
        if prepared.plan is None:
            raise BuildError("GenericBuildFailed", "there is nothing to write")
        target = prepared.plan.target.name
        digest = prepared.plan.digest
        try:
            if prepared.plan.is_current:
                await self._output.keep(target, digest)
            for placed in prepared.plan.images:
                done = await self._output.write(placed, target)
                log(
                    f"{done.mounted} layers mounted, {done.sent} sent;"
                    f" {done.sent_bytes} bytes\n".encode()
                )
        except RegistryError as error:
            raise BuildError(
                "PushImageToRegistryFailed",
                f"Failed to push the image to the registry. {error}",
                retryable=error.retryable,
            ) from error
        log(f"Pushed {target.with_digest(digest)}\n".encode())
        return digest

    async def _plan(
        self, inputs: ResolvedInputs, plan: BuildPlan, source: RebaseSource
    ) -> RebasePlan:
        base = inputs.images.base
        access = next((one.access for one in inputs.pulls if one.reference == base), None)
        old = await self._mirror.fetch(source.base, access or RequestAccess(), plan.namespace)
        reader = ImageReader(self._registry, max_config_bytes=_MAX_CONFIG_BYTES)
        planner = RebasePlanner(reader, self._scanner, self._comparisons, self._bounds)
        request = RebaseRequest(
            source.image,
            old_base=old,
            new_base=_copy_of_base(inputs, plan),
            target=inputs.push,
            runs_scripts=plan.strategy is BuilderStrategy.SOURCE,
            known_as=_known_as(inputs, plan),
            record=_record(plan),
        )
        return await planner.plan(request)


def _refused(outcome: BuildRebase, reasons: Sequence[str] = ()) -> PreparedRebase:
    """Return that a build is not rebased; of what images name, no more than a person reads."""
    message = cut(outcome.message or "", _MAX_MESSAGE)
    told = listed(tuple(reasons), _MOST_LINES) or [message]
    lines = tuple(f"Not rebased: {why}" for why in told)
    return PreparedRebase(outcome.model_copy(update={"message": message}), lines)


def _copy_of_base(inputs: ResolvedInputs, plan: BuildPlan) -> Reference | None:
    """Return where the registry has the new base."""
    final = next((image.name for image in inputs.images.resolved if image.final), "")
    return plan.images.get(final) or plan.final_image


def _known_as(inputs: ResolvedInputs, plan: BuildPlan) -> NamedDigest | None:
    """Return the new base by the name of its tag, as images that are built record it."""
    base = inputs.images.base
    if base is None or base.digest is None:
        return None
    return NamedDigest(plan.base_name or base.name, base.digest)


def _record(plan: BuildPlan) -> BuildRecord:
    """Return what the builder would write into the image about the build."""
    variables = dict(plan.build_env)
    if plan.strategy is not BuilderStrategy.SOURCE:
        return BuildRecord(plan.labels, variables, plan.annotations)
    builder = str(plan.images[BUILDER_IMAGE])
    for name, _ in plan.env:  # they take the place of what the build says of itself
        variables.pop(name, None)
    return BuildRecord(generated_labels(plan.labels, builder, ""), variables, plan.annotations)
