"""Run policies: a BuildConfig's builds that may run now or are kept (build/v1 BuildRunPolicy)."""

from collections.abc import Sequence

from upwell.api.build import BUILD_NUMBER_ANNOTATION, RUN_POLICY_LABEL, Build, BuildPhase, RunPolicy

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
        if other.status.phase is BuildPhase.NEW and number_of(other) < number_of(build)
    ]
    if earlier and policy_of(build) is RunPolicy.SERIAL:
        first = min(earlier, key=number_of)
        return f"waits for build {first.name}, which is before it"
    return None


def superseded(build: Build, siblings: Sequence[Build]) -> Build | None:
    """Return the later build that takes `build`'s place, under SerialLatestOnly."""
    if build.status.phase not in {BuildPhase.NEW, BuildPhase.PENDING}:
        return None
    later = [
        other
        for other in siblings
        if number_of(other) > number_of(build)
        and policy_of(other) is RunPolicy.SERIAL_LATEST_ONLY
        and not other.status.phase.is_terminal
    ]
    return max(later, key=number_of, default=None)


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
