"""The five surfaces of a running server: what each says of an object that is at fault, or whole."""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
from tests.support.delivery.http_receiver import HttpReceiver, receiving
from tests.support.installation.installation import DEADLINE_SECONDS, Installation, until

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.codec import encode, resource_of_kind
from upwell.api.core import Event
from upwell.api.meta import Resource
from upwell.cli.explain.snapshot import read_snapshot
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot
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


@dataclass(frozen=True, slots=True)
class _Look:
    """Answers about all objects at one moment."""

    snapshot: Snapshot
    status: Mapping[str, Any]
    events: Sequence[Event]
    notices: Sequence[Mapping[str, Any]]
    metric: dict[tuple[str, str], float]

    def answers(self, asked: Resource) -> SurfaceAnswers:
        key = re.escape(str(asked.key))
        faults = [
            one for one in self.status["faults"] if re.fullmatch(rf"{key}(:.*)?", one["name"])
        ]
        # A BuildConfig's builds are told of, each for itself.
        builds = [("Build", build.name) for build in self.snapshot.builds(asked.key)]
        tellers = {(asked.KIND.kind, asked.name), *builds}
        subjects = {
            "/".join(part for part in (asked.namespace, *teller) if part) for teller in tellers
        }
        return SurfaceAnswers(
            tuple(one["message"] for one in faults),
            frozenset(one["reason"] for one in faults),
            self.status["summary"]["current"],
            "\n".join(one.text for one in explain(self.snapshot, asked)),
            json.dumps(encode(asked)["status"]),
            tuple(
                (one.reason, one.message)
                for one in self.events
                if (one.involved_object.kind, one.involved_object.name) in tellers
            ),
            tuple(
                (one["type"], one["data"]["message"])
                for one in self.notices
                if one["subject"] in subjects
            ),
            self.metric,
        )


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
        (answers,) = await self._ask([(kind, name)], namespace)
        return answers

    async def all_agree(
        self,
        objects: Sequence[tuple[str, str]],
        disagreements: Callable[[str, SurfaceAnswers], list[str]],
    ) -> None:
        """Wait until there was no disagreement about each (kind, name), each at its own time."""
        pending = list(objects)

        async def observe() -> dict[tuple[str, str], list[str]]:
            asked = zip(pending, await self._ask(pending, "default"), strict=True)
            judged = {one: disagreements(one[0], answers) for one, answers in asked}
            pending[:] = [one for one, found in judged.items() if found]
            return {one: judged[one] for one in pending}

        while pending:  # each that comes to agree gives the others their whole time
            left = len(pending)
            await until(observe, partial(_is_shorter, left))

    async def _ask(
        self, objects: Sequence[tuple[str, str]], namespace: str
    ) -> list[SurfaceAnswers]:
        """Ask once for all (kind, name): to read and judge a whole installation is not cheap."""
        async with self._made.client() as client:
            snapshot = await read_snapshot(client)
            components = (await client.list(ClusterOperator)).items
            asked = [
                await client.get(resource_of_kind(kind), namespace, name) for kind, name in objects
            ]
            events = (await client.list(Event, Selector(namespace))).items
        look = _Look(
            snapshot,
            StatusTree(snapshot, datetime.now(UTC), namespace, components).data(),
            events,
            [json.loads(request.body) for request in self._receiver.arrived],
            await self._metric(),
        )
        return [look.answers(one) for one in asked]

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

    async def _metric(self) -> dict[tuple[str, str], float]:
        headers = {"Authorization": f"Bearer {self._made.token}"}
        async with (
            aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
            session.get(f"{self._made.url}/metrics") as answer,
        ):
            text = await answer.text()
        return {(kind, reason): float(count) for kind, reason, count in _SAMPLE.findall(text)}


def _is_shorter(count: int, found: Mapping[Any, Any]) -> bool:
    return len(found) < count


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
