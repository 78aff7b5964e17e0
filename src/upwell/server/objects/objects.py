"""create, replace, patch, apply and delete of every kind that is stored."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.codec import decode
from upwell.api.core import Namespace
from upwell.api.meta import Resource
from upwell.api.patches.content_types import APPLY, PATCHES
from upwell.api.waves.wave import Wave
from upwell.policy.pod_security.namespaces import AUDIT_VIOLATIONS
from upwell.policy.waves.approval import deletion_refusal
from upwell.server.auth.caller import require_deletion
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.http.body import (
    decode_json,
    decode_object,
    decode_yaml_object,
    media_type,
    read_body,
)
from upwell.server.http.errors import ApiError, success
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import (
    json_response,
    list_response,
    object_response,
    rendering_for,
)
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import LargeWork, large_work, read_object, size_of
from upwell.server.objects.orphans import orphan_dependents, require_orphans
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.scale import refuse_idling, scale_of, with_replicas
from upwell.server.objects.write_options import WriteOptions, is_dry, write_options
from upwell.server.objects.writes import DEFAULT_NAMESPACE, Change, WholeObject, Writer, WriteResult
from upwell.store.interface import ConflictError, NotFoundError, Store
from upwell.store.retry import update_with_retry

_ORPHAN = "Orphan"
_PROPAGATION = ("Background", "Foreground", _ORPHAN)
"""Policies of a deletion; what is stored goes with its owner in the first two."""

type Document = dict[str, Any]
type Handler = Callable[[Request, RequestTarget], Awaitable[Response]]
type Intercept = Callable[[RequestTarget, Change, WriteOptions], Awaitable[WriteResult | None]]
"""Carries out a write that asks for more than other fields; returns None for any other one."""


class ObjectHandlers:
    """Handlers of requests about objects; each method answers one request."""

    def __init__(
        self,
        store: Store,
        reads: ReadHandlers,
        limits: ServerLimits,
        clock: Callable[[], datetime],
        intercepts: Mapping[type[Resource], Intercept] | None = None,
        writer: Writer | None = None,
    ) -> None:
        self._intercepts = intercepts or {}
        self._store = store
        self._reads = reads
        self._limits = limits
        self._clock = clock
        self._writer = writer or Writer(store, clock)

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Store a new object."""
        if target.kind.namespaced and not target.namespace:
            raise ApiError(405, f"create {target.kind.plural} in a namespace")
        async with large_work(request) as work:
            document, options = await self._document(request, work)
            written = await self._writer.create(target, document, options)
            return self._written(request, written)

    async def replace(self, request: Request, target: RequestTarget) -> Response:
        """Put an object in the place of a stored one."""
        async with large_work(request) as work:
            document, options = await self._document(request, work)
            written = await self._modify(target, WholeObject(document), options)
            return self._written(request, written)

    async def patch(self, request: Request, target: RequestTarget) -> Response:
        """Patch or apply an object."""
        body = await self._body(request)
        async with large_work(request) as work:
            options = write_options(request, size_of(body), work)
            if media_type(request) == APPLY:
                if "fieldManager" not in request.query_params:
                    raise ApiError(400, "fieldManager: required to apply")
                declared = await work.computed(lambda: decode_yaml_object(body), size_of(body))
                written = await self._writer.apply(target, declared, options)
            else:
                change = await _patch_of(media_type(request), body, work)
                written = await self._modify(target, change, options)
            return self._written(request, written)

    async def _modify(
        self, target: RequestTarget, change: Change, options: WriteOptions
    ) -> WriteResult:
        """Write what `change` makes of the stored object, or carry out what it asks for."""
        intercept = self._intercepts.get(target.resource)
        done = await intercept(target, change, options) if intercept is not None else None
        return done or await self._writer.modify(target, change, options)

    async def replace_status(self, request: Request, target: RequestTarget) -> Response:
        """Write the status alone."""
        async with large_work(request) as work:
            document, options = await self._document(request, work)
            written = await self._writer.modify_status(target, lambda _: document, options)
            return self._written(request, written)

    async def patch_status(self, request: Request, target: RequestTarget) -> Response:
        """Patch the status alone."""
        body = await self._body(request)
        async with large_work(request) as work:
            change = await _patch_of(media_type(request), body, work)
            options = write_options(request, size_of(body), work)
            written = await self._writer.modify_status(target, change, options)
            return self._written(request, written)

    async def get_scale(self, request: Request, target: RequestTarget) -> Response:
        """Answer how many replicas a workload has."""
        del request
        resource = await self._store.get(target.resource, target.namespace, target.name)
        return JSONResponse(scale_of(resource))

    async def replace_scale(self, request: Request, target: RequestTarget) -> Response:
        """Set how many replicas a workload has."""
        async with large_work(request) as work:
            scale, options = await self._document(request, work)
            old = await self._store.get(target.resource, target.namespace, target.name)
            refuse_idling(old, scale, request.headers.get("User-Agent", ""))
            return await self._scale(request, target, lambda _: scale, options)

    async def patch_scale(self, request: Request, target: RequestTarget) -> Response:
        """Patch how many replicas a workload has."""
        body = await self._body(request)
        async with large_work(request) as work:
            change = await _patch_of(media_type(request), body, work)
            options = write_options(request, size_of(body), work)
            return await self._scale(request, target, change, options)

    async def _scale(
        self, request: Request, target: RequestTarget, change: Change, options: WriteOptions
    ) -> Response:
        def rescale(document: Document) -> Document:
            return with_replicas(document, change(scale_of(decode(document))))

        written = await self._writer.modify(target, rescale, replace(options, keeps_author=True))
        _note(request, written)
        return json_response(json.dumps(scale_of(written.resource)), warnings=written.warnings)

    async def delete(self, request: Request, target: RequestTarget) -> Response:
        """Delete one object; its preconditions must hold."""
        options = await self._delete_options(request)
        wanted = options.get("preconditions") or {}

        async def checked() -> Resource:
            old = await self._store.get(target.resource, target.namespace, target.name)
            _require_deletable(old)
            require_deletion(request, old)
            if _orphans(request, options):
                require_orphans(old)
            if wanted.get("uid") not in {None, old.uid}:
                raise ConflictError(old.key, f"its uid is {old.uid}, not {wanted['uid']}")
            version = wanted.get("resourceVersion")
            if version not in {None, "", old.resource_version}:
                text = f"its resourceVersion is {old.resource_version}, not {version}"
                raise ConflictError(old.key, text)
            return old

        async def delete(old: Resource) -> Resource:
            if not is_dry(request, options):
                if _orphans(request, options):
                    await orphan_dependents(self._store, [old])
                await self._delete_as_checked(old)
            return old

        return await self._deleted(request, await update_with_retry(checked, delete))

    async def delete_collection(self, request: Request, target: RequestTarget) -> Response:
        """Delete every object that the selectors match."""
        options = await self._delete_options(request)
        found, version = await self._reads.select(request, target)
        for resource in found:
            _require_deletable(resource)
            require_deletion(request, resource)
        orphans = _orphans(request, options)
        for resource in found if orphans else ():
            require_orphans(resource)
        if orphans and not is_dry(request, options):
            await orphan_dependents(self._store, found)
        for resource in () if is_dry(request, options) else found:
            try:
                await self._delete_collected(request, resource)
            except NotFoundError:
                continue  # another request, or its owner's deletion, was faster
        metadata = {"resourceVersion": version}
        return list_response(request, self._clock(), target.kind, found, metadata)

    async def _delete_collected(self, request: Request, listed: Resource) -> None:
        """Delete an object as it is by now, if it may be deleted as that still."""
        kind, namespace, name = type(listed), listed.namespace, listed.name

        async def checked() -> Resource:
            old = await self._store.get(kind, namespace, name)
            if old.resource_version != listed.resource_version:
                _require_deletable(old)
                require_deletion(request, old)
            return old

        await update_with_retry(checked, self._delete_as_checked)

    async def _delete_as_checked(self, old: Resource) -> None:
        """Delete an object; raises ConflictError where it is another since it was checked."""
        version = old.resource_version
        await self._store.delete(type(old), old.namespace, old.name, resource_version=version)

    async def _deleted(self, request: Request, old: Resource) -> Response:
        """Answer a deletion: the object while finalizers hold it, else a Status."""
        try:
            left = await self._store.get(type(old), old.namespace, old.name)
        except NotFoundError:
            left = None
        if left is not None and left.uid == old.uid and left.is_deleting:
            return object_response(request, left)
        return JSONResponse(success(old.key, old.uid))

    async def _delete_options(self, request: Request) -> Document:
        options = await read_object(request, self._limits, may_be_empty=True)
        _orphans(request, options)
        if not isinstance(options.get("preconditions") or {}, dict):
            raise ApiError(400, "preconditions: expected an object")
        return options

    async def _document(self, request: Request, work: LargeWork) -> tuple[Document, WriteOptions]:
        """Return the object that is sent, and who writes it and how; raises ApiError."""
        body, kind = await self._body(request), media_type(request)
        options = write_options(request, size_of(body), work)
        return await work.computed(lambda: decode_object(body, kind), size_of(body)), options

    async def _body(self, request: Request) -> bytes:
        return await read_body(request, self._limits.body_bytes, self._limits.body_seconds)

    def _written(self, request: Request, written: WriteResult) -> Response:
        _note(request, written)
        rendering = rendering_for(request, self._clock())
        code = 201 if written.created else 200
        return json_response(rendering.one(written.resource), code, written.warnings)


