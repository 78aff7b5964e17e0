"""Creates, replaces, patches and applies objects: read, change, admit, write, again on conflict."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.codec import decode, encode, encode_json
from upwell.api.core import Namespace
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.patches.apply import Manager, apply, record_update
from upwell.api.values.author import authored_as
from upwell.audit.changes import changed_fields
from upwell.audit.events import FieldChange
from upwell.oci.json_values import has_more_values
from upwell.policy.access.authority import Requester, authored, refusal
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.visibility import SecretView
from upwell.policy.waves.lowered_approvals import lowering_refusal
from upwell.server.admission.admission import UNKNOWN_FIELD, Admitted, admit
from upwell.server.http.encoding import encoded
from upwell.server.http.errors import ApiError
from upwell.server.http.kubernetes_fields import unknown_kubernetes_fields
from upwell.server.http.target import RequestTarget
from upwell.server.http.values import MAX_VALUES, number_of_values, require_bounded
from upwell.server.objects.account_rights import within_account_rights
from upwell.server.objects.image_volumes import image_volume_warnings
from upwell.server.objects.large_work import size_of
from upwell.server.objects.limit_ranges import within_limit_ranges
from upwell.server.objects.pod_security import enforce_profiles
from upwell.server.objects.workload_claims import require_free_workloads
from upwell.server.objects.write_options import STRICT, WriteOptions
from upwell.store import semantics
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError, Store
from upwell.store.retry import update_with_retry

DEFAULT_NAMESPACE = "default"
_MAX_FIELDS = 20
"""Unknown fields that are named in a refusal."""
type Document = dict[str, Any]
type Change = Callable[[Document], Document]
"""Takes the stored object's JSON and returns the wanted one's."""
type Decide = Callable[[Resource, Document], Admitted]
"""Takes a stored object and its JSON and returns the wanted one; raises what refuses it."""


@dataclass(frozen=True, slots=True)
class WholeObject:
    """A Change to what its client has sent, whatever is stored (PUT)."""

    document: Document

    def __call__(self, _: Document) -> Document:
        """Return what was sent."""
        return self.document


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The object after the write."""

    resource: Resource
    warnings: tuple[str, ...] = ()
    created: bool = False
    changes: tuple[FieldChange, ...] = ()
    """Fields that the write changed; none of a dry run."""
    audited: tuple[str, ...] = ()
    """Violations of the profile that a namespace has recorded."""


@dataclass(frozen=True, slots=True)
class _Replacement:
    """A stored object, and what shall take its place."""

    old: Resource
    wanted: Resource
    warnings: tuple[str, ...] = ()
    audited: tuple[str, ...] = ()
    size: int = 0
    """Bytes of the stored object and the change together."""


