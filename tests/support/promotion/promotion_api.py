"""A Pipeline of three stages behind the API, and clients with tokens that promote in it."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.api.codec import decode
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.signatures import Signatures
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token, own_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore
from upwell.uploads.files import FileInputs

ROOT = "/apis/upwell.dev/v1alpha1/namespaces/shop"
SIGNATURES = Signatures(b"a key of these tests that is long")
_ADMIN = new_token("admin")

PIPELINE: dict[str, Any] = {
    "apiVersion": "upwell.dev/v1alpha1",
    "kind": "Pipeline",
    "metadata": {"name": "shop", "namespace": "shop"},
    "spec": {
        "components": [
            {"name": "web", "from": {"kind": "ImageStreamTag", "name": "shop:latest"}},
        ],
        "stages": [
            {
                "name": "dev",
                "verification": {"checks": [{"name": "integration", "webhook": {}}]},
            },
            {"name": "staging", "approval": {"required": 1, "approvers": ["ada", "bob"]}},
            {"name": "production"},
        ],
    },
}


@dataclass
class PromotionApiServer:
    """The API, with a token for each person."""

    api: Api
    folder: Path
    tokens: Mapping[str, str]

    async def post(self, who: str, path: str, body: Any = None) -> ApiAnswer:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return await self.api.send("POST", path, body or {}, **headers)

    async def release(self, number: int, *verified: str, **status: Any) -> Release:
        digest = f"sha256:{str(number) * 64}"
        release = decode(
            {
                "apiVersion": "upwell.dev/v1alpha1",
                "kind": "Release",
                "metadata": {
                    "name": f"shop-{number}",
                    "namespace": "shop",
                    "labels": {"upwell.dev/pipeline": "shop"},
                },
                "spec": {
                    "pipeline": "shop",
                    "number": number,
                    "components": [{"name": "web", "image": f"registry.test/shop@{digest}"}],
                    "cause": f"cause {number} <b>",
                },
                "status": {
                    "verified": [{"name": name, "at": "2024-05-01T11:00:00Z"} for name in verified],
                    **status,
                },
            }
        )
        assert isinstance(release, Release)
        created = await self.api.store.create(release)
        return await self.api.store.update_status(created.with_status(release.status))

    async def promotion(self, name: str) -> Promotion:
        return await self.api.store.get(Promotion, "shop", name)

    async def promotions(self) -> list[str]:
        return [one.name for one in (await self.api.store.list(Promotion)).items]

    async def pipeline(self) -> Pipeline:
        return await self.api.store.get(Pipeline, "shop", "shop")

    async def moved(self, name: str, phase: PromotionPhase, **status: Any) -> Promotion:
        """Play the reconciler: bring a Promotion into a phase, at the clock's time."""
        found = await self.promotion(name)
        now = self.api.clock.now
        changes: dict[str, Any] = {"phase": phase, **status}
        if phase is not PromotionPhase.WAITING and found.status.started is None:
            changes["started"] = now
        if phase is PromotionPhase.SUCCEEDED:
            changes["serving_since"] = now
        if phase.is_final:
            changes["ended"] = now
        self.api.clock.advance(seconds=1)
        return await self.api.store.update_status(
            found.with_status(found.status.model_copy(update=changes))
        )

    async def live(self, release: str, stage: str) -> Promotion:
        """Promote a Release, and let it succeed."""
        answer = await self.post("ci", f"{ROOT}/releases/{release}/promote", {"stage": stage})
        assert answer.status == 201, answer.text
        name = answer.json["metadata"]["name"]
        return await self.moved(name, PromotionPhase.SUCCEEDED)


@contextlib.asynccontextmanager
async def open_promotion_api(
    folder: Path, limits: ServerLimits | None = None
) -> AsyncIterator[PromotionApiServer]:
    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(
            Tokens(store, clock, [own_token(_ADMIN)]),
            audit_log(folder, clock),
        )

    evidence = FileInputs(folder / "evidence", limit_bytes=1000)
    async with serving(
        limits or ServerLimits(), guard=guard, evidence=evidence, signatures=SIGNATURES
    ) as api:
        tokens = {"admin": _ADMIN}
        grants = dict.fromkeys(("ci", "ada", "bob", "eve"), "promoter@shop")
        others = {"viewer": "viewer@shop", "jenkins": "ci@shop"}
        for name, grant in {**grants, **others}.items():
            tokens[name] = new_token(name)
            record = TokenRecord(name, hash_of(tokens[name]), (parse_grant(grant),))
            await api.store.create(record.as_secret())
        await api.store.create(decode(PIPELINE))
        yield PromotionApiServer(api, folder, tokens)
