"""Urgency of changes: their severity decides which of the builds that wait is next."""

from collections.abc import Iterable, Mapping

from upwell.api.image import ImageStream
from upwell.api.waves.wave import ENDED_WAVES, SEVERITY, Wave

_RANKS: Mapping[str, int] = {"critical": 3, "high": 2, "medium": 1, "low": -1}
"""Higher goes first; what says nothing stands between medium and low."""
SEVERITIES = tuple(_RANKS)


def urgency_of(wave: Wave) -> int:
    """Return the urgency of a Wave, by its label; 0: it says nothing, or has ended."""
    ended = wave.status.phase in ENDED_WAVES
    return 0 if ended else _RANKS.get(wave.metadata.labels.get(SEVERITY, ""), 0)


def urgency_of_streams(streams: Iterable[ImageStream]) -> int:
    """Return the urgency of what follows streams, by their annotations, within their namespace."""
    found = (_RANKS.get(one.annotations.get(SEVERITY, ""), 0) for one in streams)
    return max(filter(None, found), default=0)