class Writer:
    """The one way of clients' writes into the store."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self, target: RequestTarget, document: Document, options: WriteOptions
    ) -> WriteResult:
        """Store a new object; its namespace comes into being with it."""
        manager = self._manager(target, options)

        def decide() -> tuple[Admitted, Document]:
            meant = options.view.restored(document, None)
            admitted = self._admit(target, meant, None, options.person)
            wanted = encode(admitted.declared or admitted.resource)
            wanted["metadata"].pop("managedFields", None)
            return admitted, record_update({}, wanted, manager)

        return await self._create(*await options.work.computed(decide, options.size), options)

    async def modify(
        self, target: RequestTarget, change: Change, options: WriteOptions
    ) -> WriteResult:
        """Write what `change` makes of the stored object."""
        manager = self._manager(target, options)

        def decide(old: Resource, stored: Document) -> Admitted:
            changed = _changed_as_seen(old, stored, change, options.view)
            admitted = self._admit(target, changed, old, options.person)
            declared = encode(admitted.declared) if admitted.declared is not None else None
            owned = record_update(stored, encode(admitted.resource), manager, declared)
            return _with_managed_fields(admitted, owned)

        return await self._update(target, decide, options)

    async def apply(
        self, target: RequestTarget, declared: Document, options: WriteOptions
    ) -> WriteResult:
        """Apply `declared` on the server's side, creating the object if there is none."""
        manager = self._manager(target, options)
        if not declared.get("apiVersion") or not declared.get("kind"):
            raise ApiError(400, "a declared object needs apiVersion and kind")
        if not isinstance(declared.get("metadata") or {}, dict):
            raise ApiError(400, "metadata: expected an object")

        def decide(old: Resource, live: Document) -> Admitted:
            def settle(merged: Document) -> Document:
                return encode(self._admit(target, merged, old, options.person).resource)

            meant = options.view.restored(declared, old)
            merged = apply(live, meant, manager, force=options.force, settle=settle)
            return self._admit(target, merged, old, options.person, applied=True)

        try:
            return await self._update(target, decide, options)
        except NotFoundError:

            def create() -> tuple[Admitted, Document]:
                meant = options.view.restored(declared, None)
                applied = apply({}, meant, manager, force=options.force)
                admitted = self._admit(target, applied, None, options.person)
                return admitted, encode(admitted.resource)

            return await self._create(*await options.work.computed(create, options.size), options)

    async def modify_status(
        self, target: RequestTarget, change: Change, options: WriteOptions
    ) -> WriteResult:
        """Write the status that `change` makes of the stored object; nothing else of it."""

        async def changed_status() -> _Replacement:
            old = await self._store.get(target.resource, target.namespace, target.name)
            text = encoded(old)
            size = size_of(text) + options.size
            wanted = await options.work.computed(
                lambda: _bounded(
                    _with_changed_status(old, json.loads(text), change, options.view), old
                ),
                size,
            )
            return _Replacement(old, wanted, size=size)

        async def write(new: _Replacement) -> WriteResult:
            if options.dry_run:
                return WriteResult(semantics.with_new_status(new.old, new.wanted))
            stored = await self._store.update_status(new.wanted)
            changes = await _changes(new.old, stored, options, new.size)
            return WriteResult(stored, changes=changes)

        return await update_with_retry(changed_status, write)

    async def _create(
        self, admitted: Admitted, document: Document, options: WriteOptions
    ) -> WriteResult:
        owned = _with_managed_fields(admitted, document).resource
        resource = await options.work.computed(
            lambda: _authorized(_known(_bounded(owned, None), None, options), None, options),
            options.size,
        )
        await _refuse_in_ending_namespace(self._store, resource)
        resource = await within_limit_ranges(self._store, resource, None)
        await require_free_workloads(self._store, resource, None)
        await within_account_rights(self._store, resource, None, options.user, options.grants)
        review = await enforce_profiles(self._store, resource, None)
        warnings = (
            *options.heard(admitted.warnings),
            *review.warnings,
            *await image_volume_warnings(self._store, resource, None),
        )
        if options.dry_run:
            preview = _with_repository(await self._preview(resource), options.registry)
            return WriteResult(preview, warnings, created=True)
        if resource.KIND.namespaced and await ensure_namespace(self._store, resource.namespace):
            warnings += (_made_on_the_way(resource.namespace),)
        stored = await self._store.create(resource.with_metadata(resource_version=None))
        changes = await _changes(None, stored, options, options.size)
        shown = _with_repository(stored, options.registry)
        return WriteResult(shown, warnings, created=True, changes=changes, audited=review.audited)

    async def _preview(self, resource: Resource) -> Resource:
        """Return what `create` would store; raises AlreadyExistsError."""
        name = resource.name or f"{resource.metadata.generate_name}xxxxx"
        try:
            found = await self._store.get(type(resource), resource.namespace, name)
        except NotFoundError:
            fresh = semantics.created(resource, semantics.Birth("", name, self._clock()))
            return fresh.with_metadata(uid=None)
        raise AlreadyExistsError(found.key)

    async def _update(
        self, target: RequestTarget, decide: Decide, options: WriteOptions
    ) -> WriteResult:
        async def admitted_change() -> _Replacement:
            old = await self._store.get(target.resource, target.namespace, target.name)
            text = encoded(old)
            size = size_of(text) + options.size

            def compute() -> tuple[Resource, tuple[str, ...]]:
                admitted = decide(old, json.loads(text))
                wanted = _known(_bounded(admitted.resource, old), old, options)
                return _authorized(wanted, old, options), admitted.warnings

            resource, warnings = await options.work.computed(compute, size)
            version = _version(resource.resource_version, old)
            wanted = resource.with_metadata(resource_version=version)
            wanted = await within_limit_ranges(self._store, wanted, old)
            await require_free_workloads(self._store, wanted, old)
            asking = (options.user, options.grants)
            wanted = await within_account_rights(self._store, wanted, old, *asking)
            review = await enforce_profiles(self._store, wanted, old)
            volumes = await image_volume_warnings(self._store, wanted, old)
            return _Replacement(
                old,
                wanted,
                (*options.heard(warnings), *review.warnings, *volumes),
                review.audited,
                size,
            )

        async def write(new: _Replacement) -> WriteResult:
            if options.dry_run:
                return WriteResult(semantics.updated(new.old, new.wanted), new.warnings)
            stored = await self._store.update(new.wanted)
            changes = await _changes(new.old, stored, options, new.size)
            shown = _with_repository(stored, options.registry)
            return WriteResult(shown, new.warnings, changes=changes, audited=new.audited)

        return await update_with_retry(admitted_change, write)

    def _admit(
        self,
        target: RequestTarget,
        document: Document,
        old: Resource | None,
        user: str,
        *,
        applied: bool = False,
    ) -> Admitted:
        """Return what a document becomes; raises as `admit` does.

        Raises ConflictError first if its client has read an older object, as Kubernetes does: such
        a client reads anew, and may send what is valid then.
        """
        if old is not None:
            _version(_asked_version(document), old)
        return admit(target, document, old, user, applied=applied)

    def _manager(self, target: RequestTarget, options: WriteOptions) -> Manager:
        return Manager(options.manager, target.kind.api_version, self._clock())


