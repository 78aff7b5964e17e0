"""Cluster that a demo uses: what is made there, seen from outside by kubectl, and removed."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from upwell.api.schemas.crds import custom_resource_definitions
from upwell.cli.core.errors import CommandError
from upwell.cli.demo.children import run

NAMESPACE = "upwell-demo"
"""Namespace of all that the demo makes; it must not be there before."""
_RECORD = "cluster.json"
_SECONDS = 120.0
_WAIT_SECONDS = 90


@dataclass(frozen=True, slots=True)
class DemoCluster:
    """Cluster of a kubeconfig's current context, asked by kubectl."""

    kubeconfig: Path

    async def kubectl(self, *arguments: str | Path) -> str:
        """Run kubectl; return what it printed. Raises CommandError."""
        return await run("kubectl", "--kubeconfig", self.kubeconfig, *arguments, seconds=_SECONDS)

    async def claim(self, folder: Path) -> None:
        """Define Upwell's kinds and the namespace, and record that in `folder`.

        Raises CommandError for a cluster that has them: they are somebody's.
        """
        definitions = custom_resource_definitions()
        names = [str(one["metadata"]["name"]) for one in definitions]
        present = await self._present()
        if found := present & {NAMESPACE, *names}:
            what = ", ".join(sorted(found)[:3])
            raise CommandError(
                f"the cluster has {what} already: the demo needs a cluster without Upwell's kinds,"
                " as it removes them at its end"
            )
        record = {"kubeconfig": str(self.kubeconfig), "definitions": names}
        (folder / _RECORD).write_text(json.dumps(record))
        made = folder / "definitions.json"
        made.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions}))
        await self.kubectl("create", "-f", made)
        await self.kubectl("create", "namespace", NAMESPACE)
        await self.kubectl(
            *("wait", "crd", *names, "--for=condition=Established"),
            f"--timeout={_WAIT_SECONDS}s",
        )

    async def running_images(self, application: str) -> Sequence[tuple[str, bool]]:
        """Return digest and readiness of each Pod of an application, as its node reports them."""
        document = await self._get("pods", "-l", f"app={application}")
        return [
            (str(status.get("imageID", "")).rpartition("@")[2], bool(status.get("ready")))
            for pod in document["items"]
            if "deletionTimestamp" not in pod["metadata"]
            for status in pod["status"].get("containerStatuses", ())
        ]

    async def answers(self, application: str, port: int) -> Sequence[dict[str, Any]]:
        """Return what each Pod of an application answers over HTTP, by the cluster's own proxy."""
        document = await self._get("pods", "-l", f"app={application}")
        places = [
            f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:{port}/proxy/"
            for pod in document["items"]
            if "deletionTimestamp" not in pod["metadata"]
        ]
        return [json.loads(await self.kubectl("get", "--raw", place)) for place in places]

    async def _get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await self.kubectl("-n", NAMESPACE, "get", *arguments, "-o", "json")
        )
        return found

    async def _present(self) -> set[str]:
        names = "jsonpath={range .items[*]}{.metadata.name}{'\\n'}{end}"
        found = [await self.kubectl("get", kind, "-o", names) for kind in ("namespaces", "crd")]
        return set("\n".join(found).split())

    @classmethod
    def recorded(cls, folder: Path) -> Self | None:
        """Return the cluster in which a demo has made something; None: it has in none."""
        record = folder / _RECORD
        if not record.is_file():
            return None
        return cls(Path(json.loads(record.read_text())["kubeconfig"]))

    async def release_namespace(self) -> None:
        """Delete the namespace with all that is in it, while the server still runs."""
        await self.kubectl(
            *("delete", "namespace", NAMESPACE, "--ignore-not-found"),
            f"--timeout={_WAIT_SECONDS}s",
        )

    async def release_kinds(self, folder: Path) -> None:
        """Delete Upwell's kinds, and with them all that is left of these; idempotent."""
        record = folder / _RECORD
        names = json.loads(record.read_text())["definitions"]
        await self.kubectl(
            *("delete", "crd", *names, "--ignore-not-found"), f"--timeout={_WAIT_SECONDS}s"
        )
        record.unlink()


def require_kubectl() -> None:
    """Raise CommandError if there is no kubectl."""
    if shutil.which("kubectl") is None:
        raise CommandError("kubectl: not found (apt install kubernetes-client)")
