"""Last uses of tokens, remembered until they are written down: never by a request itself."""

from collections.abc import Iterator
from datetime import datetime


def hour_of(time: datetime) -> datetime:
    """Return the hour that a time lies in: all that is kept of a use."""
    return time.replace(minute=0, second=0, microsecond=0)


class TokenUses:
    """The hour in which each token was used last, where nobody has taken it yet."""

    def __init__(self) -> None:
        self._noted: dict[str, datetime] = {}
        """By the names of tokens that exist, so there are no more than these."""
        self._taken: dict[str, datetime] = {}

    def note(self, name: str, now: datetime) -> None:
        """Note a use of a valid token."""
        hour = hour_of(now)
        if self._taken.get(name) != hour:
            self._noted[name] = hour

    def take(self) -> Iterator[tuple[str, datetime]]:
        """Yield the name and the hour of what was used since the last time."""
        noted, self._noted = self._noted, {}
        self._taken = noted
        yield from noted.items()