async def permitted(
    store: Store, wanted: Resource, old: Resource, options: WriteOptions
) -> Resource:
    """Return an object that an action has made of a stored one, with the author that it has then.

    For an action that writes what its client might have written. Raises ApiError 403 if they lack
    a right that the object takes, or a namespace forbids its template.
    """
    resource = _authorized(wanted, old, options)
    resource = await within_limit_ranges(store, resource, old)
    resource = await within_account_rights(store, resource, old, options.user, options.grants)
    await enforce_profiles(store, resource, old)
    return resource


def _made_on_the_way(namespace: str) -> str:
    undo = f"`upwell delete namespace {namespace}` if that is a mistake"
    return f"namespace {namespace} did not exist and was created: {undo}"


async def ensure_namespace(store: Store, name: str) -> bool:
    """Create the namespace unless it exists; return True if it did not."""
    try:
        await store.get(Namespace, "", name)
    except NotFoundError:
        with suppress(AlreadyExistsError):  # another request was faster
            await store.create(Namespace(metadata=ObjectMeta(name=name)))
            return True
    return False


async def _refuse_in_ending_namespace(store: Store, new: Resource) -> None:
    """Raise ApiError 403 for a new object in a namespace that is being deleted."""
    if not new.KIND.namespaced:
        return
    try:
        namespace = await store.get(Namespace, "", new.namespace)
    except NotFoundError:
        return
    if namespace.is_deleting:
        raise ApiError(
            403,
            f'{new.KIND.plural} "{new.name}" is forbidden: unable to create new content in'
            f" namespace {new.namespace} because it is being terminated",
            key=new.key,
        )


def _bounded(resource: Resource, old: Resource | None) -> Resource:
    """Return the object; raises ApiError if a client has made it larger than an object may be.

    What the server itself, or an earlier version, has made so large can be made smaller.
    """
    text = encode_json(resource)
    if not has_more_values(text.encode(), MAX_VALUES):
        return resource
    document = json.loads(text)
    if old is None or number_of_values(document) > number_of_values(encode(old)):
        require_bounded(document, f"the object {resource.name!r}")
    return resource


def _known(resource: Resource, old: Resource | None, options: WriteOptions) -> Resource:
    """Return the object; raises ApiError for fields that a strict client brings in unknown."""
    if options.field_validation != STRICT:
        return resource
    before = set(unknown_kubernetes_fields(encode(old))) if old is not None else set()
    found = [one for one in unknown_kubernetes_fields(encode(resource)) if one not in before]
    if not found:
        return resource
    kind = resource.KIND
    fields = ", ".join(f'{UNKNOWN_FIELD} "{path}"' for path in found[:_MAX_FIELDS])
    raise ApiError(
        400,
        f'{kind} in version "{kind.version}" cannot be handled as a {kind}:'
        f" strict decoding error: {fields}",
        key=resource.key,
    )


