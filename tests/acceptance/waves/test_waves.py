"""Waves among real parts: approval, rollouts that take turns, and the stop that quarantines."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment
from upwell.api.conditions import find
from upwell.api.pipeline import Quarantine
from upwell.api.waves.wave import Wave, WavePhase
from upwell.store.interface import ApiClient, Selector

SETTINGS = """
[waves]
approval = "manual"
stop-at = "50%"
rollouts = 1
"""
WORKLOADS = {"one": 5, "two": 1}
"""Workloads of each namespace, which follows a base of its own."""


def manifests(vendor: str) -> Iterator[str]:
    for namespace, count in WORKLOADS.items():
        yield f"""
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata:
  name: base
  namespace: {namespace}
  annotations: {{upwell.dev/import-interval: 1s}}
spec:
  tags:
    - name: "1"
      from: {{kind: DockerImage, name: "{vendor}/{namespace}/base:1"}}
      importPolicy: {{scheduled: true}}
"""
        for number in range(count):
            yield workload(namespace, f"app{number}")


def workload(namespace: str, name: str) -> str:
    trigger = (
        '[{"from": {"kind": "ImageStreamTag", "name": "base:1"},'
        ' "fieldPath": "spec.template.spec.containers[0].image"}]'
    )
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
  annotations: {{image.openshift.io/triggers: '{trigger}'}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: " "
          command: [/bin/sh, -c, "! grep bad /etc/base-version && exec sleep 1000"]
"""


async def revisions(client: ApiClient, namespace: str) -> list[tuple[int, str]]:
    """Return number and phase of the newest revision of each workload of a namespace."""
    found = (await client.list(Deployment, Selector(namespace))).items
    return [
        (one.status.revisions[0].revision, str(one.status.revisions[0].phase))
        for one in found
        if one.status.revisions
    ]


async def until_all_run(client: ApiClient) -> None:
    for namespace, count in WORKLOADS.items():
        expected = [(1, "Complete")] * count
        await until(partial(revisions, client, namespace), expected.__eq__)


async def waves(client: ApiClient) -> dict[str, Wave]:
    """Return the newest Wave of each namespace's base."""
    found = sorted((await client.list(Wave)).items, key=lambda one: str(one.spec.changed))
    return {one.spec.image.split("/")[1]: one for one in found}


async def changed(
    made: Installation, client: ApiClient, versions: dict[str, str]
) -> dict[str, Wave]:
    """Publish new bases; return their Waves, which wait for an approval."""
    digests = {
        name: str(await publish(made.vendor, f"{name}/base:1", version))
        for name, version in versions.items()
    }

    def wait(found: dict[str, Wave]) -> bool:
        return all(
            name in found
            and found[name].spec.digest == digest
            and found[name].status.phase is WavePhase.WAITING
            for name, digest in digests.items()
        )

    return await until(partial(waves, client), wait)


def configure(made: Installation) -> None:
    path = made.folder / "upwell.toml"
    path.write_text(SETTINGS)
    made.options = (*made.options, "--config", str(path))


async def test_waves_wait_for_a_yes_take_turns_and_are_stopped() -> None:
    async with installation(prepare=configure) as made, made.client() as client:
        for namespace in WORKLOADS:
            await publish(made.vendor, f"{namespace}/base:1", "1")
        await made.apply(client, "---".join(manifests(made.vendor)))
        await until_all_run(client)

        for number in range(WORKLOADS["one"]):  # what is good may take its time
            hasty = {"spec": {"progressDeadlineSeconds": 2}}
            await client.patch(Deployment, "one", f"app{number}", hasty)

        # Two changes, of which one breaks what gets it: nothing goes on before they are approved.
        versions = {"one": "bad", "two": "2"}
        asked = await changed(made, client, versions)
        assert "approve" in made.upwell("wave", "describe", asked["one"].name).stdout
        assert {one for name in WORKLOADS for one in await revisions(client, name)} == {
            (1, "Complete")
        }
        for wave in asked.values():
            done = made.upwell("wave", "approve", wave.name, "--reason", "seen")
            assert done.returncode == 0, done.stderr
        bad = await until(
            partial(client.get, Wave, "", asked["one"].name),
            lambda wave: wave.status.phase is WavePhase.STOPPED,
        )
        assert bad.status.stop is not None
        assert len(bad.status.stop.failures) == 3
        assert "2" in (await turns(client))[:2], "both have had their turn"

        async def quarantined() -> set[str]:
            return {one.spec.digest for one in (await client.list(Quarantine)).items}

        await until(quarantined, lambda found: bad.spec.digest in found)
        await until(partial(reasons, client, "one"), lambda found: "WaveStopped" in found)
        good = partial(client.get, Wave, "", asked["two"].name)
        await until(good, lambda wave: wave.status.phase is WavePhase.COMPLETE)
        spared = [one for one in await second_rollouts(client, "one") if one is None]
        assert spared, "what has not begun does not begin"


async def reasons(client: ApiClient, namespace: str) -> set[str]:
    """Return why images of a namespace's workloads wait."""
    found = (await client.list(Deployment, Selector(namespace))).items
    conditions = (find(one.status.conditions, "ImageTriggered") for one in found)
    return {one.reason for one in conditions if one is not None}


async def second_rollouts(client: ApiClient, namespace: str) -> list[datetime | None]:
    """Return when the second rollout of each workload began; None: it has not."""
    found = (await client.list(Deployment, Selector(namespace))).items
    return [
        next((each.created for each in one.status.revisions if each.revision == 2), None)
        for one in found
    ]


async def turns(client: ApiClient) -> list[str]:
    """Return whose second rollouts began, in their order: those of `one` are 1."""
    found = [
        (began, "1" if namespace == "one" else "2")
        for namespace in WORKLOADS
        for began in await second_rollouts(client, namespace)
        if began is not None
    ]
    return [whose for _, whose in sorted(found)]