def _note(request: Request, written: WriteResult) -> None:
    request.scope[AUDIT_NOTE] = AuditNote(
        name=written.resource.name,
        changes=written.changes,
        annotations={AUDIT_VIOLATIONS: "; ".join(written.audited)} if written.audited else {},
    )


async def _patch_of(content_type: str, body: bytes, work: LargeWork) -> Change:
    """Return the change that a patch makes; raises ApiError 415 for an unknown kind of patch."""
    patch = PATCHES.get(content_type)
    if patch is None:
        known = ", ".join((*PATCHES, APPLY))
        raise ApiError(415, f"cannot patch with {content_type or 'no Content-Type'}: send {known}")
    wanted = await work.computed(lambda: decode_json(body), size_of(body))
    return lambda document: patch(document, wanted)


def _orphans(request: Request, options: Document) -> bool:
    """Return True if what an object owns is to stay when it is deleted; raises ApiError."""
    policy = options.get("propagationPolicy") or request.query_params.get("propagationPolicy")
    if policy not in {None, *_PROPAGATION}:
        known = ", ".join(_PROPAGATION)
        raise ApiError(422, f"propagationPolicy: expected one of {known}, found {policy!r}")
    return policy == _ORPHAN or (policy is None and options.get("orphanDependents") is True)


def _require_deletable(resource: Resource) -> None:
    if isinstance(resource, Namespace) and resource.name == DEFAULT_NAMESPACE:
        raise ApiError(403, f"namespace {DEFAULT_NAMESPACE} always exists", key=resource.key)
    if isinstance(resource, Wave) and (why := deletion_refusal(resource)):
        raise ApiError(409, why, key=resource.key)
