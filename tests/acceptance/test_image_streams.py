"""Image streams on real parts: imported, promoted, pulled through, run by their short names."""

import base64
import json
import subprocess
from pathlib import Path

from tests.support.installation.installation import Installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment
from upwell.api.image import ImageStream, NamedTagEventList
from upwell.store.interface import ApiClient, NotFoundError


async def tag_of(client: ApiClient, namespace: str, stream: str, tag: str) -> str:
    """Return the digest that a tag has; empty while it has none."""
    try:
        found = await client.get(ImageStream, namespace, stream)
    except NotFoundError:
        return ""
    history = found.status.tag(tag) or NamedTagEventList(tag=tag)
    return history.latest.image if history.latest is not None else ""


async def test_an_image_is_imported_promoted_and_pulled_through(
    made: Installation, client: ApiClient, tmp_path: Path
) -> None:
    old = str(await publish(made.vendor, "vendor/base:1", "1.0"))
    source = f"--from={made.vendor}/vendor/base:1"
    imported = made.upwell("import-image", "debian:11", source, "--confirm")
    assert imported.returncode == 0, imported.stderr
    assert old[7:19] in imported.stdout
    promoted = made.upwell("tag", "debian:11", "prod/base:live")
    assert promoted.returncode == 0, promoted.stderr
    made.upwell("tag", "debian:11", "stage/base:next", "--alias")

    async def live() -> str:
        return await tag_of(client, "prod", "base", "live")

    async def following() -> str:
        return await tag_of(client, "stage", "base", "next")

    await until(live, lambda digest: digest == old)
    new = str(await publish(made.vendor, "vendor/base:1", "2.0"))
    assert new[7:19] in made.upwell("import-image", "debian:11").stdout
    await until(following, lambda digest: digest == new)
    assert await live() == old
    pulled = {
        name: _copied(made, name, tmp_path / name.replace("/", "-").replace(":", "-"))
        for name in ("prod/base:live", "default/debian:11")
    }
    assert pulled == {"prod/base:live": old, "default/debian:11": new}
    goal = f"{made.vendor}/backup/base"
    mirrored = made.upwell("image", "mirror", f"{made.vendor}/vendor/base:1", goal)
    assert mirrored.stdout.strip().endswith(new), mirrored.stderr


def _copied(made: Installation, name: str, folder: Path) -> str:
    """Pull an image from the embedded registry with another client; return its digest."""
    folder.mkdir()
    host = f"127.0.0.1:{made.port}"
    login = base64.b64encode(f"test:{made.token}".encode()).decode()
    logins = folder / "auth.json"
    logins.write_text(json.dumps({"auths": {host: {"auth": login}}}))
    done = subprocess.run(
        [
            *("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"),
            *("--authfile", str(logins)),
            *("--digestfile", str(folder / "digest")),
            f"docker://{host}/{name}",
            f"dir:{folder / 'image'}",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "digest").read_text().strip()


LOCAL = """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: base}
spec:
  lookupPolicy: {local: true}
  tags: [{name: "1", from: {kind: DockerImage, name: "%s/vendor/base:1"},
          referencePolicy: {type: Local}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "base:1", command: [/bin/sh, -c, "sleep 1000"]}]}
"""


async def test_a_workload_runs_an_image_by_its_short_name(
    made: Installation, client: ApiClient
) -> None:
    digest = str(await publish(made.vendor, "vendor/base:1", "1.0"))
    stream, workload = LOCAL.split("---\n")
    await made.apply(client, stream % made.vendor)

    async def imported() -> str:
        return await tag_of(client, "default", "base", "1")

    await until(imported, lambda found: found == digest)
    await made.apply(client, workload)

    async def rolled_out() -> Deployment:
        return await client.get(Deployment, "default", "web")

    done = await until(rolled_out, lambda found: found.status.ready_replicas == 1)
    (revision,) = done.status.revisions
    assert revision.images == {"web": f"127.0.0.1:{made.port}/default/base@{digest}"}
