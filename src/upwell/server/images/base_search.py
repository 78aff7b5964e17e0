"""BaseSearches: someone asks which known images an image stands on; nothing follows from it."""

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.bases import BaseActions
from upwell.api.codec import InvalidObjectError, encode_json
from upwell.api.requests.base_search import BaseSearch
from upwell.api.values.faults import Fault
from upwell.oci import Digest, InvalidDigestError
from upwell.server.auth.caller import may_read
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as

_MOST_LAYERS = 512


class BaseSearchHandlers:
    """Answers the creation of BaseSearches."""

    def __init__(self, actions: BaseActions | None, limits: ServerLimits) -> None:
        self._actions = actions
        self._limits = limits

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Return the images that the client may read, of those that it stands on."""
        asked = await read_as(request, self._limits, BaseSearch, _check)
        answer = asked.with_metadata(namespace=target.namespace)
        if self._actions is not None:
            status = await self._actions.search(
                target.namespace, asked.spec.layers, may_read(request)
            )
            answer = answer.with_status(status)
        return json_response(encode_json(answer), 201)


def _check(asked: BaseSearch) -> None:
    """Raise InvalidObjectError with all that is wrong."""
    layers, faults = asked.spec.layers, []
    if not 0 < len(layers) <= _MOST_LAYERS:
        faults.append(Fault("spec.layers", f"between 1 and {_MOST_LAYERS} digests"))
    for at, layer in enumerate(layers[:_MOST_LAYERS]):
        try:
            Digest.parse(layer)
        except InvalidDigestError as error:
            faults.append(Fault(f"spec.layers[{at}]", str(error)))
    if faults:
        raise InvalidObjectError(str(asked.KIND), tuple(faults))