def _authorized(resource: Resource, old: Resource | None, options: WriteOptions) -> Resource:
    """Return the object with its author; raises ApiError 403 if it takes a right they lack."""
    if options.grants is None:
        return authored_as(resource, old)
    rights = GrantedRights(options.grants)
    why = refusal(resource, old, rights, options.registry)
    why = why or lowering_refusal(old, resource, rights)
    if why is not None:
        message = f"token {options.user} may not write {resource.key}: it {why}"
        raise ApiError(403, message, key=resource.key)
    if options.keeps_author:
        return authored_as(resource, old)
    requester = Requester(
        options.user, rights, options.registry, options.person, admission=options.admission
    )
    return authored(resource, old, requester)


async def _changes(
    old: Resource | None, new: Resource, options: WriteOptions, size: int
) -> tuple[FieldChange, ...]:
    encoded(options.view.of(new))  # the text that its client and its watches are sent
    hidden = options.view.values.hidden

    def compared() -> tuple[FieldChange, ...]:
        before = _document(hidden(old)) if old is not None else None
        return tuple(changed_fields(before, _document(hidden(new))))

    return await options.work.computed(compared, size)


def _document(resource: Resource) -> Document:
    """Return the object as JSON data, from its text if that is at hand."""
    document: Document = json.loads(encoded.known(resource) or encode_json(resource))
    return document


def _with_managed_fields(admitted: Admitted, document: Document) -> Admitted:
    managed = tuple(document["metadata"].get("managedFields") or ())
    return Admitted(admitted.resource.with_metadata(managed_fields=managed), admitted.warnings)


def _changed_as_seen(old: Resource, stored: Document, change: Change, view: SecretView) -> Document:
    """Return what a change makes of the object; raises InvalidObjectError.

    It is made of what the client sees: no patch copies or tests what is hidden from them.
    """
    shown = view.of(old)
    return view.restored(change(stored if shown is old else encode(shown)), old)


def _with_changed_status(
    old: Resource, stored: Document, change: Change, view: SecretView
) -> Resource:
    """Return the object with the status that a change makes; raises InvalidObjectError."""
    changed = _changed_as_seen(old, stored, change, view)
    wanted = decode(stored | {"status": changed.get("status") or {}})
    _require_history(old, wanted)
    return wanted.with_metadata(resource_version=_version(_asked_version(changed), old))


def _require_history(old: Resource, wanted: Resource) -> None:
    """Raise ApiError if a client takes images out of a stream's history, as pruners of `oc` do.

    They know neither what runs nor what a rollback needs.
    """
    if not isinstance(old, ImageStream) or not isinstance(wanted, ImageStream):
        return
    if lost := sorted(_images(old) - _images(wanted)):
        tag, image = lost[0]
        raise ApiError(
            403,
            f"{old.key}: status.tags: no client takes {image} out of the history of {tag!r}:"
            " `upwell prune` removes what nothing runs and no rollback needs",
            key=old.key,
        )


def _with_repository(resource: Resource, registry: str) -> Resource:
    """Return the object as it is answered: a stream with where its images are pushed to.

    Its status says so a moment later; `oc new-app` and `oc import-image` read it from the answer.
    """
    if not registry or not isinstance(resource, ImageStream):
        return resource
    if resource.status.docker_image_repository:
        return resource
    repository = f"{registry}/{resource.namespace}/{resource.name}"
    status = resource.status.model_copy(update={"docker_image_repository": repository})
    return resource.with_status(status)


def _images(stream: ImageStream) -> set[tuple[str, str]]:
    return {(tag.tag, item.image) for tag in stream.status.tags for item in tag.items}


def _asked_version(document: Document) -> str | None:
    metadata = document.get("metadata")
    asked = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return asked if isinstance(asked, str) else None


def _version(asked: str | None, old: Resource) -> str:
    """Return the version to write over; raises ConflictError if the client read an older one."""
    if asked and asked != old.resource_version:
        raise ConflictError(old.key)
    return old.resource_version
