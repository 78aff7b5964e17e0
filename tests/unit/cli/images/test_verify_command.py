"""image verify: what is asked of the server, what is printed, and the exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.registry.signed_images import CosignKey, cluster_policy, namespace_policy
from tests.unit.cli.conftest import OLD

from upwell.api.codec import encode

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

PLACE = "imagepolicyreviews//"
IMAGE = f"registry.test/team/app@{OLD}"
PASSED = {"policy": "ClusterImagePolicy a", "mode": "enforce", "passed": True, "reason": "Verified"}
REFUSED = {
    "policy": "ClusterImagePolicy b",
    "mode": "enforce",
    "passed": False,
    "reason": "NotSigned",
    "message": "it has no signature",
}
WARNED = {**REFUSED, "policy": "ImagePolicy default/c", "mode": "warn"}


def answer(client: "FakeClient", *policies: dict[str, Any]) -> None:
    allowed = REFUSED not in policies
    client.answers[PLACE] = {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "ImagePolicyReview",
        "status": {"image": IMAGE, "allowed": allowed, "policies": list(policies)},
    }


def test_each_policy_says_its_verdict_and_a_refusal_is_an_exit_code(
    upwell: Upwell, client: "FakeClient"
) -> None:
    answer(client, PASSED, REFUSED, WARNED)
    result = upwell(
        "image", "verify", "registry.test/team/app:1", "--at", "promotion", "--stage", "x"
    )
    assert result.exit_code == 1
    digest = result.stdout.splitlines()[0].partition("@")[2]
    assert result.stdout.splitlines()[0].startswith("registry.test/team/app@sha256:")
    assert OLD.startswith(digest.rstrip("…"))
    assert result.stdout.splitlines()[1:] == [
        "  ClusterImagePolicy a: passed",
        "  ClusterImagePolicy b (enforce): NotSigned: it has no signature",
        "  ImagePolicy default/c (warn): NotSigned: it has no signature",
    ]
    assert "would be refused" in result.stderr
    [(method, path, body)] = client.calls
    assert (method, path) == ("POST", PLACE)
    assert body is not None
    assert body["metadata"]["namespace"] == "default"
    asked = {"image": "registry.test/team/app:1", "at": "promotion", "stage": "x"}
    assert {name: body["spec"][name] for name in asked} == asked
    assert body["spec"].get("policy") is None


def test_what_a_short_name_means_is_told_beside_the_answer(
    upwell: Upwell, client: "FakeClient"
) -> None:
    answer(client, PASSED)
    client.answers[PLACE]["status"]["note"] = "app:1 names no registry: it is docker.io/library/app"
    result = upwell("image", "verify", "app:1")
    assert result.exit_code == 0
    assert result.stderr == "note: app:1 names no registry: it is docker.io/library/app\n"


@pytest.mark.parametrize(
    ("policies", "line"),
    [
        ((PASSED,), "  ClusterImagePolicy a: passed"),
        ((WARNED,), "  ImagePolicy default/c (warn): NotSigned: it has no signature"),
        ((), "  no policy is about it"),
    ],
)
def test_what_is_allowed_exits_0(
    upwell: Upwell, client: "FakeClient", policies: tuple[dict[str, Any], ...], line: str
) -> None:
    answer(client, *policies)
    result = upwell("image", "verify", IMAGE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1:] == [line]


def test_as_json_it_is_the_whole_answer_and_still_an_exit_code(
    upwell: Upwell, client: "FakeClient"
) -> None:
    answer(client, REFUSED)
    result = upwell("image", "verify", IMAGE, "-o", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"]["policies"] == [REFUSED]


def test_a_policy_of_a_file_is_tried_and_nothing_else_is_asked(
    upwell: Upwell, client: "FakeClient", tmp_path: Path
) -> None:
    answer(client, PASSED)
    spec = CosignKey().spec("registry.test", mode="warn")
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(encode(cluster_policy("vendor", spec))))
    assert upwell("image", "verify", IMAGE, "-f", str(file)).exit_code == 0
    [(_, _, body)] = client.calls
    assert body is not None
    assert body["spec"]["policy"]["scopes"] == ["registry.test"]
    assert body["spec"]["policy"]["enforcement"]["mode"] == "warn"


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_of_no_policy_or_several_is_refused(
    upwell: Upwell, client: "FakeClient", tmp_path: Path, count: int
) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    spec = CosignKey().spec("*")
    made = [namespace_policy("default", f"own-{number}", spec) for number in range(count)]
    items = [encode(one) for one in made] or [other]
    file = tmp_path / "policy.yaml"
    file.write_text("\n---\n".join(map(json.dumps, items)))
    result = upwell("image", "verify", IMAGE, "-f", str(file))
    assert result.exit_code == 2
    assert f"has {count} image policies" in result.stderr
    assert not client.calls
