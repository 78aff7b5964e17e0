"""`upwell plan` against objects of a fix that has risen."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from upwell.api.meta import ObjectMeta
from upwell.api.waves.plan import ImpactPlanStatus
from upwell.api.waves.wave import Wave, WaveApproval, WaveSpec
from upwell.cli.waves.plan_view import dot_lines, mermaid_lines
from upwell.oci.registry_names import OPENSHIFT_NAME, OwnRegistry, serve_as
from upwell.policy.waves.approval import ApprovalRules
from upwell.policy.waves.canary import CanaryRules

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

NEWER = f"sha256:{'e' * 64}"

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


def test_a_name_ends_no_statement_of_a_graph() -> None:
    plan = ImpactPlanStatus(images=('a"]\n  n9 --> n0<b>',))
    assert list(dot_lines(plan))[2:-1] == ['  n0 [label="a\\"] n9 --> n0<b>"];']
    assert list(mermaid_lines(plan))[1:] == ['  n0["a#34;] n9 --#62; n0#60;b#62;"]']
    directive = ImpactPlanStatus(images=("`a`%%{init: {}}%%&lt;",))
    assert list(mermaid_lines(directive))[1:] == [
        '  n0["#96;a#96;#37;#37;{init: {}}#37;#37;#38;lt;"]'
    ]


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
    serve_as(OwnRegistry.of("127.0.0.1:7080", [OPENSHIFT_NAME], 7080))
    stream = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"namespace": "default", "name": "tool"},
        "status": {"dockerImageRepository": "127.0.0.1:7080/default/tool"},
    }
    internal = f"{OPENSHIFT_NAME}/default/tool:1"
    for document in (stream, running("byname", internal)):
        await client.put(document)

    for name in (internal, "localhost:7080/default/tool:1", "127.0.0.1:7080/default/tool:1"):
        said = (await asyncio.to_thread(upwell, "plan", "--image", name)).stdout
        assert "Deployment default/byname  roll out" in said, name


async def test_who_names_an_image_and_follows_no_tag_is_told(
    upwell: Upwell, client: "FakeClient"
) -> None:
    for name, image in (("one", "nginx:1"), ("other", "nginx:2")):
        await client.put(running(name, image))

    said = (await asyncio.to_thread(upwell, "plan", "--image", "nginx:1")).stdout
    assert "Deployment default/one  roll out, ! it names docker.io/library/nginx:1" in said
    assert "default/other" not in said


async def test_a_change_that_the_server_wants_approved_will_wait_for_that(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    fixed.approvals = ApprovalRules(patterns=("vendor.test/*",))
    shown = await asyncio.to_thread(upwell, "plan", "--image", "vendor.test/debian:11")
    assert "! its Wave will wait for approval" in shown.stdout
    assert "from its import on" not in shown.stdout, "nothing goes on by itself"

    spec = WaveSpec(image="vendor.test/debian:11", digest=NEWER, approval=WaveApproval.AUTO)
    await fixed.create(Wave(metadata=ObjectMeta(name="debian-11"), spec=spec))
    known = await asyncio.to_thread(
        upwell, "plan", "--image", "vendor.test/debian:11", "--to", NEWER
    )
    assert "will wait" not in known.stdout


def test_the_workloads_that_the_server_lets_go_first_are_marked(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    fixed.canary = CanaryRules(share=0.5)
    lines = upwell("plan", "--image", "vendor.test/debian:11").stdout.splitlines()
    assert any(line.endswith("Deployment default/shop  roll out, first") for line in lines)
    assert any("1 workload marked as first: the others follow when" in line for line in lines)


def test_a_server_that_makes_no_plans_is_told_to_be_older(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    fixed.is_older = True
    result = upwell("plan", "--image", "vendor.test/debian:11")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the server is older than this command, and makes no plans" in result.stderr


def running(name: str, image: str) -> dict[str, Any]:
    """Return a Deployment that names an image and follows no tag."""
    spec = {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}
    metadata = {"namespace": "default", "name": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
