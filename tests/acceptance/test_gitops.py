"""A stage that is kept in git behind a real `upwell serve`, with what applies the repository."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tests.support.gitops.git_host import GitHost
from tests.support.installation.applications import base_stream, published
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.promoted_installation import PromotedInstallation

from upwell.api.promotion import Promotion, PromotionPhase
from upwell.store.interface import ApiClient, StoreError

PATH = "apps/shop.yaml"
SHOP = """\
# What runs in production; the image is set by promotions.
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-production}
spec:
  selector: {matchLabels: {app: shop-production}}
  template:
    metadata: {labels: {app: shop-production}}
    spec:
      containers:
        - name: web
          image: nowhere.invalid/shop:1   # none yet
          command: [sh, -ec]
          args: ["mkdir -p /www; cp /etc/base-version /www/index.html; exec serve"]
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
"""


def pipeline(repository: str) -> str:
    return f"""
apiVersion: upwell.dev/v1alpha1
kind: Pipeline
metadata: {{name: shop}}
spec:
  components:
    - name: web
      from: {{kind: ImageStreamTag, name: "base:1"}}
  stages:
    - name: production
      workloads: [{{name: shop-production}}]
      verification: {{checks: [{{name: home, http: {{url: /}}}}]}}
      git: {{repository: "{repository}", path: {PATH}}}
---
"""


@asynccontextmanager
async def applied(host: GitHost, made: Installation, client: ApiClient) -> AsyncIterator[None]:
    """Apply what the repository says whenever a promotion has changed it, as Flux would."""

    done = ""

    async def follows() -> bool:
        nonlocal done
        tip = host.git("rev-parse", "main")
        if tip == done or not host.log()[0].startswith("Promote"):
            return False
        try:
            await made.apply(client, host.show(PATH, tip))
        except StoreError:
            return False  # the server was killed: it is applied to the next one
        done = tip
        return True

    async def follow() -> None:
        while True:
            await until(follows, bool)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()


async def test_a_stage_in_git_outlives_a_host_and_a_server_that_go_down() -> None:
    async with installation() as made, made.client() as client:
        host = GitHost(made.folder / "host", made.spare_port())
        host.push("by hand", {PATH: SHOP})
        host.start()
        try:
            await promote_through_faults(host, made, client)
        finally:
            host.stop()


async def promote_through_faults(host: GitHost, made: Installation, client: ApiClient) -> None:
    promoted = PromotedInstallation(made, client)
    await promoted.publish()
    stream = base_stream(made.vendor).replace(
        "importPolicy:", "referencePolicy: {type: Local}\n      importPolicy:"
    )
    await made.apply(client, stream + published("shop-production") + pipeline(host.uri))
    async with applied(host, made, client):
        await promoted.until_phase("shop-1.production", PromotionPhase.SUCCEEDED)
        await promoted.until_served("production", promoted.versions[-1])

        host.stop()
        await promoted.publish()
        await until(partial(promotion, promoted), waits_for_host)
        made.kill()
        host.start()
        await made.start()
        done = await promoted.until_phase("shop-2.production", PromotionPhase.SUCCEEDED)
        await promoted.until_served("production", promoted.versions[-1])

    assert done.status.commit == host.git("rev-parse", "main")
    assert host.log() == ["Promote shop-2 to production", "Promote shop-1 to production", "by hand"]
    changed = host.git("diff", "--unified=0", "main~2", "main").splitlines()
    assert [line[0] for line in changed if line[:2] not in {"--", "++"} and line[0] in "+-"] == [
        *("-", "+"),
    ]
    assert f"Promotion: {made.url}/apis/" in host.git("log", "-1", "--format=%b", "main")


async def promotion(promoted: PromotedInstallation) -> Promotion | None:
    return (await promoted.promotions()).get(f"{promoted.newest}.production")


def waits_for_host(found: Promotion | None) -> bool:
    return found is not None and "it is tried again" in found.status.message
