"""Admission of a cluster's objects: the same that writes through this API pass.

What it asks of people's rights, it asks the cluster's RBAC. Upwell's own account passes: what it
writes was admitted here, or is its reconcilers'.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from upwell.api.codec import InvalidObjectError, UnknownKindError, decode_as, encode
from upwell.api.defaults import as_stored, with_defaults, with_kept_form
from upwell.api.meta import Resource
from upwell.api.schemas.custom_names import own_name, with_own_name
from upwell.api.values.author import (
    ADMISSION_ANNOTATION,
    AUTHOR_ANNOTATION,
    AUTHOR_GROUPS_ANNOTATION,
    AUTHOR_PERSON_ANNOTATION,
    CONTENT_AUTHORS_ANNOTATION,
    IMPORT_REQUESTERS_ANNOTATION,
    MADE_OF_ANNOTATION,
    WRITERS_ANNOTATION,
    cluster_author,
)
from upwell.api.waves.wave import Wave
from upwell.cluster.errors import ClusterError
from upwell.cluster.interface import ClusterUser
from upwell.policy.access.authority import Requester, authored, needs, needs_in_use, refusal
from upwell.policy.access.needs import Need
from upwell.policy.access.rights import Rights
from upwell.policy.cluster_access.users import user_of
from upwell.policy.waves.approval import deletion_refusal
from upwell.policy.waves.lowered_approvals import lowering_needs, lowering_refusal
from upwell.server.admission.admission import Admitted, admit
from upwell.server.cluster_access.reviews import (
    CREATE,
    DELETE,
    UPDATE,
    AdmissionAnswer,
    AdmissionRequest,
    Document,
)
from upwell.server.http.errors import ApiError, to_api_error
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import LargeWork
from upwell.server.objects.workload_claims import require_free_workloads
from upwell.store.interface import Store, StoreError

_CONTROL_PLANE = frozenset(
    {
        "system:serviceaccount:kube-system:namespace-controller",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:kube-controller-manager",
    }
)
"""Accounts that delete the objects of a namespace or owner that somebody has deleted; the last
where controllers have no accounts of their own (`--use-service-account-credentials`)."""
_KEPT_BY_SERVER = (
    AUTHOR_ANNOTATION,
    AUTHOR_PERSON_ANNOTATION,
    AUTHOR_GROUPS_ANNOTATION,
    ADMISSION_ANNOTATION,
    CONTENT_AUTHORS_ANNOTATION,
    MADE_OF_ANNOTATION,
    IMPORT_REQUESTERS_ANNOTATION,
    WRITERS_ANNOTATION,
)
_BESIDE = frozenset({"apiVersion", "kind", "metadata", "status"})


@dataclass(frozen=True, slots=True)
class _Written:
    """A write, read: the object that is to be, and the one that is."""

    target: RequestTarget
    document: Document
    old: Resource | None
    admitted: Admitted


class UserRights(Protocol):
    """Rights of a cluster's users."""

    async def of(self, user: ClusterUser, wanted: Iterable[Need]) -> Rights:
        """Return which of the rights a user has; raises a ClusterError worth another try."""
        ...


class ClusterAdmission:
    """Answers a cluster about writes of Upwell's kinds.

    `own` is the name of Upwell's account there, and `admission` returns the id that authors get,
    empty for none. `registry` is the `host:port` of the embedded registry; `store` has the
    Pipelines whose workloads no other may name.
    """

    def __init__(
        self,
        rights: UserRights,
        own: str,
        admission: Callable[[], Awaitable[str]],
        registry: str,
        store: Store,
    ) -> None:
        self._store = store
        self._rights = rights
        self.own = own
        self._admission = admission
        self._registry = registry

    async def mutated(
        self, request: AdmissionRequest, work: LargeWork, size: int
    ) -> AdmissionAnswer:
        """Answer with the author of an object, and what the server keeps of it."""
        if self._passes(request) or request.operation not in {CREATE, UPDATE}:
            return AdmissionAnswer()
        return await self._answered(request, work, size, patched=True)

    async def validated(
        self, request: AdmissionRequest, work: LargeWork, size: int
    ) -> AdmissionAnswer:
        """Answer whether a write may be."""
        if request.user.name == self.own:
            return AdmissionAnswer()
        if request.target.subresource:
            message = f"user {request.user.name} may not write the status of"
            message = f"{message} {request.target.key}: Upwell alone does"
            return AdmissionAnswer(ApiError(403, message, key=request.target.key))
        if request.operation == DELETE:
            return await self._deleted(request, work, size)
        if self._passes(request):
            return AdmissionAnswer()
        return await self._answered(request, work, size, patched=False)

    def _passes(self, request: AdmissionRequest) -> bool:
        """Return True for a write that says nothing which anybody would have to stand for."""
        if request.user.name == self.own:
            return True
        new, old = request.object, request.old
        if new is None or old is None or _declared(new) != _declared(old):
            return False
        return _owners(new) <= _owners(old)  # with a new owner, whoever deletes that deletes it

    async def _answered(
        self, request: AdmissionRequest, work: LargeWork, size: int, *, patched: bool
    ) -> AdmissionAnswer:
        try:
            if request.target.kind.read_only:
                raise ApiError(403, f"Upwell alone writes {request.target.kind.plural}")
            author = cluster_author(request.user.name)
            written = await work.computed(lambda: _read(request, author), size)
            requester = await self._requester(request.user, written)
            result = await work.computed(lambda: _authorized(written, requester), size)
            await require_free_workloads(self._store, written.admitted.resource, written.old)
            if patched:
                return AdmissionAnswer(
                    patch=await work.computed(lambda: list(_patch(written, result)), size)
                )
            _require_author(written, result)
            return AdmissionAnswer(warnings=written.admitted.warnings)
        except _EXPLAINED as error:
            return AdmissionAnswer(_refusal(error))

    async def _requester(self, user: ClusterUser, written: _Written) -> Requester:
        resource, old = written.admitted.resource, written.old
        wanted = _asked(resource, old, self._registry)
        return Requester(
            cluster_author(user.name),
            await self._rights_of(user, wanted),
            self._registry,
            groups=user.groups,
            admission=await self._admission(),
        )

    async def _rights_of(self, user: ClusterUser, wanted: Iterable[Need]) -> Rights:
        return await self._rights.of(user_of(user.name, user.groups), wanted)

    async def _deleted(
        self, request: AdmissionRequest, work: LargeWork, size: int
    ) -> AdmissionAnswer:
        if request.old is None or request.user.name in _CONTROL_PLANE:
            return AdmissionAnswer()
        document = request.old
        try:
            old = await work.computed(lambda: _complete(request.target, document), size)
            rights = await self._rights_of(request.user, lowering_needs(old, None))
        except InvalidObjectError:
            return AdmissionAnswer()  # nonsense may go
        except ClusterError as error:
            return AdmissionAnswer(_refusal(error))
        why = deletion_refusal(old) if isinstance(old, Wave) else ""
        if isinstance(old, Wave) and request.is_cut:  # what was approved is not known
            why = f"{old.key} is too large to be judged: Upwell deletes it once it is old"
        if why:
            return AdmissionAnswer(ApiError(409, why, key=old.key))
        if (lacking := lowering_refusal(old, None, rights)) is not None:
            message = f"user {request.user.name} may not delete {old.key}: it {lacking}"
            return AdmissionAnswer(ApiError(403, message, key=old.key))
        return AdmissionAnswer()


