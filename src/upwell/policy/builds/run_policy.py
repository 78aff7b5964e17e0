"""Run policies: a BuildConfig's builds that may run now or are kept (build/v1 BuildRunPolicy)."""

from collections.abc import Sequence

from upwell.api.builds.build import BUILD_NUMBER_ANNOTATION, RUN_POLICY_LABEL, Build, BuildPhase
from upwell.api.builds.config import RunPolicy
from upwell.policy.builds.failures import waits_for_retry

_BUILD_BYTES = 2 * 1024**3
"""Memory that a build is reckoned to need."""

_ACTIVE = {BuildPhase.PENDING, BuildPhase.RUNNING}


def default_slots(processors: int, memory: int) -> int:
    """Return how many builds a machine with `memory` bytes runs at once."""
    return max(1, min(max(2, processors // 2), memory // _BUILD_BYTES))


def number_of(build: Build) -> int:
    """Return the build's number within its BuildConfig; 0 for a build without one."""
    text = build.annotations.get(BUILD_NUMBER_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def newest(builds: Sequence[Build]) -> Build | None:
    """Return the build with the highest number."""
    return max(builds, key=number_of, default=None)


def policy_of(build: Build) -> RunPolicy:
    """Return the run policy that was frozen into the build when it was started."""
    text = build.labels.get(RUN_POLICY_LABEL, RunPolicy.SERIAL)
    return RunPolicy(text) if text in set(RunPolicy) else RunPolicy.SERIAL


def blocked_by(build: Build, siblings: Sequence[Build]) -> str | None:
    """Return why `build` may not run yet, naming the build it waits for; None: it may.

    `siblings` are all builds of its BuildConfig.
    """
    others = [other for other in siblings if other.name != build.name]
    for other in others:
        serial = RunPolicy.PARALLEL not in {policy_of(other), policy_of(build)}
        if other.status.phase in _ACTIVE and (serial or policy_of(other) != policy_of(build)):
            return f"waits for build {other.name}, which is {other.status.phase}"
    if policy_of(build) is RunPolicy.PARALLEL:
        return None
    earlier = [
        other
        for other in others
        if other.status.phase is BuildPhase.NEW
        and number_of(other) < number_of(build)
        and not waits_for_retry(other)  # it would keep those that can run from running
    ]
    if earlier and policy_of(build) is RunPolicy.SERIAL:
        first = min(earlier, key=number_of)
        return f"waits for build {first.name}, which is before it"
    return None


def only_image_changes(build: Build) -> bool:
    """Return True if nobody asked for the build: images moved, and nothing else."""
    causes = build.spec.triggered_by
    return bool(causes) and not build.spec.forced and all(c.image_change_build for c in causes)


def queued_for_images(builds: Sequence[Build]) -> Build | None:
    """Return the newest build if it has not begun, and may as well begin with newer images.

    So one build at most waits because of images, however often they move.
    """
    last = newest(builds)
    if last is None or last.status.phase is not BuildPhase.NEW or last.status.cancelled:
        return None
    return last if only_image_changes(last) and not last.is_deleting else None


def superseded(build: Build, siblings: Sequence[Build]) -> tuple[Build, str] | None:
    """Return the later build that takes `build`'s place, and why it does; None: none does."""
    if build.status.phase not in {BuildPhase.NEW, BuildPhase.PENDING}:
        return None
    later = [other for other in siblings if number_of(other) > number_of(build)]
    for other in sorted(later, key=number_of, reverse=True):
        why = _superseding(other, build)
        if why:
            return other, why
    return None


def _superseding(later: Build, build: Build) -> str:
    """Say why `later` takes the place of `build`; empty: it does not."""
    waits, phase = build.status.phase is BuildPhase.NEW, later.status.phase
    images_moved = only_image_changes(later)
    if phase is BuildPhase.COMPLETE:
        # An older result would take the place of the newer one.
        is_past = waits and (waits_for_retry(build) or (images_moved and only_image_changes(build)))
        return "it is complete, from later inputs" if is_past else ""
    if phase.is_terminal:
        return ""
    # What has begun goes on when images move: else it would never end while they do.
    if policy_of(later) is RunPolicy.SERIAL_LATEST_ONLY and (waits or not images_moved):
        return "runPolicy SerialLatestOnly"
    if waits and images_moved and only_image_changes(build):
        return "it has newer images"
    return ""


def beyond_history(
    builds: Sequence[Build], successful_limit: int, failed_limit: int
) -> list[Build]:
    """Return ended builds beyond the limits, oldest first.

    The newest build of all is always kept: it remembers what was built last.
    """
    ended = sorted((b for b in builds if b.status.phase.is_terminal), key=number_of, reverse=True)
    good = [build for build in ended if build.status.phase is BuildPhase.COMPLETE]
    bad = [build for build in ended if build.status.phase is not BuildPhase.COMPLETE]
    last = newest(builds)
    extra = [*good[successful_limit:], *bad[failed_limit:]]
    return sorted((b for b in extra if last is None or b.name != last.name), key=number_of)
