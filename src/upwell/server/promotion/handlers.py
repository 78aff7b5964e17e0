"""Parts of Pipelines, Releases and Promotions: what people and their CI do to them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.promotion import PromotionActions, RequestedPromotion
from upwell.api.codec import encode
from upwell.api.meta import format_time
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import ApprovalLink, Promotion, Rejection, Release, Vote
from upwell.policy.access.roles import Action
from upwell.policy.access.service_accounts import parse_account
from upwell.policy.promotion.four_eyes import needs_four_eyes
from upwell.policy.promotion.requests import Asked
from upwell.policy.promotion.stages import namespace_of
from upwell.policy.promotion.verification.verdicts import ReportedVerdict
from upwell.server.auth.caller import caller_of, groups_of, person_of, require_right
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.auth.tokens import ADMIN, person_behind
from upwell.server.http.body import read_part
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.http.visibility import view_of
from upwell.server.promotion.approvals import ApprovalLinks
from upwell.server.promotion.evidence import KeptEvidence
from upwell.server.promotion.requests import (
    LinkBody,
    PromoteBody,
    RejectBody,
    RestoreBody,
    RevokeLinkBody,
    RollBackBody,
    VerifyAgainBody,
    VerifyBody,
    VoteBody,
)
from upwell.store.interface import NotFoundError, Store

_LINK_BYTES = 6
"""Of a link's id, which opens nothing by itself."""


