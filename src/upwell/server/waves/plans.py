"""ImpactPlans: someone asks what a change of an image would reach; nothing follows from it."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.plans import PlanActions
from upwell.api.codec import InvalidObjectError, encode_json
from upwell.api.values.faults import Fault
from upwell.api.waves.plan import ImpactPlan
from upwell.oci import Digest, InvalidDigestError
from upwell.policy.access.roles import Action
from upwell.server.auth.caller import may_read, require_right
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as

_MOST_BUILDS = 1_000
_MOST_LETTERS = 1_000


class ImpactPlanHandlers:
    """Answers the creation of ImpactPlans."""

    def __init__(self, actions: PlanActions | None, limits: ServerLimits) -> None:
        self._actions = actions
        self._limits = limits

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Return the plan: what the client may not read is counted, and not named."""
        asked = await read_as(request, self._limits, ImpactPlan, _check)
        if self._actions is None:
            raise ApiError(404, "this server makes no plans")
        if asked.spec.wave:
            require_right(request, Action("get", "waves", "", asked.spec.wave))
        status = await self._actions.plan(target.namespace, asked.spec, may_read(request))
        answer = asked.with_metadata(namespace=target.namespace).with_status(status)
        return json_response(await asyncio.to_thread(encode_json, answer), 201)


def _check(asked: ImpactPlan) -> None:
    """Raise InvalidObjectError with all that is wrong."""
    spec, faults = asked.spec, []
    if bool(spec.image) == bool(spec.wave):
        faults.append(Fault("spec.image", "required, unless spec.wave names a Wave: one of both"))
    if spec.wave and spec.digest:
        faults.append(Fault("spec.digest", "not allowed beside spec.wave, which has one"))
    if spec.digest:
        try:
            Digest.parse(spec.digest)
        except InvalidDigestError as error:
            faults.append(Fault("spec.digest", str(error)))
    for name, text in (("image", spec.image), ("wave", spec.wave)):
        if len(text) > _MOST_LETTERS:
            faults.append(Fault(f"spec.{name}", f"longer than {_MOST_LETTERS} characters"))
    if spec.builds_at_once is not None and not 1 <= spec.builds_at_once <= _MOST_BUILDS:
        faults.append(Fault("spec.buildsAtOnce", f"not between 1 and {_MOST_BUILDS}"))
    if faults:
        raise InvalidObjectError(str(asked.KIND), tuple(faults))
