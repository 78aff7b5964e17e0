"""The five surfaces of a running server: what each says of an object that is at fault, or whole."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
from tests.support.delivery.http_receiver import HttpReceiver, receiving
from tests.support.installation.installation import DEADLINE_SECONDS, Installation, until

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildConfig
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.codec import encode, resource_of_kind
from upwell.api.core import Event
from upwell.api.meta import ObjectKey
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.changes import explain
from upwell.store.interface import Selector

_SAMPLE = re.compile(
    r'^upwell_faults\{kind="([^"]*)",reason="([^"]*)"\} ([0-9.e+]+)$', re.MULTILINE
)
_WHOLE = ("nothing is due", "nothing is wrong with it", "images change only when", "it works")
"""Words of `upwell explain` for an object without a fault that nothing is to come of."""
_NEVER_STILL = {"BuildConfig", "ImageStream"}
"""Kinds of which `upwell explain` says what comes next, whole or not."""


@dataclass(frozen=True, slots=True)
class SurfaceAnswers:
    """Answers about one object at one moment."""

    status: tuple[str, ...]
    """Messages of its faults in `upwell status`."""
    reasons: frozenset[str]
    """Reasons of these."""
    current: int
    """Workloads that `upwell status` calls current."""
    explained: str
    stored: str
    """Its status, with its conditions and those of its parts, as JSON."""
    events: tuple[tuple[str, str], ...]
    """(reason, message) of its Events."""
    notices: tuple[tuple[str, str], ...]
    """(type, message) that a Subscription was told of it."""
    metric: dict[tuple[str, str], float] = field(default_factory=dict)
    """(kind, reason) -> `upwell_faults`, of all objects."""

    def disagreements(self, kind: str) -> list[str]:
        """Say which surface does not tell what another does; empty when all five agree."""
        found = []
        for message in self.status:
            if message not in self.explained:
                found.append(f"explain does not tell: {message}")
            if json.dumps(message)[1:-1] not in self.stored:
                found.append(f"no condition stores: {message}")
            if not any(message[:1000] in told for _, told in self.events):
                found.append(f"no Event tells: {message}")
            if not any(message in told for _, told in self.notices):
                found.append(f"no notice tells: {message}")
        found += [
            f"the metric does not count {kind} {reason}"
            for reason in self.reasons
            if not self.metric.get((kind, reason))
        ]
        return found

    def disagreements_at_rest(self, kind: str) -> list[str]:
        """Say the same of an object of which nothing is to come."""
        found = self.disagreements(kind)
        at_rest = kind in _NEVER_STILL or any(text in self.explained for text in _WHOLE)
        if not self.status and not at_rest:
            found.append(f"status names no fault, but explain says: {self.explained}")
        return found


class Surfaces:
    """Asks a running server what its users see.

    `status` and `explain` are asked in this process: the commands print what these return, and to
    start one takes a second.
    """

    def __init__(self, made: Installation, receiver: HttpReceiver) -> None:
        self._made = made
        self._receiver = receiver

    async def ask(self, kind: str, name: str, namespace: str = "default") -> SurfaceAnswers:
        """Return what the surfaces say of an object; `kind` as it is written in its manifest."""
        async with self._made.client() as client:
            snapshot = await read_snapshot(client)
            components = (await client.list(ClusterOperator)).items
            asked = await client.get(resource_of_kind(kind), namespace, name)
            events = (await client.list(Event, Selector(namespace))).items
        status = StatusTree(snapshot, datetime.now(UTC), namespace, components).data()
        tellers = {(kind, name)}
        if kind == BuildConfig.KIND.kind:  # its builds are told of, each for itself
            tellers |= {("Build", key.name) for key in await self._builds(name, namespace)}
        subjects = {"/".join(part for part in (namespace, *teller) if part) for teller in tellers}
        key = re.escape(str(asked.key))
        faults = [one for one in status["faults"] if re.fullmatch(rf"{key}(:.*)?", one["name"])]
        told = [json.loads(request.body) for request in self._receiver.arrived]
        return SurfaceAnswers(
            tuple(one["message"] for one in faults),
            frozenset(one["reason"] for one in faults),
            status["summary"]["current"],
            "\n".join(one.text for one in explain(snapshot, asked)),
            json.dumps(encode(asked)["status"]),
            tuple(
                (one.reason, one.message)
                for one in events
                if (one.involved_object.kind, one.involved_object.name) in tellers
            ),
            tuple(
                (one["type"], one["data"]["message"]) for one in told if one["subject"] in subjects
            ),
            await self._metric(),
        )

    async def agreeing(
        self,
        kind: str,
        name: str,
        holds: Callable[[SurfaceAnswers], bool],
        seconds: float = DEADLINE_SECONDS,
    ) -> SurfaceAnswers:
        """Wait until it holds and all five agree: an Event and a notice come a moment later."""

        async def observe() -> tuple[SurfaceAnswers, list[str]]:
            answers = await self.ask(kind, name)
            return answers, answers.disagreements_at_rest(kind)

        answers, _ = await until(observe, lambda seen: holds(seen[0]) and not seen[1], seconds)
        return answers

    async def _builds(self, config: str, namespace: str) -> list[ObjectKey]:
        async with self._made.client() as client:
            builds = (await client.list(Build, Selector(namespace))).items
        return [one.key for one in builds if one.labels.get(BUILD_CONFIG_LABEL) == config]

    async def _metric(self) -> dict[tuple[str, str], float]:
        headers = {"Authorization": f"Bearer {self._made.token}"}
        async with (
            aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
            session.get(f"{self._made.url}/metrics") as answer,
        ):
            text = await answer.text()
        return {(kind, reason): float(count) for kind, reason, count in _SAMPLE.findall(text)}


@asynccontextmanager
async def surfaces(made: Installation) -> AsyncIterator[Surfaces]:
    """Subscribe to all that happens in namespace `default` while the block lasts."""
    async with receiving(port=made.spare_port()) as receiver:
        async with made.client() as client:
            await made.apply(
                client,
                f"""
apiVersion: upwell.dev/v1alpha1
kind: Subscription
metadata: {{name: surfaces}}
spec:
  webhook: {{url: "{receiver.url}"}}
""",
            )
        yield Surfaces(made, receiver)
