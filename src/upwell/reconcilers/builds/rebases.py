"""Builds whose base alone has changed: their last image is put on the new base, where that is safe.

In place of the builder, and with the same outcome: an image under the tag of the build's inputs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from upwell.api.builds.build import Build
from upwell.api.meta import ObjectKey
from upwell.api.values.base_changes import BuildRebase, OnBaseChange
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan
from upwell.formats.s2i.contract import generated_labels
from upwell.machine.process import LogSink
from upwell.oci import Digest, InvalidManifestError, Reference
from upwell.oci.rebase.documents import BuildRecord, NotRebasableError
from upwell.oci.rebase.placing import RebaseTarget
from upwell.policy.builds.failures import NOT_REBASED
from upwell.policy.builds.images import BUILDER_IMAGE
from upwell.policy.builds.plan import ResolvedInputs
from upwell.policy.builds.rebase_source import NotRebasedError, RebaseSource, rebase_source
from upwell.policy.rebase.findings import cut, listed
from upwell.policy.rebase.plan import NamedDigest
from upwell.reconcilers.builds.context import config_of
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.reconcilers.builds.planner import pull_error
from upwell.reconcilers.builds.rebase_outputs import OutputElsewhere, RebaseOutputs
from upwell.reconcilers.rebase.comparing import (
    ComparedRebase,
    FactScanner,
    RebaseBounds,
    RebaseComparer,
    RebaseComparison,
)
from upwell.registry.errors import RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Registry

_DEFAULT_BOUNDS = RebaseBounds()
_MAX_MESSAGE = 2000
_MOST_REASONS = 10
"""In the status; the log has some more."""
_MOST_LINES = 50


@dataclass(frozen=True, slots=True)
class PreparedRebase:
    """Rebase that was decided about, and not written yet."""

    outcome: BuildRebase
    lines: tuple[str, ...] = ()
    """Text for the log."""
    compared: ComparedRebase | None = None
    """None: the image is to be built."""
    target: RebaseTarget | None = None
    """Tag of the build's inputs; that of the output, where it is elsewhere."""
    elsewhere: OutputElsewhere | None = None
    """Output that is not in the server's own registry."""


class BuildRebases:
    """Rebases of builds; `builds_of` returns the builds of a BuildConfig."""

    def __init__(
        self,
        builds_of: Callable[[ObjectKey], Iterable[Build]],
        registry: Registry,
        mirror: ImageMirror,
        scanner: FactScanner,
        outputs: RebaseOutputs,
        bounds: RebaseBounds = _DEFAULT_BOUNDS,
    ) -> None:
        self._builds_of = builds_of
        self._mirror = mirror
        self._outputs = outputs
        self._comparer = RebaseComparer(registry, scanner, bounds)

    async def prepare(
        self, build: Build, inputs: ResolvedInputs, plan: BuildPlan, tagged: str
    ) -> PreparedRebase:
        """Decide about a build, whose images are in the registry; raises BuildError.

        `tagged` is the digest that its output in a stream has now. Writes nothing.
        """
        try:
            elsewhere = await self._outputs.elsewhere(build, inputs)
            tagged = elsewhere.tagged if elsewhere is not None else tagged
            source = rebase_source(build, inputs, self._builds_of(config_of(build)), tagged)
        except NotRebasedError as error:
            return _refused(BuildRebase(message=str(error)))
        found = BuildRebase(
            image=str(source.image),
            build=source.build,
            base=str(source.base),
        )
        try:
            compared = await self._compare(inputs, plan, source, elsewhere)
            target = elsewhere.place(compared, source.digest) if elsewhere is not None else None
        except (NotRebasableError, NotRebasedError, InvalidManifestError) as error:
            return _refused(found.model_copy(update={"message": str(error)}))
        except RegistryError as error:
            if error.retryable and build.spec.on_base_change == OnBaseChange.REBASE:
                raise pull_error(error) from error
            return _refused(found.model_copy(update={"message": str(error)}))
        if compared.findings:
            findings = [str(finding) for finding in compared.findings]
            why = "; ".join(listed(findings, _MOST_REASONS))
            return _refused(found.model_copy(update={"message": why}), findings)
        lines = (
            f"Nothing but the base has changed since build {source.build}.",
            "Its layers depend on nothing that the base update changes: they get the new base.",
            f"Image {found.image}",
            f"Old base {source.base}",
            f"New base {inputs.images.base}",
        )
        outcome = found.model_copy(update={"rebased": True})
        if target is None and inputs.push is not None:
            target = RebaseTarget(inputs.push)
        return PreparedRebase(outcome, lines, _beside(compared, inputs), target, elsewhere)

    @staticmethod
    def require_build(build: Build, outcome: BuildRebase) -> None:
        """Raise BuildError if a build may only be rebased."""
        if build.spec.on_base_change == OnBaseChange.REBASE:
            config = config_of(build)
            raise BuildError(
                NOT_REBASED,
                f"nothing was built: its base has changed, and the image may only be rebased, which"
                f" is not possible: {outcome.message}; the image before is kept, and"
                f" `upwell start-build {config.name} -n {build.namespace}` builds it",
            )

    async def write(self, build: Build, prepared: PreparedRebase, log: LogSink) -> Digest:
        """Write what was prepared, and return its digest; raises BuildError."""
        compared, target = prepared.compared, prepared.target
        if compared is None or target is None:
            raise BuildError("GenericBuildFailed", "there is nothing to write")
        done = await self._outputs.write(build, compared, target, prepared.elsewhere)
        if done is not None:
            log(
                f"{done.mounted} layers mounted, {done.sent} sent;"
                f" {done.sent_bytes} bytes\n".encode()
            )
        log(f"Pushed {target.name.with_digest(compared.digest)}\n".encode())
        return compared.digest

    async def _compare(
        self,
        inputs: ResolvedInputs,
        plan: BuildPlan,
        source: RebaseSource,
        elsewhere: OutputElsewhere | None,
    ) -> ComparedRebase:
        base, new = inputs.images.base, _copy_of_base(inputs, plan)
        if new is None:
            raise NotRebasableError("its image stands on no other")
        pull = next((one.access for one in inputs.pulls if one.reference == base), DEFAULT_ACCESS)
        old = await self._mirror.fetch(source.base, pull, plan.namespace)
        return await self._comparer.compare(
            RebaseComparison(
                source.image,
                old,
                new,
                runs_scripts=plan.strategy is BuilderStrategy.SOURCE,
                known_as=_known_as(inputs, plan),
                record=_record(plan),
                access=elsewhere.access if elsewhere is not None else DEFAULT_ACCESS,
            )
        )


def _beside(compared: ComparedRebase, inputs: ResolvedInputs) -> ComparedRebase:
    """Return a comparison whose base is named where it came from, as it may be mounted there."""
    if compared.placed is None:
        return compared
    return replace(compared, placed=replace(compared.placed, base_origin=inputs.images.base))


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
