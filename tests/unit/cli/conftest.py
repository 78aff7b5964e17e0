"""A client of the API that keeps its objects in memory, and a way to run commands with it."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result
from tests.support.waves.plans import answered_plan

from upwell.api.apps import Deployment
from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import UnknownKindError, decode, encode
from upwell.api.conditions import set_condition
from upwell.api.defaults import apply_defaults
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.waves.plan import ImpactPlan
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.policy.waves.approval import NO_APPROVALS
from upwell.policy.waves.canary import CanaryRules
from upwell.store.interface import (
    EVERYTHING,
    Listing,
    MissingPathError,
    NotFoundError,
    RejectedError,
    Selector,
    StoreError,
    UnavailableError,
    WriteRequest,
)
from upwell.store.kubernetes_errors import KindNotServedError, StoreForbiddenError
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class ScriptedConversation:
    """Implements Conversation by scripted messages, after it received `after` messages.

    An error among them is raised.
    """

    def __init__(self, *said: bytes | Exception, after: int = 0) -> None:
        self._said = said
        self._after = after
        self._heard_enough = asyncio.Event()
        self.heard: list[bytes] = []

    async def send(self, message: bytes) -> None:
        self.heard.append(message)
        if len(self.heard) >= self._after:
            self._heard_enough.set()

    async def messages(self) -> AsyncGenerator[bytes]:
        if self._after:
            await self._heard_enough.wait()
        for message in self._said:
            if isinstance(message, Exception):
                raise message
            yield message


class FakeClient(MemoryStore):
    """Implements ApiClient on a MemoryStore; `answers` and `logs` play the server's own parts.

    Keeps no field managers, and knows no paths besides those of objects.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: NOW) -> None:
        super().__init__(clock)
        self.clock = clock
        self.approvals, self.canary = NO_APPROVALS, CanaryRules()
        """Rules by which plans are made."""
        self.is_older = False
        """It makes no plans, as servers before."""
        self.answers: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, bytes] = {}
        self.asked_names: list[tuple[str, str]] = []
        self.broken_logs: dict[str, bytes] = {}
        """Second answers of logs whose first one breaks off."""
        self.calls: list[tuple[str, str, Any]] = []
        self.warnings: Sequence[str] = ()
        self.forbidden: set[str] = set()
        """Kinds that may neither be read nor written."""
        self.not_served: set[str] = set()
        """Kinds that the server does not know."""
        self.conversations: dict[str, ScriptedConversation] = {}
        self.uploads: list[tuple[bytes, dict[str, str]]] = []
        self.paths: dict[str, list[dict[str, Any] | StoreError]] = {}
        """Answers of the server's own paths, one after the other; the last one stays."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Keep the objects for the next command."""

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        if kind.KIND.kind in self.forbidden:
            raise StoreForbiddenError(f"{kind.KIND.kind} {name}: token ci may not read it")
        return await super().get(kind, namespace, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        if kind.KIND.kind in self.not_served:
            raise KindNotServedError(kind.KIND)
        return await super().list(kind, selector)

    async def names(self, kind: type[Resource], namespace: str, most: int) -> Sequence[str]:
        self.asked_names.append((kind.KIND.plural, namespace))
        listing = await self.list(kind, Selector(namespace))
        return [one.name for one in listing.items[:most]]

    async def apply(
        self,
        document: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Resource, Sequence[str]]:
        self.calls.append(("APPLY", field_manager, force))
        try:
            wanted = apply_defaults(decode(document))
        except UnknownKindError as error:
            raise RejectedError(str(error)) from error
        if wanted.KIND.kind in self.forbidden:
            raise StoreForbiddenError(f"{wanted.key}: token ci may not write it")
        if dry_run:
            return wanted, self.warnings
        try:
            before = await self.get(type(wanted), wanted.namespace, wanted.name)
        except NotFoundError:
            return await self.create(wanted), self.warnings
        document = merge(encode(before), {k: v for k, v in document.items() if k != "status"})
        merged = decode(document)
        return await self.update(merged), self.warnings

    async def patch[R: Resource](
        self,
        kind: type[R],
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        subresource: str = "",
    ) -> R:
        self.calls.append(("PATCH", f"{kind.KIND.plural}/{name}/{subresource}", patch))
        before = await self.get(kind, namespace, name)
        document = merge(encode(before), patch)
        if document.get("status", {}).get("cancelled"):
            document["status"]["phase"] = "Cancelled"  # as the server does at once
            subresource = "status"  # which it takes in a build itself too
        after = decode(document)
        assert isinstance(after, kind)
        if subresource == "status":
            return await self.update_status(after)
        return await self.update(after)

    async def write(
        self,
        method: str,
        resource: Resource,
        body: Mapping[str, Any] | Sequence[Any],
        request: WriteRequest,
    ) -> tuple[dict[str, Any], Sequence[str]]:
        raise AssertionError(method, resource.key, body, request)

    async def request[R: Resource](self, asked: R, seconds: float) -> R:
        raise AssertionError(asked.key, seconds)

    async def call(
        self,
        method: str,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,  # noqa: ARG002 - the port has it
    ) -> dict[str, Any]:
        path = f"{kind.KIND.plural}/{name}/{subresource}"
        self.calls.append((method, path, body))
        if kind is ImpactPlan and path not in self.answers:
            if self.is_older:
                raise NotFoundError(ObjectKey(kind.KIND.kind, namespace, name))
            return await answered_plan(self, self.clock, body or {}, self.approvals, self.canary)
        if subresource == "instantiate":
            config = await self.get(BuildConfig, namespace, name)
            return encode(await self.create(build_of(config, 1)))
        if path not in self.answers:
            raise NotFoundError(ObjectKey(kind.KIND.kind, namespace, name))
        return self.answers[path]

    async def upload(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        content: AsyncIterator[bytes],
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        self.uploads.append((b"".join([piece async for piece in content]), dict(params or {})))
        self.calls.append(("POST", f"{kind.KIND.plural}/{name}/{subresource}", None))
        if (path := f"{kind.KIND.plural}/{name}/{subresource}") in self.answers:
            return self.answers[path]
        config = await self.get(BuildConfig, namespace, name)
        return encode(await self.create(build_of(config, 1)))

    async def stream(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[bytes]:
        path = f"{kind.KIND.plural}/{name}/{subresource}"
        self.calls.append(("STREAM", path, dict(params or {})))
        yield self.logs[name]
        if rest := self.broken_logs.pop(name, b""):
            self.logs[name] = rest
            raise UnavailableError("the connection broke within the answer")
        if kind is Build and params and params.get("follow"):
            build = await self.get(Build, namespace, name)
            if not build.status.phase.is_terminal:
                await self.patch(
                    Build, namespace, name, {"status": {"phase": "Complete"}}, "status"
                )

    @asynccontextmanager
    async def converse(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Sequence[tuple[str, str]],
        protocol: str,
    ) -> AsyncGenerator["ScriptedConversation"]:
        path = f"{kind.KIND.plural}/{name}/{subresource}"
        self.calls.append((protocol, path, list(params)))
        if path not in self.conversations:
            raise NotFoundError(ObjectKey(kind.KIND.kind, namespace, name))
        yield self.conversations[path]

    async def get_raw(self, path: str) -> bytes:
        assert path == "/version"
        return b"{}"

    async def send_raw(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        self.calls.append((method, path, body))
        found = self.paths.get(path, [])
        if not found:
            raise MissingPathError(f"{path} is not there")
        answer = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(answer, StoreError):
            raise answer
        return answer

    async def put(self, document: Mapping[str, Any]) -> Resource:
        """Store an object with its status."""
        wanted = apply_defaults(decode(document))
        created = await self.create(wanted)
        if not wanted.KIND.has_status or "status" not in document:
            return created
        return await self.update_status(created.model_copy(update={"status": wanted.status}))  # type: ignore[attr-defined]

    async def put_again(self, document: Mapping[str, Any]) -> Resource:
        """Store an object in the place of the one of its name."""
        wanted = decode(document)
        await self.delete(type(wanted), wanted.namespace, wanted.name)
        return await self.put(document)


def build_of(config: BuildConfig, number: int) -> Build:
    built = decode(
        {
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {
                "name": f"{config.name}-{number}",
                "namespace": config.namespace,
                "labels": {BUILD_CONFIG_LABEL: config.name},
                "annotations": {"openshift.io/build.number": str(number)},
            },
            "status": {"phase": "New"},
        }
    )
    assert isinstance(built, Build)
    return built


def merge(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping) or not isinstance(old, Mapping):
        return patch
    merged = {key: value for key, value in old.items() if key not in patch}
    return merged | {k: merge(old.get(k, {}), v) for k, v in patch.items() if v is not None}


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def upwell(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr("upwell.machine.clock.now", lambda: NOW + timedelta(minutes=5))
    for name in ("UPWELL_SERVER", "UPWELL_TOKEN", "UPWELL_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        session = Session(connect=lambda _server, _token, _authority: client)
        return CliRunner().invoke(main, arguments, obj=session, input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def running(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each Deployment run as soon as it is made."""
    create = client.create

    async def create_and_run(resource: Any) -> Any:
        made = await create(resource)
        if not isinstance(made, Deployment):
            return made
        available = Condition(type="Available", status="True", reason="MinimumReplicasAvailable")
        conditions = set_condition(made.status.conditions, available, client.clock())
        status = made.status.model_copy(update={"conditions": conditions})
        return await client.update_status(made.with_status(status))

    monkeypatch.setattr(client, "create", create_and_run)


OLD, NEW = (f"sha256:{digit * 64}" for digit in "ab")
"""The vendor's image before and after its fix; so SHOP_*, what was built on it."""
SHOP_OLD, SHOP_NEW = (f"sha256:{digit * 64}" for digit in "cd")
SHOP_IMAGE = "127.0.0.1:7080/default/shop"


def stream(name: str, tag: str, *digests: str, upstream: str = "") -> dict[str, Any]:
    """Return an ImageStream whose tag has these digests, the newest first."""
    repository = upstream or f"127.0.0.1:7080/default/{name}"
    declared = {
        "name": tag,
        "from": {"kind": "DockerImage", "name": f"{upstream}:{tag}"},
        "importPolicy": {"scheduled": True},
    }
    state = {
        "source": f"{upstream}:{tag}",
        "firstSeen": "2026-03-01T11:50:00Z",
        "nextCheckTime": "2026-03-01T12:10:00Z",
    }
    items = [
        {
            "created": "2026-03-01T11:50:00Z",
            "dockerImageReference": f"{repository}@{digest}",
            "image": digest,
        }
        for digest in digests
    ]
    history = {"tag": tag, "items": items} | ({"importState": state} if upstream else {})
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"tags": [declared] if upstream else []},
        "status": {"dockerImageRepository": f"127.0.0.1:7080/default/{name}", "tags": [history]},
    }


def build(number: int, phase: str, base: str, made: str = "", before: str = "") -> dict[str, Any]:
    """Return a Build of `shop` from the vendor's image `base`."""
    reference = {"kind": "ImageStreamTag", "namespace": "default", "name": "debian:11"}
    image = f"vendor.test/debian@{base}"
    change = {"fromRef": reference, "imageID": image}
    if before:
        change["previousImageID"] = f"vendor.test/debian@{before}"
    return {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {
            "name": f"shop-{number}",
            "namespace": "default",
            "labels": {BUILD_CONFIG_LABEL: "shop"},
            "annotations": {"openshift.io/build.number": str(number)},
        },
        "spec": {
            "triggeredBy": [{"message": "Image change", "imageChangeBuild": change}],
            "imageInputs": [{"from": reference, "image": image}],
        },
        "status": {
            "phase": phase,
            "startTimestamp": "2026-03-01T11:55:00Z",
            "output": {"to": {"imageDigest": made}} if made else {},
            "logSnippet": "last line of the log",
            "revision": {"git": {"commit": "0123456789abcdef0123", "message": "sell more"}},
        },
    }


BUILD_CONFIG: dict[str, Any] = {
    "apiVersion": "build.openshift.io/v1",
    "kind": "BuildConfig",
    "metadata": {"name": "shop", "namespace": "default"},
    "spec": {
        "source": {"git": {"uri": "https://git.test/shop.git"}},
        "strategy": {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "debian:11"}}},
        "output": {"to": {"kind": "ImageStreamTag", "name": "shop:latest"}},
        "triggers": [{"type": "ImageChange", "imageChange": {}}],
    },
}


def deployment(*revisions: tuple[int, str, str], ready: int = 2) -> dict[str, Any]:
    """Return Deployment `shop`; each revision is its number, phase and image digest."""
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": "shop:latest"},
        "fieldPath": "spec.template.spec.containers[0].image",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "shop",
            "namespace": "default",
            "annotations": {"image.openshift.io/triggers": json.dumps([trigger])},
        },
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "web"}]}}},
        "status": {
            "observedGeneration": 1,
            "readyReplicas": ready,
            "updatedReplicas": ready,
            "revisions": [
                {
                    "revision": number,
                    "hash": f"hash{number}",
                    "phase": phase,
                    "cause": "image change",
                    "created": "2026-03-01T11:58:00Z",
                    "message": "never became ready" if phase == "Failed" else "",
                    "template": {},
                    "images": {"web": f"{SHOP_IMAGE}@{digest}"},
                }
                for number, phase, digest in revisions
            ],
        },
    }


@pytest.fixture
async def fixed(client: FakeClient) -> FakeClient:
    """Store the objects of a fix that has risen from the vendor to the workload."""
    for document in (
        stream("debian", "11", NEW, OLD, upstream="vendor.test/debian"),
        stream("shop", "latest", SHOP_NEW, SHOP_OLD),
        BUILD_CONFIG,
        build(1, "Complete", OLD, SHOP_OLD),
        build(2, "Complete", NEW, SHOP_NEW, before=OLD),
        deployment((2, "Complete", SHOP_NEW), (1, "Complete", SHOP_OLD)),
    ):
        await client.put(document)
    return client
