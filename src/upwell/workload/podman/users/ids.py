"""Ranges of ids that instances have outside, each for one instance alone; pure.

An instance's ids 0 to 65535 are a range of the host's that nobody has. Ids above those (a manifest
of OpenShift's may say `runAsUser: 1000680000`) follow, one by one. What instances write to volumes
does not have these ids: the mounts of volumes map them back (`volumes/mounts`), so that a range may
be another one at the next start.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from upwell.workload.instance_spec import InstanceSpec

IDS = 65_536
"""Ids from 0 on that every instance has."""
MORE = 64
"""Ids above those that an instance may have: Linux takes maps of one page (user_namespaces(7))."""
_HIGHEST = 2**32 - 2
"""The highest id that Linux has; the runtime says itself what it thinks of others."""
_DIGITS = 10
_FIRST = 2_000_300_000
"""Above ids of systemd's containers, of builds (`builder/confinement`) and of directory services
(SSSD's end at 2000200000), and below systemd's foreign ones at 2147352576."""
_STEP = IDS + MORE
_RANGES = 2_200


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids of an instance, from `inside` on, that are those of the host from `outside` on."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True)
class OwnIds:
    """Ids of one instance, for users and for groups."""

    first: int
    """Id of the host that is the instance's root."""
    more: tuple[int, ...] = ()
    """Its ids above 65535, in the order in which they follow in its range."""

    @property
    def ranges(self) -> tuple[IdRange, ...]:
        """The mapping, as /proc/<pid>/uid_map has it."""
        more = (IdRange(one, self.first + IDS + at, 1) for at, one in enumerate(self.more))
        return (IdRange(0, self.first, IDS), *more)


ANY_IDS = OwnIds(_FIRST)
"""Ids to try with: whether a range can be mapped does not hang on which it is."""


class TooManyIdsError(Exception):
    """An instance names more ids above 65535 than can be mapped."""


def assigned(upwell: str, used: Collection[int], more: Iterable[int]) -> OwnIds | None:
    """Return ids that no other instance has: `used` are the first ones of theirs; None: all are.

    Another Upwell of this machine begins elsewhere. Raises TooManyIdsError.
    """
    above = tuple(sorted({one for one in more if one >= IDS}))
    if len(above) > MORE:
        raise TooManyIdsError
    start = int.from_bytes(hashlib.sha256(upwell.encode()).digest()[:4], "big")
    for at in range(_RANGES):
        first = _FIRST + (start + at) % _RANGES * _STEP
        if first not in used:
            return OwnIds(first, above)
    return None


def outside(inside: int, ids: OwnIds | None) -> int:
    """Return the id of the host that is one of an instance's; root's, where it is not mapped.

    `ids` None: the instance has the host's.
    """
    if ids is None:
        return inside
    for one in ids.ranges:
        if one.inside <= inside < one.inside + one.count:
            return one.outside + inside - one.inside
    return ids.first


def named_ids(spec: InstanceSpec, image_users: Iterable[str]) -> set[int]:
    """Return the ids that an instance names, and the users of its images (`user[:group]`)."""
    found: set[int | None] = {spec.volume_group.group if spec.volume_group else None}
    for container in (*spec.init, *spec.containers):
        security = container.security
        found |= {security.user, security.group, *security.groups}
    parts = [part for user in image_users for part in user.split(":")]
    found |= {int(part) for part in parts if is_id(part)}
    return {one for one in found if one is not None and one <= _HIGHEST}


def is_id(user: str) -> bool:
    """Return True if an image's user or group is a number, as long as ids are."""
    return user.isascii() and user.isdecimal() and len(user) <= _DIGITS