class PromotionHandlers:
    """Answers requests for the parts of Pipelines, Releases and Promotions."""

    def __init__(
        self,
        store: Store,
        actions: PromotionActions,
        evidence: KeptEvidence,
        links: ApprovalLinks,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._actions = actions
        self._evidence = evidence
        self._links = links
        self._limits = limits
        self._clock = clock

    async def promote(self, request: Request, target: RequestTarget) -> Response:
        """Promote a Release into a stage: 201 with the Promotion, 200 when there was one."""
        body = await read_part(request, target, self._limits, PromoteBody)
        if body.bypass:  # it goes in place of approvals: who may give none may not pass them by
            require_right(request, Action("create", "promotions", target.namespace, part="approve"))
        release = await self._store.get(Release, target.namespace, target.name)
        if body.bypass:
            await self._require_bypass(request, release, body)
        elif body.past_image_policies:
            raise ApiError(422, "pastImagePolicies is for emergencies: give the reason as `bypass`")
        asked = Asked(
            body.stage,
            person_of(request),
            release=release.name,
            reason=body.reason,
            bypass=body.bypass,
            past_image_policies=body.past_image_policies,
            run=body.run,
        )
        past = " past image policies" if body.past_image_policies else ""
        reason = f"bypass{past}: {body.bypass}" if body.bypass else body.reason
        _note(request, reason=reason)
        return _promotion(
            request, await self._actions.promote(target.namespace, release.spec.pipeline, asked)
        )

    async def roll_back(self, request: Request, target: RequestTarget) -> Response:
        """Put an earlier Release back into a stage, and hold the stage."""
        body = await read_part(request, target, self._limits, RollBackBody)
        asked = Asked(
            body.stage,
            person_of(request),
            release=body.release,
            reason=body.reason,
            run=body.run,
        )
        _note(request, reason=body.reason)
        return _promotion(
            request, await self._actions.roll_back(target.namespace, target.name, asked)
        )

    async def verify_again(self, request: Request, target: RequestTarget) -> Response:
        """Verify what serves in a stage once more."""
        body = await read_part(request, target, self._limits, VerifyAgainBody)
        asked = Asked(body.stage, person_of(request), reason=body.reason, run=body.run)
        _note(request, reason=body.reason)
        return _promotion(
            request, await self._actions.verify_again(target.namespace, target.name, asked)
        )

    async def reject_release(self, request: Request, target: RequestTarget) -> Response:
        """Keep a Release out of every later stage."""
        body = await read_part(request, target, self._limits, RejectBody)
        rejection = Rejection(
            reason=body.reason, by=person_of(request), stage=body.stage, at=self._clock()
        )
        _note(request, reason=body.reason)
        rejected = await self._actions.reject(target.namespace, target.name, rejection)
        return object_response(request, rejected)

    async def restore_release(self, request: Request, target: RequestTarget) -> Response:
        """Lift the rejection of a Release."""
        body = await read_part(request, target, self._limits, RestoreBody)
        _note(request, reason=body.reason)
        restored = await self._actions.restore(
            target.namespace, target.name, person_of(request), body.reason
        )
        return object_response(request, restored)

    async def verify(self, request: Request, target: RequestTarget) -> Response:
        """Record the verdict of an outside CI on a Release in a stage."""
        body = await read_part(request, target, self._limits, VerifyBody)
        release = await self._store.get(Release, target.namespace, target.name)
        verdict = ReportedVerdict(
            body.passed,
            person_of(request),
            self._clock(),
            body.message,
            await self._evidence.entries(body.evidence, target.namespace),
            body.run,
        )
        _note(request, reason=body.message)
        judged, check = await self._actions.verify(release, body.stage, body.check, verdict)
        return JSONResponse({"check": check, "promotion": encode(view_of(request).of(judged))})

    async def approve(self, request: Request, target: RequestTarget) -> Response:
        """Agree to a Promotion."""
        return await self._vote(request, target, approved=True)

    async def reject(self, request: Request, target: RequestTarget) -> Response:
        """Refuse a Promotion."""
        return await self._vote(request, target, approved=False)

    async def link(self, request: Request, target: RequestTarget) -> Response:
        """Answer a link by which somebody may vote without a token of their own."""
        body = await read_part(request, target, self._limits, LinkBody)
        promotion = await self._store.get(Promotion, target.namespace, target.name)
        person = await person_behind(self._store, body.as_)
        now = self._clock()
        end = now + timedelta(seconds=body.expires_seconds)
        link = ApprovalLink(
            id=token_hex(_LINK_BYTES),
            person=person,
            by=_eyes_of(request),
            created=now,
            expires=end,
        )
        _note(request, reason=f"approval link {link.id} for {person}")
        await self._actions.add_link(promotion, link)
        places = self._links.places(promotion, link)
        answer = {**places, "as": person, "expires": format_time(end), "id": link.id}
        return JSONResponse(answer, 201)

    async def revoke_links(self, request: Request, target: RequestTarget) -> Response:
        """Revoke one approval link, by its id, or all of a person; answer those that are left."""
        body = await read_part(request, target, self._limits, RevokeLinkBody)
        promotion = await self._store.get(Promotion, target.namespace, target.name)
        if not any(body.link in {one.id, one.person} for one in promotion.status.links):
            raise NotFoundError(promotion.key, f"{promotion.key} has no link {body.link!r}")
        _note(request, reason=f"approval link {body.link} revoked")
        left = await self._actions.revoke_links(promotion, body.link)
        return object_response(request, left)

    async def _require_bypass(self, request: Request, release: Release, asked: PromoteBody) -> None:
        """Raise ApiError for an emergency past the eyes of others, or policies, without the right.

        Past policies it takes the right where the stage is too: theirs are asked there.
        """
        pipeline = await self._store.get(Pipeline, release.namespace, release.spec.pipeline)
        stage = pipeline.stage(asked.stage)
        if stage is None:
            return
        places = {release.namespace} if needs_four_eyes(pipeline, stage) else set()
        if asked.past_image_policies:
            places |= {release.namespace, namespace_of(pipeline, stage)}
        for place in sorted(places):
            require_right(request, Action("create", "promotions", place, part="override"))

    async def _vote(self, request: Request, target: RequestTarget, *, approved: bool) -> Response:
        body = await read_part(request, target, self._limits, VoteBody)
        override = body.override if approved else ""
        if override:
            action = Action("create", "promotions", target.namespace, part="override")
            require_right(request, action)
        elif approved and caller_of(request) == ADMIN:
            override = body.comment  # nobody else may be there: a stated reason is enough
        vote = Vote(
            by=_eyes_of(request),
            approved=approved,
            at=self._clock(),
            comment=body.comment,
            override=override,
            groups=groups_of(request),
        )
        _note(request, reason=f"override: {body.override}" if body.override else body.comment)
        voted = await self._actions.vote(target.namespace, target.name, vote)
        return object_response(request, voted)


def _eyes_of(request: Request) -> str:
    """Return who votes, or answers for a vote: the account itself where a program does."""
    caller = caller_of(request)
    return caller if parse_account(caller) else person_of(request)


def _note(request: Request, *, reason: str) -> None:
    request.scope[AUDIT_NOTE] = AuditNote(reason=reason)


def _promotion(request: Request, made: RequestedPromotion) -> Response:
    return object_response(request, made.promotion, 201 if made.created else 200)
