"""Lists of a cluster's objects as a test says they are, behind the client's own connection."""

from collections import defaultdict
from typing import Any

from upwell.api.meta import Kind
from upwell.store.interface import StoreError
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_errors import ApiStatus
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse


class ListedCluster(ApiConnection):
    """Answers lists in one page; the kinds in `refused`, by plural, it does not let us see."""

    def __init__(self) -> None:
        super().__init__(ServerAccess("http://127.0.0.1:1"))
        self._items: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.refused: set[str] = set()

    def add(self, kind: Kind, name: str, **fields: Any) -> None:
        """Let there be an object in the namespace `shop`."""
        self._items[kind.plural].append({"metadata": {"namespace": "shop", "name": name}, **fields})

    async def ask(self, request: ApiRequest) -> ApiResponse:
        plural = request.kind.plural
        if plural in self.refused:
            raise _refusal(request)
        items = self._items[plural]
        return ApiResponse({"metadata": {"resourceVersion": "1"}, "items": items}, [])


def _refusal(request: ApiRequest) -> StoreError:
    plural = request.kind.plural
    message = f'{plural} is forbidden: User "upwell" cannot list resource "{plural}"'
    status = ApiStatus.of({"code": 403, "reason": "Forbidden", "message": message}, 403)
    return status.error(request.kind, request.key, 0)
