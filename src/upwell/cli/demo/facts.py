"""What the story was: the timeline, and the claims that it has to keep. Pure: no clock, no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.api.build import Build, BuildPhase
from upwell.cli.demo.load import Tally
from upwell.cli.demo.observed import APPLICATIONS, BUILDER, CONFIGS, GATE, SHOP, Observed
from upwell.oci import Digest
from upwell.policy.build_triggers import digest_of
from upwell.policy.rollout_history import Phase
from upwell.policy.rollout_settings import Workload
from upwell.policy.standing import RolloutState, output_digest, rollout_of, short


@dataclass(frozen=True, slots=True)
class Publication:
    """The fix as the vendor published it, and how things stood before."""

    at: datetime
    old: Digest
    new: Digest
    old_glibc: str
    new_glibc: str
    builds_before: frozenset[str]
    """Names of the builds that there were."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the timeline."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that has to be true at the end."""

    text: str
    holds: bool
    found: str
    """What was found instead, if it does not hold."""


class Story:
    """What has happened since the fix was published."""

    def __init__(
        self, publication: Publication, observed: Observed, tallies: Mapping[str, Tally]
    ) -> None:
        self.publication = publication
        self.observed = observed
        self.tallies = tallies

    @property
    def requests(self) -> int:
        """All requests of the load."""
        return sum(tally.requests for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        """Those that failed."""
        return sum(tally.failed for tally in self.tallies.values())

    def builds(self, config: str) -> Sequence[Build]:
        """Return the builds of a BuildConfig that the fix started."""
        before = self.publication.builds_before
        return [build for build in self.observed.builds(config) if build.name not in before]

    def timeline(self) -> Sequence[Moment]:
        """Return what has happened so far, in order."""
        return sorted(self._moments(), key=lambda moment: moment.at)

    def offset(self, moment: Moment) -> float:
        """Return the seconds from the publication to a moment."""
        return (moment.at - self.publication.at).total_seconds()

    def is_over(self) -> bool:
        """Whether both applications answer with the fix alone, and nothing is left to do."""
        return all(self._verified(name) for name in APPLICATIONS)

    def broken(self) -> str:
        """Return what has failed for good, so that waiting is in vain; else nothing."""
        if why := _failed_build(build for config in CONFIGS for build in self.builds(config)):
            return why
        for name in APPLICATIONS:
            workload = self.observed.workload(name)
            if workload is not None and rollout_of(workload).state is RolloutState.FAILED:
                return f"rollout of {name}: {rollout_of(workload).text}"
        return ""

    def claims(self) -> Sequence[Claim]:
        """Return all that has to be true."""
        return [
            self._base_moved(),
            *(self._built_once(config) for config in CONFIGS),
            *(self._version(name) for name in APPLICATIONS),
            *(self._rollout(name) for name in APPLICATIONS),
            Claim("no request failed", self.failed == 0, f"{self.failed} of {self.requests}"),
        ]

    def _moments(self) -> Iterator[Moment]:
        fix = self.publication
        yield Moment(fix.at, f"published  {short(str(fix.new))} by the vendor")
        base = self.observed.base()
        if base is not None and base.image == str(fix.new):
            yield Moment(base.created, "detected   debian:11 has a new digest")
        for config in CONFIGS:
            for build in self.builds(config):
                yield from _build_moments(build)
        for name in APPLICATIONS:
            revision = self._revision(name)
            if revision is not None and revision.live_at is not None:
                text = f"live       {name}: revision {revision.revision} takes traffic"
                yield Moment(revision.live_at, text)
            tally = self.tallies[name]
            # While old instances serve too, their answers come in between.
            if tally.since is not None and self._verified(name):
                text = f"verified   {name}: glibc {tally.version} in every answer"
                yield Moment(tally.since, text)

    def _revision(self, application: str) -> RevisionRecord | None:
        """Return the newest revision, if it runs what the fix's build made."""
        workload = self.observed.workload(application)
        made = {output_digest(build) for build in self.builds(application)} - {""}
        for revision in workload.status.revisions if workload else ():
            if made & {digest_of(image) for image in revision.images.values()}:
                return revision
        return None

    def _verified(self, application: str) -> bool:
        """Whether the fix alone serves, and the application answers with it."""
        tally = self.tallies[application]
        return tally.version == self.publication.new_glibc and self._rolled_out(application)

    def _rolled_out(self, application: str) -> bool:
        workload, revision = self.observed.workload(application), self._revision(application)
        complete = revision is not None and revision.phase == Phase.COMPLETE
        return complete and is_rolled_out(workload)

    def _base_moved(self) -> Claim:
        base = self.observed.base()
        found = base.image if base else "nothing"
        text = f"debian:11 is {short(str(self.publication.new))}"
        return Claim(text, found == str(self.publication.new), f"it is {found}")

    def _built_once(self, config: str) -> Claim:
        builds = self.builds(config)
        complete = [build for build in builds if build.status.phase is BuildPhase.COMPLETE]
        found = ", ".join(f"{build.name} {build.status.phase}" for build in builds) or "no build"
        holds = len(builds) == len(complete) == 1
        return Claim(f"{config} was built exactly once more", holds, found)

    def _version(self, application: str) -> Claim:
        fix, tally = self.publication, self.tallies[application]
        text = f"{application} went from glibc {fix.old_glibc} to {fix.new_glibc}"
        expected = set(tally.answers) == {fix.old_glibc, fix.new_glibc}
        found = f"it answered with {', '.join(tally.answers) or 'nothing'}; last {tally.version}"
        return Claim(text, expected and tally.version == fix.new_glibc, found)

    def _rollout(self, application: str) -> Claim:
        workload = self.observed.workload(application)
        found = rollout_of(workload).text if workload else "there is no workload"
        text = f"{application} is rolled out, and no old instance is left"
        return Claim(text, self._rolled_out(application), found)


def reasons(story: Story) -> Iterator[str]:
    """Yield why each build ran."""
    for config in (BUILDER, SHOP, GATE):
        for build in story.builds(config):
            for cause in build.spec.triggered_by:
                change = cause.image_change_build
                if change is None:
                    yield f"{build.name}: {cause.message}"
                    continue
                tag = change.from_ref.name if change.from_ref else "its base"
                before = short(change.previous_image_id or "") or "none"
                yield f"{build.name}: {tag} went from {before} to {short(change.image_id)}"


def _build_moments(build: Build) -> Iterator[Moment]:
    status = build.status
    if status.start_timestamp is not None:
        yield Moment(status.start_timestamp, f"building   {build.name}")
    if status.completion_timestamp is not None:
        result = short(output_digest(build))
        text = f"built      {build.name} {result}" if result else f"ended      {build.name}"
        yield Moment(status.completion_timestamp, text)


def _failed_build(builds: Iterable[Build]) -> str:
    for build in builds:
        status = build.status
        if status.phase.is_terminal and status.phase is not BuildPhase.COMPLETE:
            return f"build {build.name} {status.phase}: {status.message or status.reason or ''}"
    return ""


def broken_before(observed: Observed) -> str:
    """Return which of the first builds has failed, if one has."""
    return _failed_build(build for config in CONFIGS for build in observed.builds(config))


def is_rolled_out(workload: Workload | None) -> bool:
    """Whether the newest revision serves alone: no old instance is left, draining or not."""
    if workload is None or rollout_of(workload).state is not RolloutState.COMPLETE:
        return False
    status = workload.status
    return status.replicas == status.updated_replicas == status.ready_replicas > 0
