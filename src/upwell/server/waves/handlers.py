"""Decisions about Waves: set here with their authors, times and reasons, and in the audit log."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.waves import WaveActions
from upwell.api.meta import Model
from upwell.api.waves.wave import WaveCancellation, WaveDecision
from upwell.policy.access.roles import Action
from upwell.server.auth.caller import caller_of, person_of, require_right
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.auth.tokens import ADMIN
from upwell.server.http.body import read_part
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.objects import Handler

type _Text = Annotated[str, StringConstraints(max_length=2000)]
type _Short = Annotated[str, StringConstraints(max_length=200)]
type _Required = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class ApproveWaveBody(Model):
    """POST waves/NAME/approve."""

    reason: _Text = ""
    override: _Text = ""
    """Reason to approve what one has had imported oneself; needs the right `override`."""


class ApproveChangeBody(Model):
    """POST imagestreams/NAME/approve: the change of a Wave, for what follows this stream."""

    wave: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    reason: _Short = ""
    override: _Short = ""
    """Reason to approve what one has had imported there oneself; needs the right `override`."""


class CancelWaveBody(Model):
    """POST waves/NAME/cancel."""

    reason: _Required
    running: bool = False


class RetryWaveBody(Model):
    """POST waves/NAME/retry."""

    reason: _Text = ""


def parts(
    actions: WaveActions | None, limits: ServerLimits, clock: Callable[[], datetime]
) -> Mapping[tuple[str, str], Mapping[str, Handler]]:
    """Return the parts and their handlers, by HTTP method; none where there are no Waves."""
    if actions is None:
        return {}
    handlers = WaveHandlers(actions, limits, clock)
    return {
        ("waves", "approve"): {"POST": handlers.approve},
        ("waves", "cancel"): {"POST": handlers.cancel},
        ("waves", "retry"): {"POST": handlers.retry},
        ("imagestreams", "approve"): {"POST": handlers.approve_for},
    }


class WaveHandlers:
    """Answers requests for the parts of Waves."""

    def __init__(
        self, actions: WaveActions, limits: ServerLimits, clock: Callable[[], datetime]
    ) -> None:
        self._actions = actions
        self._limits = limits
        self._clock = clock

    async def approve(self, request: Request, target: RequestTarget) -> Response:
        """Approve the change, for all that needs it."""
        body = await read_part(request, target, self._limits, ApproveWaveBody)
        decision = self._approval(request, Action("create", "waves", part="override"), body)
        _note(request, _reason_of(body))
        return object_response(request, await self._actions.approve(target.name, decision))

    async def approve_for(self, request: Request, target: RequestTarget) -> Response:
        """Approve the change for what follows a stream; answers the approval alone.

        Whoever approves for a stream need not be able to read Waves.
        """
        body = await read_part(request, target, self._limits, ApproveChangeBody)
        right = Action("create", "imagestreams", target.namespace, target.name, "override")
        decision = self._approval(request, right, body)
        _note(request, f"wave {body.wave}: {_reason_of(body)}")
        given = await self._actions.approve_for(target.key, body.wave, decision)
        return JSONResponse({"wave": body.wave, **given.model_dump(mode="json", by_alias=True)})

    async def cancel(self, request: Request, target: RequestTarget) -> Response:
        """Cancel what has not begun; with `running`, the builds that have, too."""
        body = await read_part(request, target, self._limits, CancelWaveBody)
        _note(request, body.reason)
        decision = WaveCancellation(
            by=person_of(request), at=self._clock(), reason=body.reason, running=body.running
        )
        return object_response(request, await self._actions.cancel(target.name, decision))

    async def retry(self, request: Request, target: RequestTarget) -> Response:
        """Begin what has failed again: `{"begun": […], "left": ["NAME: why", …]}`."""
        body = await read_part(request, target, self._limits, RetryWaveBody)
        _note(request, body.reason)
        done = await self._actions.retry(target.name, self._decision(request, body.reason))
        return JSONResponse(asdict(done))

    def _approval(
        self, request: Request, right: Action, body: ApproveWaveBody | ApproveChangeBody
    ) -> WaveDecision:
        """Return what somebody approves; raises ApiError for an override without the right."""
        override = body.override
        if override:
            require_right(request, right)
        elif caller_of(request) == ADMIN:
            override = body.reason  # nobody else may be there: a stated reason is enough
        decision = self._decision(request, body.reason)
        return decision.model_copy(update={"override": override})

    def _decision(self, request: Request, reason: str) -> WaveDecision:
        return WaveDecision(by=person_of(request), at=self._clock(), reason=reason)


def _reason_of(body: ApproveWaveBody | ApproveChangeBody) -> str:
    """Return the reason of an approval for the audit log."""
    return f"override: {body.override}" if body.override else body.reason


def _note(request: Request, reason: str) -> None:
    request.scope[AUDIT_NOTE] = AuditNote(reason=reason)
