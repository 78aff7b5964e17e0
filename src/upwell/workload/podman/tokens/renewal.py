"""Tokens of instances from their start to their end: asked for, written, made anew in time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from upwell.machine.clock import Clock
from upwell.oci import Reference
from upwell.workload.errors import WorkloadError
from upwell.workload.instance_spec import InstanceSpec, TokenFile
from upwell.workload.podman.records import InstanceRecord, MountedToken, RecordStore
from upwell.workload.podman.tokens.files import (
    Ownership,
    TokenOwners,
    TokenVolumes,
    volumes_with_tokens,
)
from upwell.workload.podman.tokens.issue import (
    BoundInstance,
    IssuedToken,
    IssueToken,
    TokenRefusedError,
)
from upwell.workload.podman.users.ids import is_id

_log = logging.getLogger(__name__)

_PART = 0.8
"""Part of its life after which a token is made anew, as the kubelet does."""
_RETRY = timedelta(seconds=30)
"""Until one that could not be made is asked for again."""
_LONGEST_WAIT = 600.0

type ImageUser = Callable[[Reference], Awaitable[str]]
"""Returns the user of an image's configuration: `user[:group]`."""


@dataclass(frozen=True, slots=True)
class NewTokens:
    """Tokens that an instance starts with, by volume and path, and whose its files are."""

    owners: TokenOwners
    issued: Mapping[tuple[str, str], IssuedToken] = field(default_factory=dict)


class InstanceTokens:
    """Gives instances their tokens; which they have is in their records."""

    def __init__(self, root: Path, records: RecordStore, issue: IssueToken, clock: Clock) -> None:
        self._volumes = TokenVolumes(root)
        self._records = records
        self._issue = issue
        self._clock = clock
        self._changed = asyncio.Event()
        self._following: set[str] = set()

    async def ask(self, spec: InstanceSpec, uid: str, image_user: ImageUser) -> NewTokens:
        """Have the tokens made that an instance starts with; its images are there.

        Raises TokenRefusedError for one that it may not do without.
        """
        volumes = dict(volumes_with_tokens(spec))
        if not volumes:
            return NewTokens(TokenOwners(None, None))
        bound = BoundInstance(spec.name, uid, spec.owner)
        issued = {}
        for name, files in volumes.items():
            for wanted in files.tokens:
                try:
                    issued[name, wanted.path] = await self._issue(bound, wanted)
                except TokenRefusedError as error:
                    if not wanted.optional:
                        raise
                    extra = {"instance": spec.name, "why": str(error)}
                    _log.info("instance starts without a token", extra=extra)
        group = spec.volume_group.group if spec.volume_group is not None else None
        return NewTokens(TokenOwners(await _one_user(spec, image_user), group), issued)

    def mount(self, spec: InstanceSpec) -> Mapping[str, Path]:
        """Return where the volumes with tokens are, empty; raises OSError, ForbiddenError."""
        return self._volumes.mount(spec)

    def write(
        self,
        spec: InstanceSpec,
        places: Mapping[str, Path],
        record: InstanceRecord,
        new: NewTokens,
    ) -> InstanceRecord:
        """Write what these volumes hold, and return the record with the tokens; raises OSError."""
        owner = new.owners.of_token(record.users)
        tokens = []
        for name, files in volumes_with_tokens(spec):
            self._volumes.fill(places[name], files, new.owners, record.users)
            for wanted in files.tokens:
                issued = new.issued.get((name, wanted.path))
                if issued is not None:
                    self._volumes.write_token(spec.name, name, wanted.path, issued.token, owner)
                tokens.append(self._noted(name, wanted, issued, owner))
        return replace(record, tokens=tuple(tokens))

    def follow(self, name: str) -> None:
        """Make the tokens of an instance anew from now on, if its record has any."""
        record = self._records.load(name)
        if record is not None and record.tokens:
            self._following.add(name)
            self._changed.set()

    def release(self, name: str) -> None:
        """Remove the volumes of an instance that ends; raises OSError."""
        self._following.discard(name)
        self._volumes.release(name)

    def release_all(self) -> None:
        """Remove the volumes of all instances; raises OSError."""
        for name in self._volumes.names():
            self.release(name)

    async def run(self) -> None:
        """Make tokens anew in time, until cancelled."""
        for name in await asyncio.to_thread(self._volumes.names):
            if self._records.load(name) is None:  # its end was cut short
                try:
                    await asyncio.to_thread(self.release, name)
                except OSError as error:
                    extra = {"instance": name, "why": str(error)}
                    _log.warning("tokens of an ended instance not removed", extra=extra)
        for name in self._records.names():
            self.follow(name)
        while True:
            self._changed.clear()
            wait = await self._renew_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def _renew_due(self) -> float:
        """Make anew what is due; return the seconds until something is."""
        following = [_LONGEST_WAIT]
        for name in sorted(self._following):
            record = self._records.load(name)
            if record is None or not record.tokens:
                self._following.discard(name)
                continue
            for token in record.tokens:
                if token.renew_at <= self._clock.now():
                    token = await self._renewed(record, token)  # noqa: PLW2901 - its successor
                following.append((token.renew_at - self._clock.now()).total_seconds())
        return max(min(following), 1.0)

    async def _renewed(self, record: InstanceRecord, token: MountedToken) -> MountedToken:
        """Return what there is instead of a token that is due."""
        bound = BoundInstance(record.name, record.uid, record.owner)
        wanted = TokenFile(token.path, token.account, token.audience, token.seconds)
        owner = Ownership(token.user, token.group, token.mode)
        extra = {"instance": record.name, "account": token.account}
        renewed = replace(token, renew_at=self._clock.now() + _RETRY)
        try:
            issued = await self._issue(bound, wanted)
            is_there = await asyncio.to_thread(
                self._volumes.write_token,
                *(record.name, token.volume, token.path, issued.token, owner),
            )
            if not is_there:
                why = "the volume is not mounted: `upwell rollout restart` its workload"
                _log.warning("token not renewed", extra={**extra, "why": why})
            else:
                renewed = self._noted(token.volume, wanted, issued, owner)
        except (WorkloadError, OSError) as error:
            _log.warning("token not renewed", extra={**extra, "why": str(error)})
        self._records.change(record.name, lambda one: one.with_token(renewed))
        return renewed

    def _noted(
        self, volume: str, wanted: TokenFile, issued: IssuedToken | None, owner: Ownership
    ) -> MountedToken:
        now = self._clock.now()
        return MountedToken(
            volume,
            wanted.path,
            wanted.account,
            wanted.audience,
            wanted.seconds,
            _renew_at(now, issued.ends) if issued is not None else now + _RETRY,
            owner.user,
            owner.group,
            owner.mode,
        )


def _renew_at(now: datetime, ends: datetime) -> datetime:
    return now + (ends - now) * _PART


async def _one_user(spec: InstanceSpec, image_user: ImageUser) -> int | None:
    """Return the user id that all containers run with; None: there is none, or nobody knows it."""
    found: set[int | None] = set()
    for container in (*spec.init, *spec.containers):
        user = container.security.user
        if user is None:
            named = (await image_user(container.image)).partition(":")[0]
            user = int(named or 0) if not named or is_id(named) else None
        found.add(user)
    return found.pop() if len(found) == 1 else None
