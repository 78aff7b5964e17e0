"""The verification port: one question, one answer."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


class ProbeError(Exception):
    """There was no answer that says anything; the message says why, without secrets."""


class BadQuestionError(ProbeError):
    """The question is at fault: asked again, it gets no better answer."""


@dataclass(frozen=True, slots=True)
class HttpQuestion:
    """A GET request; redirects are answers, and are not followed."""

    url: str
    host: str = ""
    """The Host header, when it is not that of the URL."""
    instance: bool = False
    """True if the server has found the address, an instance's, and no object names it."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Answer to a request."""

    status: int
    body: bytes = field(repr=False)
    """The start of it."""
    cut: bool = False
    """There was more than is read."""


@dataclass(frozen=True, slots=True)
class MetricQuestion:
    """An instant query, at a time that may be past."""

    server: str
    query: str
    at: datetime
    authorization: str = field(default="", repr=False)
    """The header of this name; empty: none."""


@dataclass(frozen=True, slots=True)
class SignedEvent:
    """A CloudEvent in structured mode, as the bytes that are sent."""

    url: str
    body: bytes = field(repr=False)
    secret: bytes = field(default=b"", repr=False)
    """Signs the body; empty: not signed."""


class Probes(Protocol):
    """Asks. Every method raises ProbeError, and ends within a time of its own."""

    async def get(self, question: HttpQuestion) -> HttpAnswer:
        """Send a request and return its answer, whatever its status is."""
        ...

    async def connect(self, host: str, port: int, *, instance: bool = False) -> None:
        """Return when a connection was accepted (it is closed again).

        `instance`: the server has found the address, and no object names it.
        """
        ...

    async def measure(self, question: MetricQuestion) -> float | None:
        """Return the one finite number that a query gives; None when it gives none.

        Raises BadQuestionError for a query that is wrong, or gives more than one.
        """
        ...

    async def tell(self, event: SignedEvent) -> None:
        """Deliver an event; returns when the receiver has taken it (2xx)."""
        ...
