"""apply, delete and wait: writes, output and exit codes."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.mutations.admission import refusal

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.meta import Resource

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


ROUTE = """\
apiVersion: route.openshift.io/v1
kind: Route
metadata: {name: shop}
spec: {to: {kind: Service, name: shop}}
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{port: 80}]}
"""


def test_apply_tells_created_unchanged_and_configured(upwell: Upwell) -> None:
    first, other = (json.dumps(config_map("settings", level=level)) for level in ("1", "2"))

    outcomes = [upwell("apply", "-f", "-", stdin=text).stdout for text in (first, first, other)]

    assert outcomes == [
        "configmap/settings created\n",
        "configmap/settings unchanged\n",
        "configmap/settings configured\n",
    ]


ODD = """\
apiVersion: v1
kind: Service
metadata: {name: odd, labels: {tier: web}}
spec: {type: Bogus, ports: [{port: 80}]}
"""
"""It breaks a rule that there was not always."""


@pytest.fixture
def odd(client: "FakeClient") -> Resource:
    """Return what was stored before there was the rule."""
    stored = decode(yaml.safe_load(ODD)).with_metadata(namespace="default")
    return asyncio.run(client.create(apply_defaults(stored)))


@pytest.mark.usefixtures("odd")
def test_a_fault_that_is_there_keeps_nothing_from_being_applied(upwell: Upwell) -> None:
    folder = f"{ODD}---\n{json.dumps(config_map('settings'))}"
    outcomes = [upwell("apply", "-f", "-", stdin=text) for text in (folder, ODD)]
    assert [one.stdout for one in outcomes] == [
        "configmap/settings created\nservice/odd unchanged\n",
        "service/odd unchanged\n",
    ]


@pytest.mark.usefixtures("odd")
def test_a_fault_that_is_brought_in_keeps_all_from_being_applied(upwell: Upwell) -> None:
    worse = ODD.replace("[{port: 80}]", "[{port: 70000}]")
    result = upwell("apply", "-f", "-", stdin=f"{json.dumps(config_map('settings'))}\n---\n{worse}")
    assert result.exit_code == 2
    assert "stdin: Service 'odd': spec.ports[0].port" in result.stderr
    assert "spec.type" not in result.stderr
    assert upwell("get", "cm", "-o", "name").stdout == ""


def test_what_is_not_there_has_all_its_faults(upwell: Upwell) -> None:
    result = upwell("apply", "-f", "-", stdin=ODD)
    assert result.exit_code == 2
    assert "stdin: Service 'odd': spec.type" in result.stderr
    assert upwell("get", "svc", "-o", "name").stdout == ""


BAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad_name, labels: {"a b": c}}
spec:
  replicas: -1
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: y}}
    spec:
      hostNetwork: true
      containers:
        - name: A
          image: nginx
          imagePullPolicy: Sometimes
          ports: [{containerPort: "80"}, {containerPort: 99999}]
          volumeMounts: [{name: nope, mountPath: /data}]
"""


def test_all_that_the_server_refuses_is_told_at_once(upwell: Upwell) -> None:
    told = refusal(yaml.safe_load(BAD))
    assert told is not None
    faults = told.removeprefix("Deployment 'bad_name' is invalid: ").split("; ")

    result = upwell("apply", "-f", "-", stdin=f"{BAD}---\n{ODD}")

    lines = result.stderr.splitlines()[1:]
    assert len(faults) > 6
    assert lines[1:] == [f"  stdin: Deployment 'bad_name': {fault}" for fault in faults]
    assert "Service 'odd': spec.type" in lines[0]


PRIVILEGED = """\
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {pod-security.kubernetes.io/enforce: strict}}
"""


def test_a_rule_of_policy_keeps_all_from_being_applied(upwell: Upwell) -> None:
    text = f"{PRIVILEGED}---\n{json.dumps(config_map('settings'))}"
    result = upwell("apply", "-f", "-", stdin=text)
    assert result.exit_code == 2
    assert "pod-security.kubernetes.io/enforce" in result.stderr
    assert upwell("get", "cm", "-o", "name").stdout == ""


@pytest.mark.usefixtures("odd")
def test_what_has_a_fault_is_deleted_by_its_manifest(upwell: Upwell) -> None:
    assert upwell("delete", "-f", "-", stdin=ODD).exit_code == 0
    assert upwell("get", "svc", "-o", "name").stdout == ""