_EXPLAINED = (ApiError, ClusterError, InvalidObjectError, StoreError, UnknownKindError)


def _refusal(error: Exception) -> ApiError:
    if isinstance(error, ClusterError):
        return ApiError(503, f"Upwell cannot ask the cluster who may do this: {error}")
    return to_api_error(error)


def _declared(document: Document) -> object:
    """Return what an object says, but for metadata that nobody has to stand for."""
    metadata = document.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    said = {one: value for one, value in document.items() if one not in _BESIDE}
    return said, about.get("annotations") or {}, about.get("labels") or {}


def _owners(document: Document) -> set[str]:
    metadata = document.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    return {str(one.get("uid")) for one in owners or () if isinstance(one, dict)}


def _complete(target: RequestTarget, document: Document) -> Resource:
    """Return an object as this server's store shows it; raises InvalidObjectError."""
    return as_stored(with_kept_form(with_own_name(decode_as(target.resource, document))))


def _read(request: AdmissionRequest, author: str) -> _Written:
    target, document = request.target, request.object
    if document is None:
        raise ApiError(400, "request.object: there is none")
    old = None
    if request.old is not None:
        try:
            old = _complete(target, request.old)
        except InvalidObjectError:
            old = None  # all of what takes its place is asked about
    place = RequestTarget(target.resource, target.namespace, own_name(target.resource, target.name))
    admitted = admit(place, _with_own_name(target.resource, document), old, author)
    return _Written(place, document, old, admitted)


def _with_own_name(kind: type[Resource], document: Document) -> Document:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str):
        return document  # its faults are told by admission
    return {**document, "metadata": {**metadata, "name": own_name(kind, name)}}


def _asked(resource: Resource, old: Resource | None, registry: str) -> frozenset[Need]:
    """Return every right about which `_authorized` may ask."""
    return (
        needs(resource, registry) | needs_in_use(resource, registry) | lowering_needs(old, resource)
    )


def _authorized(written: _Written, requester: Requester) -> Resource:
    """Return the object with its author; raises ApiError 403 if it takes a right they lack."""
    resource, old = written.admitted.resource, written.old
    why = refusal(resource, old, requester.rights, requester.registry)
    why = why or lowering_refusal(old, resource, requester.rights)
    if why is not None:
        message = f"user {_user(requester)} may not write {resource.key}: it {why}"
        raise ApiError(403, message, key=resource.key)
    return authored(resource, old, requester)


def _user(requester: Requester) -> str:
    return requester.name.removeprefix(cluster_author(""))


def _require_author(written: _Written, result: Resource) -> None:
    """Raise ApiError if an object has other authors than the mutation has given it."""
    found = written.admitted.resource.annotations
    for name in _KEPT_BY_SERVER:
        if found.get(name, "") != result.annotations.get(name, ""):
            message = f"{result.key} would get another {name} than Upwell's admission has set"
            raise ApiError(403, f"{message}: something has changed it since", key=result.key)


def _patch(written: _Written, result: Resource) -> Iterator[Mapping[str, Any]]:
    """Yield what makes the result of the object that was sent; defaults are not written."""
    document = written.document
    metadata = document["metadata"]
    for name, wanted in (("annotations", result.annotations), ("labels", result.labels)):
        if dict(wanted) != (metadata.get(name) or {}):
            yield {"op": "add", "path": f"/metadata/{name}", "value": dict(wanted)}
    before = encode(with_defaults(with_kept_form(decode_as(written.target.resource, document))))
    after = encode(result)
    for name in sorted((before.keys() | after.keys()) - _BESIDE):
        if before.get(name) == after.get(name):
            continue
        if name in after:
            yield {"op": "add", "path": f"/{name}", "value": after[name]}
        elif name in document:
            yield {"op": "remove", "path": f"/{name}"}
