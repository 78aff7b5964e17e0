"""Allowed users of Source-to-Image builds (`--allowed-uids`)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from upwell.formats.s2i.contract import S2iError

_RANGE = re.compile(r"(?P<first>\d*)(?P<dash>-?)(?P<last>\d*)")


class UserNotAllowedError(S2iError):
    """A user of the build is outside the allowed range."""


@dataclass(frozen=True, slots=True)
class UidRange:
    """User ids from `first` to `last`, both included; None: without end."""

    first: int = 0
    last: int | None = None

    def __contains__(self, uid: int) -> bool:
        return self.first <= uid and (self.last is None or uid <= self.last)


@dataclass(frozen=True, slots=True)
class AllowedUids:
    """The users that a build may run as; without a range, all."""

    ranges: tuple[UidRange, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1-,5,-1000,10-20`; raises S2iError."""
        return cls(tuple(_range(part.strip()) for part in text.split(",") if part.strip()))

    def check(self, user: str, what: str) -> None:
        """Raise UserNotAllowedError unless `user`, the USER of `what`, is a number in a range.

        An empty user is root by default, and a name may be anyone: neither is a number.
        """
        if not self.ranges:
            return
        uid = user.partition(":")[0]
        if not uid.isascii() or not uid.isdecimal():
            raise UserNotAllowedError(
                f"{what} runs as {user or 'root'!r}, which is no number:"
                " with allowed users set, a build's user must be one"
            )
        if not any(int(uid) in allowed for allowed in self.ranges):
            raise UserNotAllowedError(f"{what} runs as user {uid}, which is not an allowed one")


def onbuild_users(instructions: Iterable[str]) -> tuple[str, ...]:
    """Return the users that ONBUILD instructions change to."""
    words = (instruction.split() for instruction in instructions)
    return tuple(word[1] for word in words if len(word) > 1 and word[0].upper() == "USER")


def _range(text: str) -> UidRange:
    match = _RANGE.fullmatch(text)
    if match is None or not (match["first"] or match["last"]):
        raise S2iError(f"not a range of user ids: {text!r} (expected 5, 1-, -1000 or 10-20)")
    first = int(match["first"] or 0)
    if not match["dash"]:
        return UidRange(first, first)
    last = int(match["last"]) if match["last"] else None
    if last is not None and last < first:
        raise S2iError(f"not a range of user ids: {text!r} ends before it begins")
    return UidRange(first, last)
