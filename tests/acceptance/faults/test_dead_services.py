"""An image that ends at once: what serves goes on, and all five surfaces say what is wrong."""

import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import Installation, until
from tests.support.installation.surfaces import SurfaceAnswers, Surfaces, surfaces
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish_script

SERVE = "mkdir -p /www; echo {words} > /www/index.html; exec httpd -f -p 8080 -h /www"
CRASH = "sleep 1; echo no database; exit 3"


@pytest.fixture
async def asked(made: Installation) -> AsyncIterator[Surfaces]:
    async with surfaces(made) as found:
        yield found


def manifests(vendor: str) -> str:
    """A Deployment that follows a tag, without any probe; a Service and a Route."""
    trigger = [
        {
            "from": {"kind": "ImageStreamTag", "name": "app:1"},
            "fieldPath": 'spec.template.spec.containers[?(@.name=="app")].image',
        }
    ]
    return f"""
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {{name: app}}
spec:
  tags:
    - name: "1"
      from: {{kind: DockerImage, name: "{vendor}/vendor/app:1"}}
      referencePolicy: {{type: Local}}
      importPolicy: {{insecure: true, scheduled: true}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  annotations: {{image.openshift.io/triggers: '{json.dumps(trigger)}'}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec:
      containers: [{{name: app, image: " ", ports: [{{containerPort: 8080}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app}}
spec: {{selector: {{app: app}}, ports: [{{port: 8080}}]}}
---
apiVersion: route.openshift.io/v1
kind: Route
metadata: {{name: app}}
spec: {{host: app.test, to: {{kind: Service, name: app}}}}
"""


async def released(made: Installation, command: str) -> None:
    """Publish what runs this command as the vendor's newest."""
    await publish_script(made.vendor, "vendor/app:1", command)


async def imported(made: Installation) -> None:
    done = made.upwell("import-image", "app:1")
    assert done.returncode == 0, done.stderr


async def started(made: Installation, command: str) -> None:
    await released(made, command)
    async with made.client() as client:
        await made.apply(client, manifests(made.vendor))


async def test_an_update_that_ends_at_once_takes_nothing_away_and_is_told(
    made: Installation, asked: Surfaces
) -> None:
    await started(made, SERVE.format(words="one"))
    await until(partial(answer, made.router_port, "app.test"), "one".__eq__)
    await asked.agreeing("Deployment", "app", lambda seen: not seen.status and seen.current == 1)

    async with traffic(made.router_port, ["app.test"]) as seen:
        await released(made, CRASH)
        await imported(made)
        answers = await asked.agreeing("Deployment", "app", lambda found: bool(found.status))

    assert seen["app.test"].failures == []
    assert set(seen["app.test"].answers) == {"one"}
    [message] = answers.status
    assert "ended again and again" in message
    assert "no database" in message
    assert "revision 1" in message
    assert answers.current == 0
    kinds = [kind for kind, _ in answers.notices]
    assert kinds.count("dev.upwell.rollout.completed") == 1
    assert "dev.upwell.rollout.rolledback" in kinds


@on_demand(
    "tests/unit/reconcilers/rollouts/test_rollouts_deployment.py::"
    "test_a_first_rollout_that_fails_says_that_nothing_can_be_fallen_back_on",
    "tests/unit/reconcilers/rollouts/test_rollouts_deployment.py::"
    "test_a_first_image_that_ends_after_a_second_is_never_complete",
    "tests/acceptance/faults/test_dead_services.py::"
    "test_an_update_that_ends_at_once_takes_nothing_away_and_is_told",
)
async def test_a_first_image_that_ends_at_once_is_a_fault(
    made: Installation, asked: Surfaces
) -> None:
    await started(made, CRASH)

    answers = await asked.agreeing("Deployment", "app", lambda found: bool(found.status))

    [message] = answers.status
    assert "no database" in message
    assert answers.current == 0
    assert "dev.upwell.rollout.completed" not in {kind for kind, _ in answers.notices}


async def test_a_service_that_dies_long_after_its_rollout_is_degraded_until_it_is_whole(
    made: Installation, asked: Surfaces
) -> None:
    await started(made, SERVE.format(words="one"))
    await until(partial(answer, made.router_port, "app.test"), "one".__eq__)
    await asked.agreeing("Deployment", "app", lambda seen: not seen.status and seen.current == 1)
    [instance] = [name for name in made.podman_names() if "-app-" in name]

    made.kill_container(instance)

    def dead(found: SurfaceAnswers) -> bool:
        return "ContainersNotReady" in found.reasons

    answers = await asked.agreeing("Deployment", "app", dead)
    assert answers.current == 0
    whole = await asked.agreeing("Deployment", "app", lambda found: not found.status)
    assert whole.current == 1
    assert [kind for kind, _ in whole.notices].count("dev.upwell.workload.recovered") == 1
