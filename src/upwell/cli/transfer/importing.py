"""Import of exported objects into a cluster.

What is there already is never overwritten, and an import that was interrupted goes on where it was.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from upwell.api.core import Namespace
from upwell.api.meta import Resource
from upwell.api.schemas.crds import custom_kinds
from upwell.api.schemas.custom_names import with_custom_name
from upwell.cli.core.errors import CommandError
from upwell.policy.transfer.left_out import may_exist, not_for_cluster
from upwell.policy.transfer.objects import UNFINISHED, ObjectOrigin, for_cluster, in_order
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store, StoreError
from upwell.store.kubernetes_errors import KindNotServedError, StoreForbiddenError
from upwell.store.retry import update_with_retry

_CUSTOM = frozenset(custom_kinds())
_SHOWN = 10
_EVERY = 100
_AT_ONCE = 16
"""Objects that are asked for at once."""

type Say = Callable[[str], None]


@dataclass(slots=True)
class ImportOutcome:
    """Numbers of objects, and those that did not get in."""

    written: int = 0
    there: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By kind and reason."""
    refused: list[str] = field(default_factory=list)


def conflict(keys: Sequence[str]) -> CommandError:
    """Return the error for objects that exist, and are others."""
    shown = "; ".join(keys[:_SHOWN])
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    verb, them = ("exists", "it") if len(keys) == 1 else ("exist", "them")
    return CommandError(
        f"{shown}{more} {verb} already and did not come of this export: nothing was written."
        f" Delete {them}, or import into an empty store"
    )


def _refusal(resource: Resource, error: StoreError) -> str:
    """Return which object a cluster did not take, why, and what to do."""
    key = str(resource.key)
    why = str(error).removeprefix(f"{key}: ")
    match error:
        case NotFoundError() if error.key.kind == Namespace.KIND.kind:
            step = f"`kubectl create namespace {error.key.name}`"
        case StoreForbiddenError() if not error.by_admission:
            return f"{key}: {why}"  # which says what to grant
        case _ if error.by_admission:
            step = "have what refuses it let it in"
        case _:
            step = "correct it where it comes from, and export that anew"
    return f"{key}: {why}: {step}"


class ClusterImport:
    """Import into a cluster's API."""

    def __init__(self, store: Store, say: Say) -> None:
        self._store = store
        self._say = say
        self._uids: dict[str, str] = {}
        """New uid by old uid."""
        self._found: dict[str, Resource] = {}
        """Objects of this export that are there, by old uid."""
        self.outcome = ImportOutcome()

    async def check(self, resources: Sequence[Resource]) -> Sequence[Resource]:
        """Return what is left to import, and write nothing; raises CommandError or StoreError."""
        wanted = [
            with_custom_name(one) for one in in_order(resources) if not self._is_left_out(one)
        ]
        await self._look(wanted)
        return [one for one in wanted if one.uid not in self._uids or self._is_unfinished(one)]

    async def run(self, wanted: Sequence[Resource]) -> ImportOutcome:
        """Import what `check` has returned; raises StoreError."""
        for number, one in enumerate(wanted, start=1):
            await self._import(one)
            if number % _EVERY == 0:
                self._say(f"imported {number} of {len(wanted)} objects")
        return self.outcome

    def _is_left_out(self, resource: Resource) -> bool:
        reason = not_for_cluster(resource)
        if reason:
            self.outcome.left_out[f"{resource.KIND}: {reason}"] += 1
        return bool(reason)

    def _is_unfinished(self, resource: Resource) -> bool:
        found = self._found.get(resource.uid)
        return found is not None and UNFINISHED in found.annotations

    async def _look(self, resources: Sequence[Resource]) -> None:
        """Find what is there; raises CommandError for objects of the same name that are others."""
        turns = asyncio.Semaphore(_AT_ONCE)
        others: list[str] = []

        async def look(one: Resource) -> None:
            async with turns:
                try:
                    found = await self._store.get(type(one), one.namespace, one.name)
                except (NotFoundError, KindNotServedError):
                    return
            origin = ObjectOrigin.of(found)
            if origin is not None and origin.uid == one.uid:
                self._uids[one.uid] = found.uid
                self._found[one.uid] = found
                self.outcome.there += UNFINISHED not in found.annotations
            elif may_exist(one):
                self._uids[one.uid] = found.uid
                self.outcome.there += 1
            else:
                others.append(str(one.key))

        async with asyncio.TaskGroup() as group:
            for one in resources:
                group.create_task(look(one))
        if others:
            raise conflict(sorted(others))

    async def _import(self, resource: Resource) -> None:
        wanted = for_cluster(resource, self._uids)
        try:
            made = self._found.get(resource.uid) or await self._store.create(wanted)
            self._uids[resource.uid] = made.uid
            await self._finish(resource, wanted, made)
        except KindNotServedError:
            self.outcome.left_out[f"{resource.KIND}: the cluster has no such kind"] += 1
        except AlreadyExistsError:
            await self._take_what_is_there(resource)
        except StoreError as error:
            if error.retryable:
                raise
            self.outcome.refused.append(_refusal(resource, error))
        else:
            self.outcome.written += 1

    async def _take_what_is_there(self, resource: Resource) -> None:
        """Keep what has come meanwhile, as a cluster makes a ServiceAccount in a new namespace."""
        if may_exist(resource):
            found = await self._store.get(type(resource), resource.namespace, resource.name)
            self._uids[resource.uid] = found.uid
            self.outcome.there += 1
        else:
            self.outcome.refused.append(
                f"{resource.key}: somebody else has made one meanwhile: delete it"
            )

    async def _finish(self, resource: Resource, wanted: Resource, made: Resource) -> None:
        """Write the status, and then what says that all of it is there.

        The status of a kind that the cluster has itself is its controllers' to write.
        """
        kind = type(resource)

        async def newest() -> Resource:
            return await self._store.get(kind, made.namespace, made.name)

        if kind in _CUSTOM and kind.KIND.has_status and "status" in wanted.model_fields_set:

            async def write_status(found: Resource) -> Resource:
                now = {"uid": found.uid, "resource_version": found.resource_version}
                return await self._store.update_status(wanted.with_metadata(**now))

            await update_with_retry(newest, write_status)

        async def write_marks(found: Resource) -> Resource:
            kept = {key: text for key, text in found.annotations.items() if key != UNFINISHED}
            managers = resource.metadata.managed_fields or found.metadata.managed_fields
            return await self._store.update(
                found.with_metadata(annotations=kept, managed_fields=managers)
            )

        await update_with_retry(newest, write_marks)
