"""A person's undo, hold and pause outlast pushes, manifests that are applied again, and a kill."""

from tests.support.installation.applications import stream
from tests.support.installation.installation import Installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment
from upwell.api.conditions import find
from upwell.store.interface import ApiClient

TRIGGER = (
    '[{"from": {"kind": "ImageStreamTag", "name": "app:latest"},'
    ' "fieldPath": "spec.template.spec.containers[0].image"}]'
)
APP = f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  annotations: {{image.openshift.io/triggers: '{TRIGGER}'}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec:
      containers:
        - name: web
          image: " "
          command: [/bin/sh, -c, "! grep bad /etc/base-version && mkdir -p /www && exec serve"]
          readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
"""


async def push(made: Installation, version: str) -> str:
    """Push another image, as a build does, and return its digest."""
    address = made.url.removeprefix("http://")
    return str(await publish(address, "default/app:latest", version, token=made.token))


async def gives_up_after(client: ApiClient, seconds: int) -> None:
    spec = {"progressDeadlineSeconds": seconds}
    await client.patch(Deployment, "default", "app", {"spec": spec})


async def until_newest(client: ApiClient, digest: str, phase: str) -> list[tuple[int, str]]:
    """Wait until the newest revision has this image and phase; return all, newest first."""

    async def app() -> Deployment:
        return await client.get(Deployment, "default", "app")

    def newest(one: Deployment) -> bool:
        first = next(iter(one.status.revisions), None)
        return first is not None and first.images["web"].endswith(digest) and first.phase == phase

    found = await until(app, newest)
    return [(one.revision, one.phase) for one in found.status.revisions]


async def until_pending(client: ApiClient, digest: str) -> str:
    """Wait until an image waits for a person; return what is said of it."""

    async def told() -> str:
        conditions = (await client.get(Deployment, "default", "app")).status.conditions
        found = find(conditions, "ImageTriggered")
        return found.message if found is not None and not found.is_true else ""

    return await until(told, lambda message: digest in message)


async def test_what_failed_is_not_tried_again_and_what_a_person_says_holds(
    made: Installation,
) -> None:
    async with made.client() as client:
        await made.apply(client, stream("app") + APP)
        first = await push(made, "good 1")
        await until_newest(client, first, "Complete")
        await gives_up_after(client, 3)  # what is good may take its time
        bad = await push(made, "bad 2")
        await until_newest(client, bad, "Failed")
        await gives_up_after(client, 600)
    made.kill()
    await made.start()
    async with made.client() as client:
        await made.apply(client, APP)
        third = await push(made, "good 3")
        revisions = await until_newest(client, third, "Complete")
        assert revisions == [(3, "Complete"), (2, "Failed"), (1, "Complete")]

        assert made.upwell("rollout", "undo", "deployment/app").returncode == 0
        await until_newest(client, first, "Complete")
        fourth = await push(made, "good 4")
        await until_pending(client, fourth)
    made.kill()
    await made.start()
    async with made.client() as client:
        await made.apply(client, APP)
        fifth = await push(made, "good 5")
        assert "held: rolled back to revision 1 by hand" in await until_pending(client, fifth)
        await until_newest(client, first, "Complete")
        for command in (("status",), ("describe", "deployment/app"), ("explain", "deployment/app")):
            assert "rolled back to revision 1 by hand" in made.upwell(*command).stdout

        assert made.upwell("resume", "deployment/app").returncode == 0
        await until_newest(client, fifth, "Complete")
        assert made.upwell("rollout", "pause", "deployment/app").returncode == 0
        sixth = await push(made, "good 6")
        assert "spec.paused is set" in await until_pending(client, sixth)
        refused = made.upwell("rollout", "undo", "deployment/app")
        assert refused.returncode == 1
        assert "cannot rollback a paused deployment" in refused.stderr
        assert made.upwell("rollout", "resume", "deployment/app").returncode == 0
        await until_newest(client, sixth, "Complete")
