"""A shop that is promoted from dev to production, tested in dev, behind a real `upwell serve`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.support.installation.applications import base_stream, published
from tests.support.installation.installation import Installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment, Job
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.store.interface import ApiClient

STAGES = ("dev", "production")
BAD = "bad"
"""A version that begins with this serves well and fails its test."""

TEST = """
seen=$(wget -q -O - "$UPWELL_ADDRESS"); echo "$UPWELL_RELEASE answers $seen"
test "$seen" = "$(cat /etc/base-version)"
case "$seen" in bad*) exit 1;; esac
"""


def manifests(vendor: str, *, approval: bool = True, soak: int = 0) -> str:
    """A stream of the vendor's, a workload for each stage, and the Pipeline over them."""
    stream = base_stream(vendor).replace(
        "importPolicy:", "referencePolicy: {type: Local}\n      importPolicy:"
    )
    parts = [stream]
    for stage in STAGES:
        name = f"shop-{stage}"
        parts += [stage_deployment(name), published(name)]
    needs = "approval: {required: 1}" if approval else "promotion: Automatic"
    test = (
        TEST.strip().replace("\n", "; ").replace("in bad*) exit 1;; esac", "in bad*) false;; esac")
    )
    parts.append(f"""
apiVersion: upwell.dev/v1alpha1
kind: Pipeline
metadata: {{name: shop}}
spec:
  components:
    - name: web
      from: {{kind: ImageStreamTag, name: "base:1"}}
  stages:
    - name: dev
      workloads: [{{name: shop-dev}}]
      soakSeconds: {soak}
      verification:
        checks:
          - name: e2e
            timeoutSeconds: 60
            job:
              component: web
              command: [sh, -ec]
              args: ['{test}']
          - name: home
            http: {{url: /}}
    - name: production
      workloads: [{{name: shop-production}}]
      {needs}
---
""")
    return "".join(parts)


def stage_deployment(name: str) -> str:
    """A Deployment of a stage, which serves the version of its image."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  progressDeadlineSeconds: 60
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: web
          image: " "
          command: [sh, -ec]
          args: ["mkdir -p /www; cp /etc/base-version /www/index.html; exec serve"]
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
"""


@dataclass
class PromotedInstallation:
    """The installation, and what was published so far."""

    made: Installation
    client: ApiClient
    versions: list[str] = field(default_factory=list)

    @property
    def newest(self) -> str:
        """The name of the Release that the newest version makes."""
        return f"shop-{len(self.versions)}"

    async def publish(self, version: str = "") -> None:
        self.versions.append(version or f"good-{len(self.versions) + 1}")
        await publish(self.made.vendor, "vendor/base:1", self.versions[-1])

    async def pipeline(self) -> Pipeline:
        return await self.client.get(Pipeline, "default", "shop")

    async def releases(self) -> Mapping[str, Release]:
        return {one.name: one for one in (await self.client.list(Release)).items}

    async def promotions(self) -> Mapping[str, Promotion]:
        return {one.name: one for one in (await self.client.list(Promotion)).items}

    async def phases(self) -> Mapping[str, PromotionPhase]:
        return {name: one.status.phase for name, one in (await self.promotions()).items()}

    async def served(self, stage: str) -> str:
        return await answer(self.made.router_port, f"shop-{stage}.test")

    async def until_served(self, stage: str, version: str) -> None:
        await until(partial(self.served, stage), version.__eq__)

    async def until_phase(self, promotion: str, *wanted: PromotionPhase) -> Promotion:
        async def found() -> Promotion | None:
            return (await self.promotions()).get(promotion)

        seen = await until(found, lambda one: one is not None and one.status.phase in wanted)
        assert seen is not None
        return seen

    async def approve(self) -> None:
        """Let the newest Release into production."""
        await self.until_phase(f"{self.newest}.production", PromotionPhase.WAITING)
        said = self.made.upwell("approve", f"{self.newest}.production", "--comment", "fine")
        assert said.returncode == 0, said.stderr

    async def leftovers(self, served: Sequence[str] = STAGES) -> Mapping[str, object]:
        """Return the leftovers of a shop that stands still; empty when all is well."""
        names = sorted(name.rpartition("-default-")[2] for name in self.made.podman_names())
        workloads = (await self.client.list(Deployment)).items
        rolling = [
            one.name
            for one in workloads
            if one.status.revisions and one.status.revisions[0].phase == "Progressing"
        ]
        found = {
            "containers": [] if len(names) == len(served) else names,
            "jobs": [one.name for one in (await self.client.list(Job)).items],
            "rolling out": rolling,
        }
        return {what: items for what, items in found.items() if items}

    async def still(self) -> None:
        """Wait until no promotion goes on but those that wait, and nothing is left over."""
        idle = {PromotionPhase.WAITING}

        async def going() -> list[str]:
            phases = await self.phases()
            return [n for n, phase in phases.items() if not phase.is_final and phase not in idle]

        await until(going, [].__eq__)
        await until(self.leftovers, {}.__eq__)
