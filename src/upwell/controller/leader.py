"""Leader election by a Lease: of several replicas, one reconciles at a time.

The algorithm is that of Kubernetes' own components (client-go, tools/leaderelection): times of
others are never compared with our clock. A lease counts until it was seen unchanged for its
duration, and a leader stops writing well before that (`LeaderTerm.require`).
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from upwell.api.coordination.leases import Lease, LeaseSpec
from upwell.api.coordination.replicas import PLACE_ANNOTATIONS, ReplicaPlace
from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    Selector,
    Store,
    StoreError,
    UnavailableError,
)

log = logging.getLogger(__name__)

ELECTION_LABELS = {"app.kubernetes.io/name": "upwell", "app.kubernetes.io/component": "leader"}
"""Of every Lease by which an Upwell is led."""
INSTALLATION_LABELS = {"app.kubernetes.io/part-of": "upwell"}
"""Of every namespace that an Upwell is installed in: those of namespaces are the administrators' to
set, so that Leases there are believed."""
NAMESPACES_ANNOTATION = "upwell.dev/namespaces"
"""Of such a Lease: the namespaces that are reconciled, apart by commas; empty: all."""
_FORBIDDEN = "Forbidden"
"""Reason of a StoreError (meta/v1 StatusReason)."""
_MOST_LEASE_SECONDS = 60.0
"""Time for which a lease counts that nobody renews, whatever duration it states."""
_RELEASED_SECONDS = 1
"""Duration of a lease that was given back."""
_GIVING_BACK_SECONDS = 2.0
"""Time that giving it back may take; then it runs out by itself."""


def boot_seconds() -> float:
    """Return the seconds since some moment of this boot, those of a suspended machine included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NotLeaderError(UnavailableError):
    """This process does not lead any more: what it was about to write is another's to decide."""

    reason = "NotLeader"


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Times of an election, in seconds."""

    duration: float = 10.0
    """A lease that was not renewed for so long is another's to take."""
    renewal: float = 2.0
    """Time between two renewals, or two looks at a lease of another."""
    writing: float = 7.0
    """After the beginning of the last renewal that succeeded, a leader writes nothing any more."""


@dataclass(frozen=True, slots=True)
class Election:
    """Lease that is stood for, and by whom."""

    namespace: str
    name: str
    identity: str
    """Unique to the process: a replica that comes back is another candidate."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that the leader reconciles; empty: all."""
    times: LeaseTimes = LeaseTimes()


class LeaderTerm:
    """An unbroken time in which this process leads."""

    def __init__(self, clock: Callable[[], float], began: float, writing: float) -> None:
        """`began` is the time of the request that won it, `writing` that of LeaseTimes."""
        self._clock = clock
        self._writing = writing
        self._until = began + writing
        self._ended = False

    @property
    def seconds_left(self) -> float:
        """Time for which may be written without a further renewal; 0 or less: none."""
        return 0.0 if self._ended else self._until - self._clock()

    def renewed(self, began: float) -> None:
        """Note that a renewal succeeded whose request began at `began`; a late one is none."""
        if self.seconds_left > 0:
            self._until = began + self._writing

    def end(self) -> None:
        """Let nothing be written any more."""
        self._ended = True

    def require(self) -> None:
        """Raise NotLeaderError once the term may be over."""
        if self.seconds_left <= 0:
            raise NotLeaderError(
                "this replica does not lead any more: its lease was not renewed in time"
            )


@dataclass(slots=True)
class _Sightings:
    """Times at which each lease was first seen as it is, by our own clock."""

    clock: Callable[[], float]
    _seen: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)

    def seconds_left(self, lease: Lease) -> float:
        """Return for how long a lease still counts; 0: it is free."""
        if not lease.spec.holder_identity:
            return 0.0
        key, now = (lease.namespace, lease.name), self.clock()
        version, since = self._seen.get(key, ("", now))
        if version != lease.resource_version:
            since = now
            self._seen[key] = (lease.resource_version, now)
        duration = min(lease.spec.lease_duration_seconds or 0, _MOST_LEASE_SECONDS)
        return max(0.0, since + duration - now)


