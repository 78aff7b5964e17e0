"""status --all: workloads that nobody gave to Upwell, after the tree."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from upwell.api.codec import decode_as
from upwell.api.requests.running import RunningWorkload
from upwell.cli.core.errors import Exit
from upwell.cli.explain.foreign_workloads import ForeignWorkloads

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

OLD, NEW = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
IMAGE = "registry.test/legacy:1  111111111111 on 2 nodes"
DEBIAN = {"tag": "base/debian:12", "digest": OLD, "newest": NEW, "behind": 2, "by": "layers"}


def workload(name: str, *images: dict[str, Any], given: bool = False) -> RunningWorkload:
    status = {
        "workloadKind": "Deployment",
        "workloadName": name,
        "given": given,
        "pods": 3,
        "images": [
            {"image": f"registry.test/{name}:1@{OLD}", "digest": OLD, "pods": 3, "nodes": 2, **one}
            for one in images
        ],
    }
    metadata = {"namespace": "shop", "name": f"deployment.{name}"}
    return decode_as(RunningWorkload, {"metadata": metadata, "status": status})


def test_each_is_told_with_what_its_images_stand_on() -> None:
    legacy = workload("legacy", {"ancestors": [DEBIAN], "behind": 2}, {"unknown": "nobody knows"})
    found = ForeignWorkloads([legacy, workload("web", {"behind": 0}, given=True)])

    assert list(found.lines()) == [
        "Deployment shop/legacy  3 pods",
        f"├─ {IMAGE}, has the layers of base/debian:12 (behind by 2)",
        f"└─ {IMAGE}, unknown: nobody knows",
    ]
    assert found.counts() == (
        "1 workload that nobody gave to Upwell: 1 behind, 0 current, 0 unknown"
    )


def test_they_are_counted_by_how_they_stand() -> None:
    images: list[dict[str, Any]] = [{"behind": 1}, {"behind": 0}, {"unknown": "?"}]
    found = ForeignWorkloads([workload(f"w{at}", one) for at, one in enumerate(images)])

    assert found.counts() == (
        "3 workloads that nobody gave to Upwell: 1 behind, 1 current, 1 unknown"
    )


def test_one_whose_nodes_tell_no_image_is_not_called_current() -> None:
    found = ForeignWorkloads([workload("silent")])

    assert list(found.lines()) == [
        "Deployment shop/silent  3 pods",
        "└─ no node tells which images they run",
    ]
    assert found.counts().endswith("0 behind, 0 current, 1 unknown")


def test_the_command_adds_them_to_the_tree(upwell: Callable[..., "Result"]) -> None:
    assert upwell("status", "--all").stdout == (
        "0 workloads that nobody gave to Upwell: 0 behind, 0 current, 0 unknown\n"
    )
    assert json.loads(upwell("status", "--all", "-o", "json").stdout)["others"] == []
    assert "others" not in json.loads(upwell("status", "-o", "json").stdout)


def test_a_server_on_one_machine_has_none_to_show(
    upwell: Callable[..., "Result"], client: "FakeClient"
) -> None:
    client.not_served.add(RunningWorkload.KIND.kind)

    result = upwell("status", "--all")

    assert result.exit_code == Exit.FAILED
    assert "this one runs on no cluster: leave --all out" in result.stderr