def test_who_may_not_even_read_is_told_what_writing_takes(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.forbidden.add("ConfigMap")
    result = upwell("apply", "-f", "-", stdin=json.dumps(config_map("settings")))
    assert result.exit_code == 1
    assert "may not write it" in result.stderr


def test_what_a_server_noted_in_an_exported_manifest_is_left_out(upwell: Upwell) -> None:
    exported = config_map("settings", level="1")
    exported["metadata"] |= {"uid": "4a10e762", "resourceVersion": "1125", "selfLink": "/x"}

    outcomes = [upwell("apply", "-f", "-", stdin=json.dumps(exported)) for _ in range(2)]

    assert [outcome.stdout.split()[-1] for outcome in outcomes] == ["created", "unchanged"]


def test_apply_puts_what_others_need_first(upwell: Upwell, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{ROUTE}---\n{SERVICE}")
    (tmp_path / "z.yml").write_text(NAMESPACE)
    (tmp_path / "notes.txt").write_text("not a manifest")

    result = upwell("apply", "-f", str(tmp_path))

    assert result.stdout.splitlines() == [
        "namespace/shop created",
        "service/shop created",
        "route.route.openshift.io/shop created",
    ]


def test_a_folder_is_read_into_only_on_request(upwell: Upwell, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.json").write_text(json.dumps({"kind": "List", "items": [config_map("one")]}))

    flat, deep = upwell("apply", "-f", str(tmp_path)), upwell("apply", "-Rf", str(tmp_path))

    assert flat.exit_code == 2
    assert "-R" in flat.stderr
    assert deep.stdout == "configmap/one created\n"


def test_every_fault_of_every_document_is_told_and_nothing_is_written(
    upwell: Upwell, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: Bad_Name}\nspec: {ports: [{port: x}]}\n"
        "---\napiVersion: v1\nkind: Gadget\nmetadata: {name: g}\n"
    )
    (tmp_path / "broken.yaml").write_text("a: [")

    result = upwell("apply", "-f", str(tmp_path), "-f", str(tmp_path / "absent.yaml"))

    assert result.exit_code == 2
    assert result.stdout == ""
    for part in ("spec.ports[0].port", "Gadget", "broken.yaml", "absent.yaml: No such file"):
        assert part in result.stderr
    assert upwell("get", "cm", "-o", "name").stdout == ""


def test_an_object_declared_twice_is_refused(upwell: Upwell) -> None:
    text = json.dumps({"kind": "List", "items": [config_map("one"), config_map("one")]})

    result = upwell("apply", "-f", "-", stdin=text)

    assert result.exit_code == 2
    assert "ConfigMap default/one is declared twice" in result.stderr


def test_a_namespace_that_contradicts_the_option_is_refused(upwell: Upwell) -> None:
    document = config_map("one")
    document["metadata"]["namespace"] = "a"

    refused = upwell("-n", "b", "apply", "-f", "-", stdin=json.dumps(document))
    accepted = upwell("apply", "-f", "-", stdin=json.dumps(document))

    assert refused.exit_code == 2
    assert "--namespace is 'b'" in refused.stderr
    assert accepted.exit_code == 0


def test_a_dry_run_writes_nothing(upwell: Upwell) -> None:
    result = upwell("apply", "-f", "-", "--dry-run=server", stdin=json.dumps(config_map("one")))

    assert result.stdout == "configmap/one created (server dry run)\n"
    assert upwell("get", "cm", "-o", "name").stdout == ""


def test_warnings_of_the_server_go_to_stderr(upwell: Upwell, client: "FakeClient") -> None:
    client.warnings = ["unknown field spec.color"]

    result = upwell("apply", "-f", "-", stdin=json.dumps(config_map("one")))

    assert result.stdout == "configmap/one created\n"
    assert result.stderr == "warning: configmap/one: unknown field spec.color\n"


def test_delete_by_name_and_wait(upwell: Upwell) -> None:
    upwell("apply", "-f", "-", stdin=json.dumps(config_map("one")))

    assert upwell("delete", "cm/one", "--wait").stdout == "configmap/one deleted\n"
    assert upwell("delete", "cm/one").exit_code == 3
    upwell("apply", "-f", "-", stdin=json.dumps(config_map("two")))
    some = upwell("delete", "cm/one", "cm/two", "cm/three")
    assert (some.exit_code, some.stdout) == (3, "configmap/two deleted\n")
    assert "error: ConfigMap default/one" in some.stderr
    assert "three" in some.stderr
    assert upwell("delete", "cm/one", "--ignore-not-found").exit_code == 0


def test_delete_by_manifest_begins_with_what_needs_others(upwell: Upwell, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(f"{SERVICE}---\n{ROUTE}")
    upwell("apply", "-f", str(file))

    assert upwell("delete", "-f", str(file)).stdout.splitlines() == [
        "route.route.openshift.io/shop deleted",
        "service/shop deleted",
    ]


def test_a_variable_that_is_not_set_deletes_nothing(upwell: Upwell) -> None:
    upwell("apply", "-f", "-", stdin=json.dumps(config_map("settings")))

    refused = upwell("delete", "configmap", "")

    assert refused.exit_code == 2
    assert "a name of a ConfigMap is empty" in refused.stderr
    assert upwell("get", "configmap", "settings").exit_code == 0


def test_delete_needs_names_or_manifests(upwell: Upwell) -> None:
    assert upwell("delete").exit_code == 2


@pytest.mark.usefixtures("fixed")
class TestRisenFix:
    """Commands that need the objects of a running application."""

    @pytest.mark.parametrize(
        "state", ["phase=Complete", "jsonpath={.status.phase}=Complete", "jsonpath=.kind=Build"]
    )
    def test_wait_for_what_holds_already(self, upwell: Upwell, state: str) -> None:
        assert upwell("wait", "build/shop-2", f"--for={state}").exit_code == 0

    def test_wait_ends_with_5_when_its_time_is_over(self, upwell: Upwell) -> None:
        result = upwell("wait", "deploy/shop", "--for=condition=Never", "--timeout=0.05s")

        assert result.exit_code == 5
        assert "does not match condition=Never after 0.05 s" in result.stderr

    def test_wait_for_what_a_build_that_has_ended_is_not_fails_at_once(
        self, upwell: Upwell
    ) -> None:
        result = upwell("wait", "build/shop-2", "--for=phase=Failed", "--timeout=0")

        assert result.exit_code == 1
        assert "shop-2 has ended: Complete" in result.stderr

    @pytest.mark.parametrize("state", ["", "ready", "condition=", "phase="])
    def test_wait_for_nonsense_is_a_usage_error(self, upwell: Upwell, state: str) -> None:
        assert upwell("wait", "build/shop-2", f"--for={state}").exit_code == 2


def test_a_duration_that_is_none_is_a_usage_error(upwell: Upwell) -> None:
    assert upwell("wait", "cm/x", "--for=delete", "--timeout=soon").exit_code == 2
