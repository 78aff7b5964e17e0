"""Checks that a CI decides: it is notified once, and its verdict is waited for."""

from collections.abc import Callable
from urllib.parse import urlsplit

from upwell.api.pipeline import WebhookCheck
from upwell.api.promotion import CheckPhase, Evidence, Promotion
from upwell.policy.promotion.verification.checks import CheckAttempt, CheckStep, CheckVerdict
from upwell.policy.promotion.verification.jobs import VerifiedRelease
from upwell.policy.promotion.verification.request import build_request
from upwell.reconcilers.promotion.addresses import Address
from upwell.reconcilers.promotion.checks.secrets import signing_key
from upwell.store.interface import Store
from upwell.verification.interface import ProbeError, Probes, SignedEvent

type Verdicts = Callable[[Promotion, str, int], str]
"""Returns the URL, with its token, at which the verdict on an attempt of a check is taken."""

NOTIFIED_EVIDENCE = "told"
"""Name of the evidence that a CI has taken the request: it is not notified again."""
_NOTIFIED = "the CI was notified and has not answered yet"
_RETRY_SECONDS = (5.0, 60.0)


class WebhookChecks:
    """Looks at one attempt. That it was answered, the server writes into the result."""

    def __init__(self, store: Store, probes: Probes, verdicts: Verdicts) -> None:
        self._store = store
        self._probes = probes
        self._verdicts = verdicts

    async def look(
        self,
        subject: VerifiedRelease,
        address: Address,
        wanted: WebhookCheck,
        attempt: CheckAttempt,
    ) -> CheckStep:
        """Notify the CI unless it has been, and wait."""
        notified = any(
            one.name == attempt.named(NOTIFIED_EVIDENCE) for one in attempt.result.evidence
        )
        if not attempt.left:
            late = f"no verdict came within {attempt.check.timeout_seconds} s"
            last_error = f": {attempt.result.message}" if wanted.url and not notified else ""
            return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, f"{late}{last_error}"))
        if notified or not wanted.url:
            return attempt.goes_on(_NOTIFIED if notified else "no verdict has come yet")
        try:
            secret = b""
            if wanted.secret is not None:
                secret = await signing_key(self._store, subject.pipeline.namespace, wanted.secret)
            url = self._verdicts(subject.promotion, attempt.check.name, attempt.result.attempt)
            body = build_request(
                subject, attempt, where=address.outside, route=address.route, url=url
            )
            await self._probes.tell(SignedEvent(wanted.url, body, secret))
        except ProbeError as error:
            began = attempt.result.started or attempt.now
            waited = (attempt.now - began).total_seconds()
            shortest, longest = _RETRY_SECONDS
            again = min(max(waited, shortest), longest)
            return attempt.goes_on(f"cannot notify the CI: {error}", again)
        evidence = (
            *attempt.result.evidence,
            Evidence(name=attempt.named(NOTIFIED_EVIDENCE), url=_origin(wanted)),
        )
        step = attempt.goes_on(_NOTIFIED)
        return CheckStep(step.result.model_copy(update={"evidence": evidence}), step.again)


def _origin(wanted: WebhookCheck) -> str:
    """Return the URL without what may be secret in it."""
    parts = urlsplit(wanted.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
