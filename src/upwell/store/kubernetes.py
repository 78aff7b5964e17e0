"""The store of a cluster, and the command line's client: the Kubernetes API over HTTP."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from upwell.api.codec import UnknownKindError, encode, resource_for
from upwell.api.legacy import to_group_form
from upwell.api.meta import ObjectKey, Resource
from upwell.api.patches.content_types import APPLY, MERGE_PATCH
from upwell.store.interface import (
    EVERYTHING,
    Change,
    ConflictError,
    Conversation,
    ExpiredError,
    Listing,
    QuerySelector,
    RejectedError,
    Selector,
    StoreError,
    WatchEvent,
    WatchProgress,
    WriteRequest,
)
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_errors import ApiStatus
from upwell.store.kubernetes_http import (
    METADATA_LIST,
    ApiConnection,
    ApiRequest,
    list_documents,
    parse_object,
)
from upwell.store.retry import update_with_retry
from upwell.store.unreadable import UnreadableObjects, decode_object, named_alone

_PAGE = 500
"""Objects in one answer to a list."""
_SLICE = 10
"""Objects of an answer that are decoded before others get their turn: milliseconds."""
_NAMES_BYTES = 1024 * 1024
"""Of an answer that is asked for its names."""
_WATCH_SECONDS = 240
"""After these the server ends a watch; it goes on from the last position."""


class KubernetesStore:
    """Objects behind an API server at `base_url`; `ca` is the path of a PEM file.

    Differs from a local store in that what an object owned is deleted a while after it, by the
    server's garbage collection. With `socket`, the server is asked there, whatever the URL's host.
    `timeout` is in seconds and bounds all but watches and streams.
    """

    def __init__(
        self,
        base_url: str | ServerAccess,
        *,
        token: str | None = None,
        ca: str | None = None,
        timeout: float = 30.0,
        socket: Path | None = None,
        lenient: UnreadableObjects | None = None,
        before_write: Callable[[], None] | None = None,
    ) -> None:
        """A ServerAccess says all the rest of the access too.

        With `lenient`, what is no object of its kind is left out of lists and watches and noted
        there: what one person has broken does not hold up all others. A watch tells the end of such
        an object by its name alone. `before_write` is that of ApiConnection.
        """
        self._lenient = lenient
        if isinstance(base_url, str):
            base_url = ServerAccess(base_url, token, ca, timeout, socket)
        self._api = ApiConnection(base_url, before_write)

    @property
    def connection(self) -> ApiConnection:
        """The way to the server, for what this class has no word for."""
        return self._api

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        return await self._send(kind, _about(kind, namespace, name, "GET"))

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match, read page by page as of one moment."""
        request = _about(kind, selector.namespace, "", "GET")
        request = replace(request, params=_selection(selector))
        found: list[R] = []
        unreadable: list[ObjectKey] = []
        version = ""
        async with aclosing(list_documents(self._api, request, _PAGE)) as documents:
            async for document in documents:
                meta = document.get("metadata")
                if not isinstance(meta, dict):
                    raise StoreError(f"the server's list of {kind.KIND.resource} has no metadata")
                version = str(meta.get("resourceVersion") or "")
                for taken, item in enumerate(document.get("items") or (), 1):
                    if taken % _SLICE == 0:
                        await asyncio.sleep(0)
                    if (one := self._decoded(kind, item)) is not None:
                        found.append(one)
                    else:
                        unreadable.append(named_alone(kind, item).key)
        found.sort(key=lambda resource: (resource.namespace, resource.name))
        if self._lenient is not None and selector == Selector(selector.namespace):
            self._lenient.forget_others(kind.KIND, selector.namespace, unreadable)
        return Listing(found, version, unreadable)

    async def names(self, kind: type[Resource], namespace: str, most: int) -> Sequence[str]:
        """Return the names of objects, the first `most` of them, in one small answer."""
        request = _about(kind, namespace, "", "GET")
        params = {"limit": str(most)}
        request = replace(request, params=params, accept=METADATA_LIST, most_bytes=_NAMES_BYTES)
        answer = await self._api.ask(request)
        items = answer.document.get("items") or ()
        return [str(one["metadata"]["name"]) for one in items]

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises AlreadyExistsError or RejectedError."""
        _require_namespace(resource)
        new = resource.with_metadata(uid=None, resource_version=None)
        request = _about(type(resource), resource.namespace, "", "POST")
        return await self._send(
            type(resource), replace(request, key=resource.key, body=encode(new), collection=True)
        )

    async def request[R: Resource](self, asked: R, seconds: float) -> R:
        """Create what asks for work, and return it as answered within `seconds`."""
        request = _about(type(asked), asked.namespace, "", "POST")
        return await self._send(type(asked), replace(request, body=encode(asked), seconds=seconds))

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises NotFoundError, ConflictError or RejectedError."""
        return await self._put(resource, "")

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError, ConflictError or RejectedError."""
        if not resource.KIND.has_status:
            raise RejectedError(f"{resource.key} was not written: a {resource.KIND} has no status")
        return await self._put(resource, "status")

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object; with a resourceVersion, only that one. Raises NotFoundError."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if resource_version:
            options["preconditions"] = {"resourceVersion": resource_version}
        await self._api.ask(replace(_about(kind, namespace, name, "DELETE"), body=options))

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        Raises UnavailableError when the connection breaks; open it again from the last event.
        """
        position = since
        if progress is not None:
            progress.begin(lambda: position)
        if not position:
            listing = await self.list(kind, selector)
            position = listing.resource_version
            for resource in listing.items:
                yield WatchEvent(Change.ADDED, resource)
        while True:
            async with aclosing(self._watch_once(kind, selector, position)) as events:
                async for event in events:
                    if isinstance(event, WatchEvent):
                        position = event.resource.resource_version
                        yield event
                    else:
                        position = event

    async def apply(
        self,
        document: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Resource, Sequence[str]]:
        """Apply a manifest on the server's side; return the object and the server's warnings.

        Raises ConflictError when another manager owns a field and `force` is not set.
        """
        kind, namespace, name = _named(document)
        params = {"fieldManager": field_manager, "force": str(force).lower()}
        if dry_run:
            params["dryRun"] = "All"
        request = replace(
            _about(kind, namespace, name, "PATCH"),
            params=params,
            body={**to_group_form(document), "apiVersion": kind.KIND.api_version},
            content_type=APPLY,
        )
        answer = await self._api.ask(request)
        return decode_object(kind, answer.document), answer.warnings

    async def patch[R: Resource](
        self,
        kind: type[R],
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        subresource: str = "",
    ) -> R:
        """Merge `patch` (RFC 7386) into an object or its subresource."""
        request = _about(kind, namespace, name, "PATCH")
        return await self._send(
            kind, replace(request, subresource=subresource, body=patch, content_type=MERGE_PATCH)
        )

    async def write(
        self,
        method: str,
        resource: Resource,
        body: Mapping[str, Any] | Sequence[Any],
        request: WriteRequest,
    ) -> tuple[dict[str, Any], Sequence[str]]:
        """Create (POST), replace (PUT) or patch (PATCH) the object that `resource` names.

        Raises AlreadyExistsError, NotFoundError, ConflictError or RejectedError.
        """
        params = {"fieldManager": request.field_manager} if request.field_manager else {}
        if request.dry_run:
            params["dryRun"] = "All"
        about = _about(type(resource), resource.namespace, resource.name, method)
        answer = await self._api.ask(
            replace(
                about,
                subresource=request.subresource,
                params=params,
                body=body,
                content_type=request.content_type,
                collection=method == "POST" and not request.subresource,
            )
        )
        return answer.document, answer.warnings

    async def call(
        self,
        method: str,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Ask a subresource that speaks JSON (instantiate, rollback, instances, …)."""
        request = replace(
            _about(kind, namespace, name, method),
            subresource=subresource,
            params=params or {},
            body=body,
        )
        return (await self._api.ask(request)).document

    async def upload(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        content: AsyncIterator[bytes],
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send bytes to a subresource as they come; return its JSON answer."""
        request = replace(
            _about(kind, namespace, name, "POST"),
            subresource=subresource,
            params=params or {},
            content=content,
            content_type="application/octet-stream",
        )
        return (await self._api.ask(request)).document

    async def stream(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield what a subresource sends (log) until the server ends it."""
        request = _about(kind, namespace, name, "GET")
        request = replace(request, subresource=subresource, params=params or {})
        async with aclosing(self._api.chunks(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    @asynccontextmanager
    async def converse(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Sequence[tuple[str, str]],
        protocol: str,
    ) -> AsyncGenerator[Conversation]:
        """Speak with a subresource (exec, portforward) over a WebSocket, until the block ends."""
        request = replace(_about(kind, namespace, name, "GET"), subresource=subresource)
        async with self._api.converse(request, params, protocol) as conversation:
            yield conversation

    async def get_raw(self, path: str) -> bytes:
        """Return what the server answers at a path of its own, such as `/version`."""
        return await self._api.get_raw(path)

    async def require_ready(self) -> None:
        """Raise UnavailableError while the server says that it starts or ends."""
        await self._api.require_ready()

    async def send_raw(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask a path of the server's own that speaks JSON; raises MissingPathError for none."""
        return await self._api.send_raw(method, path, body)

    def _decoded[R: Resource](self, kind: type[R], document: Mapping[str, Any]) -> R | None:
        if self._lenient is None:
            return decode_object(kind, document)
        return self._lenient.decode(kind, document)

    async def _send[R: Resource](self, kind: type[R], request: ApiRequest) -> R:
        return decode_object(kind, (await self._api.ask(request)).document)

    async def _put[R: Resource](self, resource: R, subresource: str) -> R:
        kind = type(resource)
        request = replace(
            _about(kind, resource.namespace, resource.name, "PUT"), subresource=subresource
        )
        if resource.resource_version:
            return await self._send(kind, replace(request, body=encode(resource)))

        # API servers refuse an unconditional write of a custom resource; ours has to win a race.
        async def current() -> R:
            stored = await self.get(kind, resource.namespace, resource.name)
            if resource.uid not in {"", stored.uid}:
                raise ConflictError(
                    resource.key, "it was deleted and created anew since it was read"
                )
            return resource.with_metadata(resource_version=stored.resource_version)

        return await update_with_retry(
            current, lambda one: self._send(kind, replace(request, body=encode(one)))
        )

    async def _watch_once[R: Resource](
        self, kind: type[R], selector: Selector, since: str
    ) -> AsyncGenerator[WatchEvent[R] | str]:
        """Yield events, and positions from bookmarks, until the server ends the watch."""
        selection = _selection(selector)
        request = replace(_about(kind, selector.namespace, "", "GET"), params=selection)
        await self._api.require_reached(request, since)
        params = {
            **selection,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        request = replace(request, params=params)
        async with aclosing(self._api.lines(request)) as lines:
            async for line in lines:
                event = parse_object(line, str(request.key))
                subject = event.get("object")
                if not isinstance(subject, dict):
                    raise StoreError(f"a watch of {kind.KIND.resource} sent an event of nothing")
                match event.get("type"):
                    case "BOOKMARK":
                        yield str(subject.get("metadata", {}).get("resourceVersion") or since)
                    case "ERROR":
                        raise _watch_error(subject, request, since)
                    case change:
                        yield self._event(kind, Change(str(change)), subject)

    def _event[R: Resource](
        self, kind: type[R], change: Change, subject: Mapping[str, Any]
    ) -> WatchEvent[R] | str:
        """Return the event, or the position after one of an object that cannot be read."""
        resource = self._decoded(kind, subject)
        if change is Change.DELETED:
            resource = resource if resource is not None else named_alone(kind, subject)
            if self._lenient is not None:
                self._lenient.forget(resource.key)
        if resource is not None:
            return WatchEvent(change, resource)
        return named_alone(kind, subject).resource_version


def _about(kind: type[Resource], namespace: str, name: str, method: str) -> ApiRequest:
    return ApiRequest(method, kind.KIND, ObjectKey(kind.KIND.kind, namespace, name))


def _selection(selector: Selector) -> dict[str, str]:
    labels = [f"{key}={value}" for key, value in sorted(selector.labels.items())]
    fields = [f"metadata.name={selector.name}"] if selector.name else []
    if isinstance(selector, QuerySelector):
        labels += filter(None, [selector.label_query])
        fields += filter(None, [selector.field_query])
    given = {"labelSelector": ",".join(labels), "fieldSelector": ",".join(fields)}
    return {name: query for name, query in given.items() if query}


def _require_namespace(resource: Resource) -> None:
    if resource.KIND.namespaced and not resource.namespace:
        raise RejectedError(f"{resource.KIND} {resource.name!r} needs a namespace")


def _named(document: Mapping[str, Any]) -> tuple[type[Resource], str, str]:
    """Return kind, namespace and name of a manifest that the server is to judge."""
    try:
        kind = resource_for(str(document.get("apiVersion", "")), str(document.get("kind", "")))
    except UnknownKindError as error:
        raise RejectedError(str(error)) from error
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, Mapping) else None
    if not isinstance(meta, Mapping) or not isinstance(name, str) or not name:
        raise RejectedError(f"{kind.KIND} has no metadata.name: apply needs one")
    return kind, str(meta.get("namespace") or ""), name


def _watch_error(document: Mapping[str, Any], request: ApiRequest, since: str) -> StoreError:
    status = ApiStatus.of(document, HTTPStatus.INTERNAL_SERVER_ERROR)
    if status.code == HTTPStatus.GONE:
        return ExpiredError(since)
    return status.error(request.kind, request.key)
