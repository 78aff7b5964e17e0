"""Probes that answer as they are told."""

from upwell.verification.http import parse_url
from upwell.verification.interface import (
    HttpAnswer,
    HttpQuestion,
    MetricQuestion,
    ProbeError,
    SignedEvent,
)


class ScriptedProbes:
    """Implements Probes; a ProbeError among the answers is raised."""

    def __init__(self) -> None:
        self.http: HttpAnswer | ProbeError = HttpAnswer(200, b"welcome")
        self.tcp: ProbeError | None = None
        self.metric: float | ProbeError | None = 0.1
        self.ci: ProbeError | None = None
        self.asked: list[HttpQuestion | MetricQuestion | tuple[str, int]] = []
        self.told: list[SignedEvent] = []

    async def get(self, question: HttpQuestion) -> HttpAnswer:
        parse_url(question.url)
        self.asked.append(question)
        if isinstance(self.http, ProbeError):
            raise self.http
        return self.http

    async def connect(self, host: str, port: int, *, instance: bool = False) -> None:
        del instance
        self.asked.append((host, port))
        if self.tcp is not None:
            raise self.tcp

    async def measure(self, question: MetricQuestion) -> float | None:
        parse_url(question.server)
        self.asked.append(question)
        if isinstance(self.metric, ProbeError):
            raise self.metric
        return self.metric

    async def tell(self, event: SignedEvent) -> None:
        parse_url(event.url)
        if self.ci is not None:
            raise self.ci
        self.told.append(event)
