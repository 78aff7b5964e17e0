"""Windows and freezes: whether a promotion may begin now, and when that changes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pipeline import Freeze, Pipeline, Stage, Window
from upwell.policy.jobs.cron import CronError, around


@dataclass(frozen=True, slots=True)
class Bar:
    """Reason why nothing may begin, and until when, if that is known."""

    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """State of a period by the clock: open or not, and when that changes."""

    now: bool
    changes: datetime | None


def bar(pipeline: Pipeline, stage: Stage, freezes: Iterable[Freeze], now: datetime) -> Bar | None:
    """Say what of the clock keeps a promotion into `stage` from beginning now.

    A time that cannot be understood bars: fail closed.
    """
    try:
        for freeze in freezes:
            if _stops(freeze, pipeline) and (span := span_of(freeze.spec, now)).now:
                by = f" by {freeze.spec.by}" if freeze.spec.by else ""
                return Bar(f"Freeze {freeze.name}{by}{_because(freeze.spec)}", span.changes)
        for window in (*pipeline.spec.freezes, *stage.freezes):
            if (span := span_of(window, now)).now:
                return Bar(f"a freeze{_because(window)}", span.changes)
        return _outside(stage.windows, now)
    except CronError as error:
        return Bar(f"a window or freeze of stage {stage.name} cannot be parsed: {error}")


def _outside(windows: Sequence[Window], now: datetime) -> Bar | None:
    spans = [span_of(window, now) for window in windows]
    if not spans or any(span.now for span in spans):
        return None
    opens = [span.changes for span in spans if span.changes is not None]
    if not opens:
        return Bar(
            "a window, but no further window opens: change `windows`, or promote with --bypass"
        )
    return Bar("the next window", min(opens))


def _stops(freeze: Freeze, pipeline: Pipeline) -> bool:
    spec = freeze.spec
    return (not spec.namespaces or pipeline.namespace in spec.namespaces) and (
        not spec.pipelines or pipeline.name in spec.pipelines
    )


def span_of(window: Window, now: datetime) -> OpenPeriod:
    """Say whether `window` is now; raises CronError."""
    if window.start is not None and now < window.start:
        return OpenPeriod(now=False, changes=window.start)
    if window.end is not None and now >= window.end:
        return OpenPeriod(now=False, changes=None)
    if window.cron is None:
        return OpenPeriod(now=True, changes=window.end)
    previous, following = around(window.cron, window.time_zone, now)
    length = timedelta(seconds=window.duration_seconds or 0)
    if previous is not None and now < previous + length:
        end = previous + length
        return OpenPeriod(now=True, changes=end if window.end is None else min(end, window.end))
    if following is not None and window.end is not None and following >= window.end:
        following = None
    return OpenPeriod(now=False, changes=following)


def _because(window: Window) -> str:
    return f" ({window.reason})" if window.reason else ""
