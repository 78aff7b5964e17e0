"""Creation of the ImageStream that a client's push takes."""

from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request

from upwell.api.codec import InvalidObjectError
from upwell.api.image import ImageStream
from upwell.policy.access.roles import Action
from upwell.server.auth.caller import require_right
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import CREATED, CreatedObject
from upwell.server.distribution.requests import DistributionError
from upwell.server.http.errors import ApiError, to_api_error
from upwell.server.http.target import RequestTarget
from upwell.server.objects.write_options import write_options
from upwell.server.objects.writes import Writer
from upwell.store.interface import AlreadyExistsError, Store, StoreError


class PushedStreamCreation:
    """Makes streams in the name of who pushes, who must have the right; they count in quotas."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._writer = Writer(store, clock)

    async def create(self, request: Request, namespace: str, name: str) -> None:
        """Make a stream; raises DistributionError.

        A build makes none: its output names a stream that somebody has made, or has not.
        """
        if _is_build(request):
            return
        target = RequestTarget(ImageStream, namespace, "")
        try:
            require_right(request, Action("create", target.kind.plural, namespace, name))
            document = {"metadata": {"name": name}}
            written = await self._writer.create(target, document, write_options(request))
        except AlreadyExistsError:
            return  # another push was faster
        except InvalidObjectError:
            return  # a repository may have a name that no object has
        except (ApiError, StoreError) as error:
            fault = to_api_error(error)
            message = f"{namespace}/{name} has no ImageStream, and none is made: {fault}"
            raise DistributionError(fault.code, "DENIED", message) from error
        made = CreatedObject(target.kind.plural, namespace, name, written.changes)
        request.scope[CREATED] = (*request.scope.get(CREATED, ()), made)


def _is_build(request: Request) -> bool:
    """Return True for the server itself, which builds, and for a build with a token of its own."""
    user = request.scope.get("user")
    if not isinstance(user, Principal) or not user.registry_only:
        return False
    return user.repositories is None or not user.grants
