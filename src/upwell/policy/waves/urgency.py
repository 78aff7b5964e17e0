"""Urgency of changes: their severity decides which of the builds that wait is next."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import ENDED_WAVES, SEVERITY, Wave
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.components import FindBuild
from upwell.policy.promotion.quarantine import held_by

_RANKS: Mapping[str, int] = {"critical": 3, "high": 2, "medium": 1, "low": -1}
"""Higher goes first; what says nothing, or something unknown, stands between medium and low."""


def urgency_of(wave: Wave) -> int:
    """Return the urgency of a Wave, by its label; 0: it says nothing, or has ended."""
    ended = wave.status.phase in ENDED_WAVES
    return 0 if ended else _RANKS.get(wave.metadata.labels.get(SEVERITY, ""), 0)


def urgency_of_streams(streams: Iterable[ImageStream]) -> int:
    """Return the urgency of what follows streams, by their annotations, within their namespace."""
    found = (_RANKS.get(one.annotations.get(SEVERITY, ""), 0) for one in streams)
    return max(filter(None, found), default=0)


def urgency_of_build(
    build: Build,
    urgent: Mapping[str, Mapping[str, Wave]],
    find: FindBuild,
    streams: Iterable[ImageStream],
) -> tuple[int, int]:
    """Return the urgency of what a build builds on: by the Waves, and by its own namespace.

    `urgent` are Waves by their digests, `streams` those of its namespace that it stands on.
    """
    found = [held_by(one.image, urgent, find) for one in build.spec.image_inputs]
    ranks = [urgency_of(wave) for waves in found if waves for wave in waves.values()]
    return max(ranks, default=0), urgency_of_streams(streams)


def urgencies_in(snapshot: Snapshot, waves: Iterable[Wave]) -> Callable[[Build], tuple[int, int]]:
    """Return what tells the urgency of a build in a snapshot; `waves` are all that there are."""
    urgent: dict[str, dict[str, Wave]] = defaultdict(dict)
    for wave in waves:
        if urgency_of(wave):
            for digest in (wave.spec.digest, *wave.status.digests):
                urgent[digest][wave.name] = wave

    def urgency(build: Build) -> tuple[int, int]:
        name = build.labels.get(BUILD_CONFIG_LABEL, "")
        above = snapshot.graph.ancestors(ObjectKey(BuildConfig.KIND.kind, build.namespace, name))
        names = {one.stream_name for one in above if isinstance(one, StreamTag)}
        own = (snapshot.streams.get(one) for one in names if one.namespace == build.namespace)
        streams = (one for one in own if one is not None)
        return urgency_of_build(build, urgent, snapshot.producer_of, streams)

    return urgency
