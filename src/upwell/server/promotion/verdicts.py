"""/verdicts/TOKEN: a CI that was told that a stage is ready answers, and needs no other login.

The token is good for one attempt of one check of one Promotion: a later attempt has another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.actions.promotion import PromotionActions
from upwell.api.codec import decode_part
from upwell.api.promotion import CheckPhase, Promotion
from upwell.policy.promotion.requests import RefusedError
from upwell.policy.promotion.verification.verdicts import ReportedVerdict, result_of
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.auth.signatures import Signatures
from upwell.server.http.body import decode_object, media_type, read_body
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.promotion.evidence import KeptEvidence
from upwell.server.promotion.requests import VerdictBody
from upwell.store.interface import Store

_PURPOSE = "verdict"
PLACE = "/verdicts/"


@dataclass(frozen=True, slots=True)
class AwaitedVerdict:
    """Check on which a verdict is wanted."""

    promotion_uid: str
    check: str
    attempt: int


class VerdictTokens:
    """Makes the tokens that CIs answer with."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    def sign(self, promotion_uid: str, check: str, attempt: int) -> str:
        """Return the token for one attempt of a check."""
        return self._signatures.sign(_PURPOSE, (promotion_uid, check, attempt))

    def open(self, token: str) -> AwaitedVerdict | None:
        """Return what a token is for; None when it was not made here."""
        match self._signatures.open(_PURPOSE, token):
            case [str(uid), str(check), int(attempt)]:
                return AwaitedVerdict(uid, check, attempt)
            case _:
                return None


class VerdictHandlers:
    """Answers a CI that holds a token."""

    def __init__(
        self,
        store: Store,
        actions: PromotionActions,
        tokens: VerdictTokens,
        evidence: KeptEvidence,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._actions = actions
        self._tokens = tokens
        self._evidence = evidence
        self._limits = limits
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Return the route."""
        return [Route(f"{PLACE}{{token}}", self.answer, methods=["GET", "POST"])]

    async def answer(self, request: Request) -> Response:
        """Answer what is asked, or take the verdict."""
        wanted = self._tokens.open(request.path_params["token"])
        if wanted is None:
            raise ApiError(403, "this token is truncated, altered, or of another server")
        promotion = await self._promotion(wanted)
        if request.method != "POST":
            return JSONResponse(_verdict_status(promotion, wanted))
        request.scope[AUDIT_NOTE] = AuditNote(promotion.name, promotion.namespace)
        body = await read_body(request, self._limits.webhook_bytes, self._limits.body_seconds)
        said = decode_part(VerdictBody, "the verdict", decode_object(body, media_type(request)))
        verdict = ReportedVerdict(
            said.passed,
            f"the token of check {wanted.check}",
            self._clock(),
            said.message,
            await self._evidence.entries(said.evidence, promotion.namespace),
            said.run,
            wanted.attempt,
        )
        try:
            judged = await self._actions.judge(promotion, wanted.check, verdict)
        except RefusedError as error:
            raise ApiError(409, str(error), key=promotion.key) from error
        return JSONResponse(_verdict_status(judged, wanted))

    async def _promotion(self, wanted: AwaitedVerdict) -> Promotion:
        found = (await self._store.list(Promotion)).items
        promotion = next((one for one in found if one.uid == wanted.promotion_uid), None)
        if promotion is None:
            raise ApiError(409, "the promotion that this token is for does not exist any more")
        return promotion


def _verdict_status(promotion: Promotion, wanted: AwaitedVerdict) -> dict[str, object]:
    """Return the check that is asked about, and its state."""
    result, spec = result_of(promotion, wanted.check), promotion.spec
    current = result.attempt == wanted.attempt
    opened = current and not result.phase.is_final and not promotion.status.phase.is_final
    return {
        "namespace": promotion.namespace,
        "pipeline": spec.pipeline,
        "release": spec.release,
        "stage": spec.stage,
        "promotion": promotion.name,
        "check": wanted.check,
        "attempt": wanted.attempt,
        "phase": result.phase if current else CheckPhase.INCONCLUSIVE,
        "waits": opened,
        "answer": 'POST {"passed": true|false, "message": "…", "evidence": [{"name", "url"}]}',
    }
