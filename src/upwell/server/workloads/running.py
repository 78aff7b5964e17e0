"""RunningWorkloads: what a cluster's Pods run, page by page, of namespaces that the client sees."""

from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.running import MOST_WORKLOADS, PodsNotListedError, RunningActions
from upwell.api.image import ImageStream
from upwell.api.requests.running import RunningWorkload
from upwell.policy.access.roles import Action, is_granted, missing
from upwell.server.auth.caller import caller_of, grants_of
from upwell.server.http.errors import ApiError
from upwell.server.http.pages import page_of
from upwell.server.http.query import is_true
from upwell.server.http.rendering import list_response
from upwell.server.http.target import RequestTarget

_PLURAL = RunningWorkload.KIND.plural
_VERSION = "0"
"""Pods are read as they are: there is no version to go on from."""


class RunningWorkloadHandlers:
    """Answers lists of RunningWorkloads."""

    def __init__(self, actions: RunningActions | None, clock: Callable[[], datetime]) -> None:
        """Without actions, this server keeps no cluster."""
        self._actions = actions
        self._clock = clock

    async def list(self, request: Request, target: RequestTarget) -> Response:
        """Answer a page; no page has more than 500, whatever limit is asked for."""
        if self._actions is None:
            raise ApiError(
                404, "this server keeps no cluster: `upwell status -A` shows all that it runs"
            )
        if is_true(request, "watch"):
            raise ApiError(405, f"{_PLURAL} cannot be watched: list them again")
        for selector in ("labelSelector", "fieldSelector"):
            if request.query_params.get(selector):
                raise ApiError(400, f"{selector}: {_PLURAL} have no labels and no fields to select")
        sees = _sight_of(request, "list", _PLURAL)
        if target.namespace and not sees(target.namespace):
            action = Action("list", _PLURAL, target.namespace)
            raise ApiError(403, f"token {caller_of(request)} may not {action}: {missing(action)}")
        try:
            names = self._actions.names(sees, target.namespace)
        except PodsNotListedError as error:
            raise ApiError(503, str(error)) from None
        page, metadata = page_of(request, names, _VERSION, MOST_WORKLOADS)
        may_read = _sight_of(request, "get", ImageStream.KIND.plural)
        found = await self._actions.look(page, may_read)
        return list_response(request, self._clock(), target.kind, found, metadata)


def _sight_of(request: Request, verb: str, plural: str) -> Callable[[str], bool]:
    """Return what tells in which namespaces the client may do something."""
    grants = grants_of(request)
    known: dict[str, bool] = {}

    def sees(namespace: str) -> bool:
        if grants is None:
            return True
        if namespace not in known:
            known[namespace] = is_granted(grants, Action(verb, plural, namespace))
        return known[namespace]

    return sees
