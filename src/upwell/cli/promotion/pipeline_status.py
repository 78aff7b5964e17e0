"""View of a Pipeline: its stages side by side, then what waits for what; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.meta import format_time
from upwell.api.pipeline import Freeze, Pipeline, Stage, StageStatus
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.cli.core.output import MISSING, aligned, format_age
from upwell.formats.human_duration import human_duration
from upwell.policy.explain.freshness import short
from upwell.policy.promotion.stages import lifted
from upwell.policy.promotion.windows import bar

_SOON = 86_400.0
"""Seconds up to which a time is shown as a span alone."""


@dataclass(frozen=True, slots=True)
class PipelineView:
    """Pipeline with its Releases, promotions and freezes at one time."""

    pipeline: Pipeline
    releases: Sequence[Release]
    promotions: Sequence[Promotion]
    freezes: Sequence[Freeze]
    now: datetime

    def lines(self, *, wide: bool) -> Iterator[str]:
        """Yield the view as text."""
        yield f"pipeline/{self.pipeline.name} in namespace {self.pipeline.namespace}"
        names = [stage.name for stage in self.pipeline.spec.stages]
        rows = [["STAGE", *names]]
        rows += [
            [title, *(cell(stage) for stage in self.pipeline.spec.stages)]
            for title, cell in self._rows(wide=wide)
        ]
        yield from (f"  {line}" for line in aligned(rows))
        notes = list(self._notes())
        if notes:
            yield ""
            yield from (f"  {note}" for note in notes)

    def data(self) -> dict[str, Any]:
        """Return the same as JSON data."""
        return {
            "namespace": self.pipeline.namespace,
            "pipeline": self.pipeline.name,
            "latestRelease": self.pipeline.status.latest_release or None,
            "stages": [self._stage_data(stage) for stage in self.pipeline.spec.stages],
        }

    def _rows(self, *, wide: bool) -> Iterator[tuple[str, Any]]:
        yield "SERVES", self._serves
        yield "FOR", lambda stage: format_age(self._status(stage).since, self.now)
        yield "VERDICT", self.verdict
        yield "NEXT", self._next
        if wide:
            yield "IMAGES", self._images
            yield "CHECKS", self._checks
            yield "APPROVED BY", self._approvals

    def verdict(self, stage: Stage) -> str:
        """Return the verdict on the serving Release of a stage, in a word."""
        promotion, status = self._promotion(stage), self._status(stage)
        if promotion is not None and promotion.spec.release == status.release:
            phase = promotion.status.phase
            if phase in {PromotionPhase.VERIFYING, PromotionPhase.ROLLING_BACK}:
                return phase.value
        if not status.release:
            return MISSING
        if status.verified is None:
            return "not known"
        return "verified" if status.verified else "not verified"

    def _status(self, stage: Stage) -> StageStatus:
        return self.pipeline.status.stage(stage.name)

    def _promotion(self, stage: Stage) -> Promotion | None:
        name = self._status(stage).promotion
        return next((one for one in self.promotions if one.name == name), None)

    def _serves(self, stage: Stage) -> str:
        return self._status(stage).release or MISSING

    def _next(self, stage: Stage) -> str:
        status, promotion = self._status(stage), self._promotion(stage)
        if status.hold:
            return f"{status.candidate or ''} held".strip()
        if promotion is None:
            return status.candidate or MISSING
        return f"{promotion.spec.release} {promotion.status.phase}"

    def _images(self, stage: Stage) -> str:
        name = self._status(stage).release
        release = next((one for one in self.releases if one.name == name), None)
        components = release.spec.components if release is not None else ()
        return ",".join(f"{one.name}={short(one.image)}" for one in components) or MISSING

    def _checks(self, stage: Stage) -> str:
        promotion = self._promotion(stage) or self._last(stage)
        checks = promotion.status.checks if promotion is not None else ()
        texts = (f"{one.name}={one.phase}" + ("(flaky)" if one.flaky else "") for one in checks)
        return ",".join(texts) or MISSING

    def _approvals(self, stage: Stage) -> str:
        promotion = self._promotion(stage) or self._last(stage)
        votes = promotion.status.votes if promotion is not None else ()
        return ",".join(vote.by for vote in votes if vote.approved) or MISSING

    def _last(self, stage: Stage) -> Promotion | None:
        """Return the promotion of the serving Release."""
        status = self._status(stage)
        brought = [
            one
            for one in self.promotions
            if (one.spec.stage, one.spec.release) == (stage.name, status.release)
            and one.status.started is not None
        ]
        return max(brought, key=lambda one: (one.status.started, one.name), default=None)

    def _notes(self) -> Iterator[str]:
        for stage in self.pipeline.spec.stages:
            yield from self._notes_of(stage)
        yield from self._time_limits()
        for condition in self.pipeline.status.conditions:
            if not condition.is_true and condition.message:
                yield f"{condition.reason}: {condition.message}"
        waits = "; ".join(stage.waits_for for stage in self.pipeline.status.stages)
        for release in self.releases:
            rejection = release.status.rejection
            is_latest = release.name == self.pipeline.status.latest_release
            if rejection is not None and is_latest and rejection.reason not in waits:
                yield f"{release.name} is rejected: {rejection.reason}"

    def _notes_of(self, stage: Stage) -> Iterator[str]:
        status, promotion = self._status(stage), self._promotion(stage)
        if status.hold:
            command = f"`upwell resume pipeline/{self.pipeline.name} --stage {stage.name}`"
            hold = lifted(self.pipeline, stage, status.hold, f"{command} lifts the hold")
            yield f"{stage.name} is held: {hold}"
        if promotion is not None and promotion.status.phase is not PromotionPhase.WAITING:
            yield f"{stage.name}: {status.waits_for}{self._when(status.until)}"
        elif status.waits_for and not (status.hold and promotion is None):
            yield f"{stage.name} waits for {status.waits_for}{self._when(status.until)}"

    def _time_limits(self) -> Iterator[str]:
        """Yield windows and freezes in force, once for all stages that they concern."""
        concerned: dict[str, list[str]] = {}
        for stage in self.pipeline.spec.stages:
            barred = bar(self.pipeline, stage, self.freezes, self.now)
            if barred is not None and barred.message not in self._status(stage).waits_for:
                text = f"{barred.message}{self._when(barred.until)}"
                concerned.setdefault(text, []).append(stage.name)
        for text, names in concerned.items():
            yield f"{', '.join(names)}: what comes next waits for {text}"

    def _when(self, until: datetime | None) -> str:
        if until is None:
            return ""
        left = until - self.now
        span = f"for {human_duration(left)} more" if left.total_seconds() > 0 else "due now"
        if left.total_seconds() < _SOON:
            return f" ({span})"
        return f" (until {until:%Y-%m-%d %H:%M %Z}, {span})"

    def _stage_data(self, stage: Stage) -> dict[str, Any]:
        status, promotion = self._status(stage), self._promotion(stage)
        barred = bar(self.pipeline, stage, self.freezes, self.now)
        return {
            "name": stage.name,
            "release": status.release or None,
            "since": format_time(status.since) if status.since else None,
            "verified": status.verified,
            "lastGood": status.last_good or None,
            "candidate": status.candidate or None,
            "promotion": promotion.name if promotion is not None else None,
            "phase": promotion.status.phase if promotion is not None else None,
            "hold": status.hold,
            "waitsFor": status.waits_for or None,
            "until": format_time(status.until) if status.until else None,
            "barred": barred.message if barred is not None else None,
        }