class LeaderElection:
    """Stands for a Lease, and leads while it holds it."""

    def __init__(
        self,
        store: Store,
        election: Election,
        *,
        wall: Callable[[], datetime],
        clock: Callable[[], float] = boot_seconds,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`wall` is the time in UTC that others read, `clock` the seconds that nothing stops."""
        self._store = store
        self._election = election
        self._times = election.times
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._sightings = _Sightings(clock)
        self._lease: Lease | None = None
        """As we have written it last."""
        self._term: LeaderTerm | None = None
        self.leader = ""
        """Identity of the leader, as it was seen last; empty: none is known."""
        self.place: ReplicaPlace | None = None
        """Place at which this process answers others, for its Lease; None: none is known."""
        self.leader_place: ReplicaPlace | None = None
        """Place at which another one that leads answers; None: it does not say, or none does."""
        self.obstacle = ""
        """Reason why this process cannot stand, for people; empty: nothing is in its way."""

    @property
    def identity(self) -> str:
        """The name of this candidate."""
        return self._election.identity

    @property
    def is_leader(self) -> bool:
        """True while this process may write as the leader."""
        return self._term is not None and self._term.seconds_left > 0

    @property
    def role(self) -> str:
        """The part of this process in the election, for people."""
        if self.is_leader:
            return f"leader, as {self.identity}"
        if self.leader and self.leader != self.identity:
            return f"follows {self.leader}"
        return "no leader is known"

    async def run(self, lead: Callable[[LeaderTerm], Awaitable[None]]) -> None:
        """Stand until cancelled; run `lead` in each term that is won, and cancel it at its end.

        An orderly end gives the lease back, so that another takes it at once.
        """
        while True:
            term = self._term = await self._won()
            log.info("leading", extra={"identity": self.identity})
            try:
                await self._serve(term, lead)
            finally:
                self._term = None
                log.info("not leading any more", extra={"identity": self.identity})

    async def _won(self) -> LeaderTerm:
        """Wait until a term is won."""
        while True:
            pause = self._pause()
            try:
                won, left = await self._stand()
            except StoreError as error:
                self.obstacle = f"the lease cannot be asked for: {error}"
                log.warning("no leader election", extra={"why": str(error)})
            else:
                if won is not None:
                    return won
                pause = min(pause, left) if left else pause
            await self._sleep(pause)

    async def _stand(self) -> tuple[LeaderTerm | None, float]:
        """Try to win; else return how long the lease of another still counts, 0 if unknown."""
        lease = await self._read()
        holder = (lease.spec.holder_identity or "") if lease is not None else ""
        # One that is left of an earlier term of ours can be taken: what that led has ended.
        if lease is not None and holder != self.identity:
            left = self._sightings.seconds_left(lease)
            if left > 0:
                self.leader, self.obstacle = holder, ""
                self.leader_place = ReplicaPlace.of(lease.annotations)
                return None, left
        # Looked for before, so that nobody takes and gives back in vain, and after: of two who
        # begin at once, at least one sees the other's lease.
        places = await self._believed_namespaces()
        if await self._is_obstructed(places):
            return None, 0.0
        began = self._clock()  # nobody can have seen the lease as ours before that
        try:
            self._lease = await self._write(lease)
        except (ConflictError, AlreadyExistsError):
            return None, 0.0  # another was faster
        if await self._is_obstructed(places):
            await self._release()
            return None, 0.0
        self.leader, self.leader_place, self.obstacle = self.identity, None, ""
        return LeaderTerm(self._clock, began, self._times.writing), 0.0

    async def _is_obstructed(self, places: Sequence[str]) -> bool:
        """Return True if another Upwell reconciles some of the same namespaces."""
        for lease in await self._leases(places):
            if (lease.namespace, lease.name) == (self._election.namespace, self._election.name):
                continue
            if self._overlaps(lease) and self._sightings.seconds_left(lease) > 0:
                self.obstacle = (
                    f"another Upwell reconciles {_all(_namespaces_of(lease))}: it is led by"
                    f" {lease.spec.holder_identity} through Lease {lease.namespace}/{lease.name}."
                    " Uninstall one of them, give them different [kubernetes] namespaces, or the"
                    " same lease-name and lease-namespace if both are replicas of one"
                )
                self.leader = ""
                return True
        return False

    async def _believed_namespaces(self) -> Sequence[str]:
        """Return our namespace and all that are marked as an installation's.

        Of other namespaces whoever may write a Lease could keep us from leading. Without the right
        to list namespaces, it is ours alone.
        """
        marked: Sequence[Namespace] = ()
        try:
            marked = (await self._store.list(Namespace, Selector(labels=INSTALLATION_LABELS))).items
        except StoreError as error:
            if error.reason != _FORBIDDEN:
                raise
        return sorted({self._election.namespace, *(one.name for one in marked)})

    async def _leases(self, places: Sequence[str]) -> Sequence[Lease]:
        """Return the Leases of Upwells in these namespaces; those of others need rights there."""
        found: list[Lease] = []
        for namespace in places:
            try:
                found += (await self._store.list(Lease, Selector(namespace, ELECTION_LABELS))).items
            except StoreError as error:
                if error.reason != _FORBIDDEN or namespace == self._election.namespace:
                    raise
        return found

    def _overlaps(self, lease: Lease) -> bool:
        ours, theirs = set(self._election.namespaces), set(_namespaces_of(lease))
        return not ours or not theirs or bool(ours & theirs)

    async def _serve(self, term: LeaderTerm, lead: Callable[[LeaderTerm], Awaitable[None]]) -> None:
        work = asyncio.ensure_future(lead(term))
        keeping = asyncio.ensure_future(self._keep(term))
        try:
            await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What was led ends before another may lead; the term guards what is slow to end.
            work.cancel()
            await asyncio.wait({work})
            keeping.cancel()
            await asyncio.wait({keeping})
            is_held = term.seconds_left > 0
            term.end()
            if is_held:
                with suppress(StoreError, TimeoutError):
                    async with asyncio.timeout(_GIVING_BACK_SECONDS):
                        await self._release()
        for task in (work, keeping):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _keep(self, term: LeaderTerm) -> None:
        """Renew until the term is over."""
        while term.seconds_left > 0:
            await self._sleep(min(self._pause(), max(0.0, term.seconds_left)))
            # A process that slept for longer (stopped, or on a suspended machine) has lost it.
            if (left := term.seconds_left) <= 0:
                break
            began = self._clock()
            try:
                async with asyncio.timeout(left):
                    is_ours = await self._renew()
            except (StoreError, TimeoutError) as error:
                why = str(error) or "the API server has not answered in time"
                log.warning("lease not renewed", extra={"why": why, "left": left})
                continue
            if not is_ours:
                break
            term.renewed(began)

    async def _renew(self) -> bool:
        """Renew once; return False if another has the lease. Raises StoreError."""
        try:
            self._lease = await self._write(self._lease)
        except (ConflictError, NotFoundError):
            found = await self._read()
            if found is None or found.spec.holder_identity != self.identity:
                self.leader = (found.spec.holder_identity or "") if found is not None else ""
                return False
            self._lease = await self._write(found)  # an earlier write whose answer was lost
        return True

    async def _release(self) -> None:
        """Give the lease back; raises StoreError."""
        try:
            await self._give_back(self._lease)
        except ConflictError:
            # A renewal that was cut short has arrived.
            await self._give_back(await self._read())

    async def _give_back(self, lease: Lease | None) -> None:
        self._lease = None
        if lease is None or lease.spec.holder_identity != self.identity:
            return
        spec = lease.spec.model_copy(
            update={
                "holder_identity": "",
                "lease_duration_seconds": _RELEASED_SECONDS,
                "renew_time": self._wall(),
            }
        )
        await self._store.update(lease.model_copy(update={"spec": spec}))
        self.leader = ""

    async def _read(self) -> Lease | None:
        try:
            return await self._store.get(Lease, self._election.namespace, self._election.name)
        except NotFoundError:
            return None

    async def _write(self, lease: Lease | None) -> Lease:
        """Make the lease ours, or renew it; raises ConflictError or AlreadyExistsError."""
        now = self._wall()
        before = lease.spec if lease is not None else LeaseSpec()
        is_ours = before.holder_identity == self.identity
        changes = (before.lease_transitions or 0) + (0 if is_ours or lease is None else 1)
        spec = before.model_copy(
            update={
                "holder_identity": self.identity,
                "lease_duration_seconds": round(self._times.duration),
                "acquire_time": before.acquire_time if is_ours else now,
                "renew_time": now,
                "lease_transitions": changes,
            }
        )
        annotations = {
            NAMESPACES_ANNOTATION: ",".join(sorted(self._election.namespaces)),
            **(self.place.annotations() if self.place is not None else {}),
        }
        if lease is None:
            meta = ObjectMeta(
                name=self._election.name,
                namespace=self._election.namespace,
                labels=dict(ELECTION_LABELS),
                annotations=annotations,
            )
            return await self._store.create(Lease(metadata=meta, spec=spec))
        others = {
            name: text for name, text in lease.annotations.items() if name not in PLACE_ANNOTATIONS
        }
        marked = lease.with_metadata(
            labels={**lease.labels, **ELECTION_LABELS},
            annotations={**others, **annotations},
        )
        return await self._store.update(marked.model_copy(update={"spec": spec}))

    def _pause(self) -> float:
        """Return the time until the next look, with jitter of a fifth: candidates part."""
        return self._times.renewal * (0.8 + 0.4 * self._chance())


def _namespaces_of(lease: Lease) -> tuple[str, ...]:
    given = lease.annotations.get(NAMESPACES_ANNOTATION, "")
    return tuple(name for name in given.split(",") if name)


def _all(namespaces: tuple[str, ...]) -> str:
    if not namespaces:
        return "all namespaces"
    return f"namespace{'s' * (len(namespaces) > 1)} {', '.join(namespaces)}"
