"""Keys that all replicas of a server share: entries of one Secret beside it.

The first replica brings in what its data folder has, or makes it; all others adopt that. Data
folders keep copies, so that a Secret that was lost is made again of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from upwell.api.coordination.replicas import KEYS_SECRET, shared_metadata
from upwell.api.core import Secret
from upwell.machine.components import WatchedComponent
from upwell.signing.keys import SigningKeyError
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    Store,
    StoreError,
)
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.retry import update_with_retry

_SECONDS = 10.0

type KeyEntries = Mapping[str, bytes]
"""Values of the Secret, by the names of its entries."""


class SharedKeysError(StoreError):
    """The Secret with the keys cannot be read or written; the message has the next step."""

    reason = "SharedKeys"


@dataclass(slots=True)
class SharedKeys:
    """The Secret in `namespace`, which `store` has."""

    store: Store
    namespace: str
    _known: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Entries that this replica has checked, and goes by."""
    _fixed: set[str] = field(default_factory=set)
    """Those of them by which it goes until it ends."""

    @property
    def name(self) -> str:
        """Name of the Secret, for people."""
        return f"Secret {self.namespace}/{KEYS_SECRET}"

    async def agree(self, change: Callable[[KeyEntries], KeyEntries]) -> KeyEntries:
        """Have the Secret hold what `change` makes of its entries as they are; return these.

        Nothing is written where nothing changes. `change` may be called again, after another
        replica has written. Raises SharedKeysError or another StoreError.
        """

        async def write(found: Secret | None) -> KeyEntries:
            entries = {} if found is None else found.decoded()
            wanted = dict(change(entries))
            if found is None:
                await self._create(wanted)
            elif wanted != entries:
                data = Secret.encode_values(wanted)
                await self.store.update(found.model_copy(update={"data": data}))
            return wanted

        try:
            return await update_with_retry(self._find, write)
        except StoreForbiddenError as error:
            raise SharedKeysError(
                f"{error}: replicas share their keys in {self.name}, and this server's account may"
                " not read or write it: apply `upwell install kubernetes` of this version, which"
                " gives it that right"
            ) from error

    def remember(self, entries: KeyEntries, *, fixed: bool = False) -> None:
        """Have entries put back that this replica goes by; `fixed`: until it ends."""
        self._known |= entries
        if fixed:
            self._fixed |= entries.keys()

    async def restore(self) -> None:
        """Put back what has gone from the Secret; raises a StoreError.

        One that differs from what this replica has to go by is left there, and a SharedKeysError.
        """
        found = await self.agree(lambda found: {**self._known, **found})
        for name in sorted(self._fixed):
            if found[name].strip() != self._known[name].strip():
                raise SharedKeysError(
                    f"{name} in {self.name} is another one than this replica has: remove the entry,"
                    " and it is put back; or start all replicas again, if it is to be the new one"
                )

    async def _find(self) -> Secret | None:
        try:
            return await self.store.get(Secret, self.namespace, KEYS_SECRET)
        except NotFoundError:
            return None

    async def _create(self, entries: KeyEntries) -> None:
        meta = shared_metadata(self.namespace, KEYS_SECRET)
        secret = Secret(metadata=meta, type="Opaque", data=Secret.encode_values(dict(entries)))
        try:
            await self.store.create(secret)
        except AlreadyExistsError as error:
            raise ConflictError(secret.key, "another replica has made it") from error


async def keep_shared(
    keys: SharedKeys,
    adopt: Callable[[], Awaitable[None]],
    component: WatchedComponent,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Put back what was removed from the Secret, and `adopt` what changes there, until cancelled.

    What goes wrong is shown as the component; the replica goes on with the keys that it has.
    """
    while True:
        try:
            await keys.restore()
            await adopt()
        except (StoreError, SigningKeyError, OSError) as error:
            component.fail("KeysNotShared", f"{error}; this replica goes on with its own keys")
        else:
            component.recover()
        await sleep(_SECONDS)
