"""`process`: where templates come from, how values are given, and what is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from upwell.cli.core.assignments import MAX_FILE_BYTES

if TYPE_CHECKING:
    from click.testing import Result

type Upwell = Callable[..., "Result"]

TEMPLATE = """\
apiVersion: template.openshift.io/v1
kind: Template
metadata: {name: settings}
message: "the password is ${PASSWORD}"
parameters:
- {name: LEVEL, required: true, description: How much is told}
- {name: COUNT, value: "3"}
- {name: PASSWORD, generate: expression, from: "[a-z]{12}"}
objects:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: settings}
  data: {level: "${LEVEL}", password: "${PASSWORD}"}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: shop}
  spec:
    replicas: ${{COUNT}}
    selector: {matchLabels: {app: shop}}
    template:
      metadata: {labels: {app: shop}}
      spec: {containers: [{name: shop, image: registry.test/shop}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    return str(path)


def items(result: "Result") -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    listed = yaml.safe_load(result.stdout)
    assert listed["kind"] == "List"
    found: list[dict[str, Any]] = listed["items"]
    return found


def test_names_are_printed_as_kubectls(upwell: Upwell, file: str) -> None:
    result = upwell("process", "--local", "-f", file, "-p", "LEVEL=loud", "-o", "name")
    assert result.stdout == "configmap/settings\ndeployment.apps/shop\n"


def test_the_objects_of_a_file_are_printed_as_a_list(upwell: Upwell, file: str) -> None:
    config_map, deployment = items(upwell("process", file, "-p", "LEVEL=loud", "-l", "team=web"))

    assert config_map["data"]["level"] == "loud"
    assert len(config_map["data"]["password"]) == 12
    assert deployment["spec"]["replicas"] == 3
    assert deployment["metadata"]["labels"] == {"team": "web"}


def test_a_file_is_named_as_oc_names_it(upwell: Upwell, file: str) -> None:
    named = upwell("process", "-f", file, "-p", "LEVEL=loud")
    assert [one["kind"] for one in items(named)] == ["ConfigMap", "Deployment"]
    assert upwell("process", file, "-f", file).exit_code == 2
    assert upwell("process").exit_code == 2


def test_generated_values_differ_from_one_call_to_the_next(upwell: Upwell, file: str) -> None:
    first, second = (items(upwell("process", file, "-p", "LEVEL=loud")) for _ in range(2))

    assert first[0]["data"]["password"] != second[0]["data"]["password"]


def test_what_is_printed_can_be_applied(upwell: Upwell) -> None:
    printed = upwell("process", "-", "-p", "LEVEL=loud", "-o", "json", stdin=TEMPLATE)

    applied = upwell("apply", "-f", "-", stdin=printed.stdout)

    assert json.loads(printed.stdout)["kind"] == "List"
    assert applied.stdout.splitlines() == [
        "configmap/settings created",
        "deployment.apps/shop created",
    ]


def test_an_applied_template_is_kept_as_it_is_and_processed_by_name(
    upwell: Upwell, file: str
) -> None:
    applied = upwell("apply", "-f", file)

    assert applied.stdout == "template.template.openshift.io/settings created\n"
    assert "upwell process settings" in applied.stderr
    assert items(upwell("process", "settings", "-p", "LEVEL=low"))[0]["data"]["level"] == "low"
    assert upwell("process", "other").exit_code == 3


def test_values_come_from_files_and_the_command_line_wins(
    upwell: Upwell, file: str, tmp_path: Path
) -> None:
    values = tmp_path / "values.env"
    values.write_text("# what is told\nLEVEL=a=b c\n\nPASSWORD=\nCOUNT=9\n")

    config_map, deployment = items(
        upwell("process", file, "--param-file", str(values), "-p", "COUNT=1")
    )

    assert config_map["data"] == {"level": "a=b c", "password": ""}
    assert deployment["spec"]["replicas"] == 1


def test_values_come_from_stdin(upwell: Upwell, file: str) -> None:
    made = items(upwell("process", file, "--param-file", "-", stdin="LEVEL=loud\n"))

    assert made[0]["data"]["level"] == "loud"


def test_a_file_of_values_has_an_end(upwell: Upwell, file: str, tmp_path: Path) -> None:
    values = tmp_path / "values.env"
    values.write_text(f"LEVEL={'x' * MAX_FILE_BYTES}")

    result = upwell("process", file, "--param-file", str(values))

    assert result.exit_code == 2
    assert f"larger than {MAX_FILE_BYTES} bytes" in result.stderr


def test_parameters_are_listed(upwell: Upwell, file: str) -> None:
    assert upwell("process", file, "--parameters").stdout.splitlines() == [
        "NAME       DESCRIPTION        GENERATED   VALUE",
        "LEVEL      How much is told   -           (required)",
        "COUNT      -                  -           3",
        "PASSWORD   -                  [a-z]{12}   -",
    ]


def test_faults_end_it_with_their_paths(upwell: Upwell, file: str) -> None:
    result = upwell("process", file, "-p", "COLOUR=red")

    assert result.exit_code == 2
    assert "parameters: the template has no parameter 'COLOUR'" in result.stderr
    assert "parameters[0]: parameter 'LEVEL' is required" in result.stderr
    assert result.stdout == ""


def test_unknown_parameters_can_be_ignored(upwell: Upwell, file: str) -> None:
    arguments = ("-p", "COLOUR=red", "-p", "LEVEL=loud", "--ignore-unknown-parameters")

    assert len(items(upwell("process", file, *arguments))) == 2


@pytest.mark.parametrize("wrong", ["PASSWORD", "=hunter2"])
def test_a_wrong_assignment_is_refused_without_showing_it(
    upwell: Upwell, file: str, wrong: str
) -> None:
    result = upwell("process", file, "-p", wrong)

    assert result.exit_code == 2
    assert "NAME=VALUE" in result.stderr
    assert "hunter2" not in result.stderr


def test_a_file_of_values_that_is_missing_is_refused(upwell: Upwell, file: str) -> None:
    result = upwell("process", file, "--param-file", "/missing")

    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_manifest_that_is_no_template_is_refused(upwell: Upwell) -> None:
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

    result = upwell("process", "-", stdin=config_map)

    assert result.exit_code == 2
    assert "stdin: expected one Template, found ConfigMap" in result.stderr
