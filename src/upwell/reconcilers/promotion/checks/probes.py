"""Checks that ask: over HTTP and TCP, and a metric store over the whole soak."""

from dataclasses import replace
from datetime import datetime, timedelta

from upwell.api.pipeline import HttpCheck, MetricCheck, TcpCheck
from upwell.api.promotion import CheckPhase, Evidence
from upwell.api.values.addresses import host_and_port, http_url
from upwell.api.values.thresholds import InvalidThresholdError, Threshold
from upwell.policy.promotion.verification import http, metrics
from upwell.policy.promotion.verification.checks import CheckAttempt, CheckStep, CheckVerdict
from upwell.policy.promotion.verification.soak import Soak
from upwell.reconcilers.promotion.addresses import CheckPlaces
from upwell.reconcilers.promotion.checks.secrets import authorization
from upwell.reconcilers.promotion.evidence import keep
from upwell.store.interface import Store
from upwell.uploads.interface import BinaryInputs, InputError
from upwell.verification.interface import (
    BadQuestionError,
    HttpAnswer,
    HttpQuestion,
    MetricQuestion,
    ProbeError,
    Probes,
)

_RETRY_SECONDS = 2.0
"""Until a place that did not answer is asked again."""
_METRIC_RETRY_SECONDS = 10.0
"""Until a metric store that did not answer is asked for the same time again."""
_KEPT_BYTES = 64 * 1024
_NO_ADDRESS = "the stage has no address: set `address`, or give a workload a Service"


class ProbeChecks:
    """Looks at one attempt. A wrong answer ends it; an answer is waited for until its time is over.

    One question is asked at least, however late it is: this process may have been away.
    """

    def __init__(self, store: Store, probes: Probes, kept: BinaryInputs) -> None:
        self._store = store
        self._probes = probes
        self._kept = kept

    async def look_http(
        self, namespace: str, places: CheckPlaces, wanted: HttpCheck, attempt: CheckAttempt
    ) -> CheckStep:
        """Ask once at each place; a place that answers wrongly decides.

        `namespace` is the Promotion's: it has the evidence.
        """
        urls = [http_url(place, wanted.url) for place in places.addresses]
        found_here = places.instances
        if "://" in wanted.url:
            urls, found_here = [wanted.url], False
        if not urls:
            return _without_place(attempt, places)
        found = CheckVerdict(CheckPhase.INCONCLUSIVE, _NO_ADDRESS)
        for url in urls:
            try:
                answer = await self._probes.get(HttpQuestion(url, wanted.host, found_here))
            except ProbeError as error:
                return _unanswered(attempt, str(error))
            found = http.verdict(wanted, answer)
            if found.phase is not CheckPhase.PASSED:
                kept = await self._kept_answer(answer, namespace) if found_here else ()
                return attempt.ended(replace(found, evidence=kept))
        return attempt.ended(found)

    async def look_tcp(
        self, places: CheckPlaces, wanted: TcpCheck, attempt: CheckAttempt
    ) -> CheckStep:
        """Connect once to each place."""
        wheres = [wanted.address] if wanted.address else places.addresses
        found_here = places.instances and not wanted.address
        if not wheres:
            return _without_place(attempt, places)
        for where in wheres:
            place = host_and_port(where)
            if place is None:
                why = f"{where!r} has no host and port"
                return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, why))
            try:
                await self._probes.connect(*place, instance=found_here)
            except ProbeError as error:
                return _unanswered(attempt, str(error))
        return attempt.ended(CheckVerdict(CheckPhase.PASSED, "the connection was accepted"))

    async def look_metric(
        self, namespace: str, metric: MetricCheck, soak: Soak, attempt: CheckAttempt
    ) -> CheckStep:
        """Take the samples that are due, and judge what there is.

        A Secret is looked for in `namespace`.
        """
        try:
            threshold = Threshold.parse(metric.condition)
        except InvalidThresholdError as error:
            return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, str(error)))
        wanted = metrics.span(attempt.result, soak, attempt.now)
        result, trouble = attempt.result, ""
        for at in metrics.due(metric, result.samples, wanted, attempt.now):
            try:
                value = await self._measure(namespace, metric, at)
            except BadQuestionError as error:
                return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, str(error)))
            except ProbeError as error:
                trouble = f"; {error}"
                break
            result = metrics.sampled(threshold, result, at, value)
        looked = replace(attempt, result=result)
        found = metrics.verdict(attempt.check, result, wanted, attempt.now)
        if found is not None:
            return looked.ended(replace(found, message=f"{found.message}{trouble}"))
        message = f"{metrics.latest(result)}, shall be {threshold}{trouble}"
        again = _METRIC_RETRY_SECONDS
        if not trouble:
            following = result.samples[-1].at + timedelta(seconds=metric.interval_seconds)
            again = max((following - attempt.now).total_seconds(), 0)
        return CheckStep(result.model_copy(update={"message": message}), again)

    async def _measure(self, namespace: str, metric: MetricCheck, at: datetime) -> float | None:
        header = ""
        if metric.secret is not None:
            header = await authorization(self._store, namespace, metric.secret)
        question = MetricQuestion(metric.server, metric.query, at, header)
        return await self._probes.measure(question)

    async def _kept_answer(self, answer: HttpAnswer, namespace: str) -> tuple[Evidence, ...]:
        """Keep the start of a wrong answer of an instance: it often says what is wrong.

        Of a URL that somebody named it is not kept: they may not be the one to read what is there.
        """
        if not answer.body:
            return ()
        try:
            content = answer.body[:_KEPT_BYTES]
            return (await keep(self._kept, namespace, "answer.txt", content),)
        except InputError:
            return ()  # the verdict stands without it


def _without_place(attempt: CheckAttempt, places: CheckPlaces) -> CheckStep:
    """Wait for an instance that may become ready; where none can come, say what is missing."""
    if places.unready:
        return _unanswered(attempt, places.unready)
    return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, _NO_ADDRESS))


def _unanswered(attempt: CheckAttempt, why: str) -> CheckStep:
    if attempt.left:
        return attempt.goes_on(why, _RETRY_SECONDS)
    why = f"no answer within {attempt.check.timeout_seconds} s: {why}"
    return attempt.ended(CheckVerdict(CheckPhase.FAILED, why))
