"""`upwell plan` against objects of a fix that has risen."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import NEW

from upwell.api.meta import ObjectMeta
from upwell.api.waves.wave import Wave, WaveApproval, WaveSpec

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
def _objects(fixed: "FakeClient") -> None:
    """Every test here reads the risen fix."""


def test_plan_shows_what_would_be_built_and_rolled_out(upwell: Upwell) -> None:
    result = upwell("plan", "--image", "vendor.test/debian:11")

    assert result.stdout.splitlines() == [
        "vendor.test/debian:11  changes",
        "└─ ImageStreamTag default/debian:11  import",
        "   └─ BuildConfig default/shop  rebuild, level 1, 1 object on it",
        "      └─ ImageStreamTag default/shop:latest  tag",
        "         └─ Deployment default/shop  roll out",
        "",
        "1 build in 1 level, 1 workload",
        "nothing like it has ended yet that tells how long it takes",
    ]


def test_plan_as_graphs(upwell: Upwell) -> None:
    dot = upwell("plan", "--image", "debian:11", "-o", "dot").stdout
    assert dot.splitlines()[0] == "digraph plan {"
    assert '  n1 [label="BuildConfig default/shop: rebuild"];' in dot
    assert "  n0 -> n1;" in dot
    mermaid = upwell("plan", "--image", "debian:11", "-o", "mermaid").stdout
    assert mermaid.splitlines()[:2] == ["flowchart LR", '  n0["ImageStreamTag default/debian:11"]']
    assert "  n0 --> n1" in mermaid


def test_plan_as_data(upwell: Upwell) -> None:
    data = json.loads(upwell("plan", "--image", "debian:11", "-o", "json").stdout)

    assert [one["action"] for one in data["steps"]] == ["rebuild", "tag", "roll out"]
    assert data["summary"]["builds"] == data["summary"]["workloads"] == 1


def test_what_has_the_digest_is_not_to_be_done(upwell: Upwell) -> None:
    digest = f"sha256:{'b' * 64}"
    result = upwell("plan", "--image", "vendor.test/debian:11", "--to", digest)

    assert "Deployment default/shop  runs it" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("nothing to do")


def test_an_image_that_nothing_stands_on_and_a_wrong_digest_are_told(upwell: Upwell) -> None:
    unknown = upwell("plan", "--image", "nginx:1")
    assert (unknown.exit_code, unknown.stdout) == (3, "")
    assert "nothing follows, builds on or runs nginx:1" in unknown.stderr
    wrong = upwell("plan", "--image", "debian:11", "--to", "latest")
    assert wrong.exit_code == 2
    assert "--to: not a digest: 'latest'" in wrong.stderr


async def test_the_servers_registry_is_one_whatever_it_is_called(
    upwell: Upwell, client: "FakeClient"
) -> None:
    stream = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"namespace": "default", "name": "tool"},
        "status": {"dockerImageRepository": "127.0.0.1:7080/default/tool"},
    }
    internal = "image-registry.openshift-image-registry.svc:5000/default/tool:1"
    spec = {"template": {"spec": {"containers": [{"name": "web", "image": internal}]}}}
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "default", "name": "byname"},
        "spec": spec,
    }
    for document in (stream, workload):
        await client.put(document)

    for name in (internal, "localhost:7080/default/tool:1", "127.0.0.1:7080/default/tool:1"):
        said = (await asyncio.to_thread(upwell, "plan", "--image", name)).stdout
        assert "Deployment default/byname  roll out" in said, name


async def test_a_change_whose_last_one_was_approved_by_hand_will_wait_for_that_too(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    spec = WaveSpec(image="vendor.test/debian:11", digest=NEW, approval=WaveApproval.MANUAL)
    await fixed.create(Wave(metadata=ObjectMeta(name="debian-11"), spec=spec))

    shown = await asyncio.to_thread(upwell, "plan", "--image", "vendor.test/debian:11")
    assert "! its Wave will wait for approval" in shown.stdout
    other = await asyncio.to_thread(upwell, "plan", "--image", "vendor.test/debian:11", "--to", NEW)
    assert "will wait" not in other.stdout
