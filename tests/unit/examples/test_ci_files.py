"""The ready files for CIs are right for the CI that reads them, and for `upwell`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from tests.support.examples import command_lines, jenkinsfile
from tests.support.paths import ROOT

from upwell.api.codec import decode, unknown_fields
from upwell.api.defaults import apply_defaults
from upwell.api.manifests import parse_manifests
from upwell.api.validation.objects import validate

FILES = ROOT / "examples" / "ci"
BUILDBOT = ROOT / "examples" / "ci-buildbot"
DELIVERY = ["start-build", "release", "promote", "verify"]


def _commands() -> Mapping[str, Sequence[list[str]]]:
    jenkins = (FILES / "Jenkinsfile").read_text()
    scripts = "\n".join(jenkinsfile.strings(jenkins))
    pages = ("docs/outside-ci.md", "docs/objects/subscription.md")
    texts = {page: ROOT / page for page in pages} | {
        f"{folder.name}/README.md": folder / "README.md" for folder in (FILES, BUILDBOT)
    }
    return {
        "Jenkinsfile": [*command_lines.of_shell(scripts)],
        "gitlab-ci.yml": [*command_lines.of_yaml((FILES / "gitlab-ci.yml").read_text())],
        "github-workflow.yml": [
            *command_lines.of_yaml((FILES / "github-workflow.yml").read_text())
        ],
        "tekton.yaml": [*command_lines.of_yaml((FILES / "tekton.yaml").read_text())],
        "deliver": [*command_lines.of_shell((BUILDBOT / "source" / "deliver").read_text())],
        "master.cfg": [
            *command_lines.of_python((BUILDBOT / "buildbot" / "master.cfg").read_text(), "upwell")
        ],
        **{name: [*command_lines.of_markdown(path.read_text())] for name, path in texts.items()},
    }


@pytest.mark.parametrize(
    ("file", "line"),
    [
        pytest.param(file, line, id=f"{file}: {' '.join(line)[:60]}")
        for file, lines in _commands().items()
        for line in lines
    ],
)
def test_every_command_line_is_one_that_upwell_takes(file: str, line: list[str]) -> None:
    try:
        command_lines.parse(line)
    except click.UsageError as error:
        pytest.fail(f"{file}: upwell {' '.join(line)}: {error.format_message()}")


def test_every_file_was_read_for_its_command_lines() -> None:
    found = {file: {line[0] for line in lines} for file, lines in _commands().items()}
    for file in ("Jenkinsfile", "gitlab-ci.yml", "github-workflow.yml", "tekton.yaml"):
        assert found[file] == set(DELIVERY[:2]), file
    assert found["master.cfg"] == set(DELIVERY[:2])
    assert found["deliver"] == set(DELIVERY[2:])
    assert all(found.values()), "a page without any command is not read right"


@pytest.mark.parametrize(
    "line",
    ["promote x --stage dev --no-such", "start-build x --wait=5", "nothing x", "release", "verify"],
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    [arguments] = command_lines.of_shell(f"upwell {line}\n")
    with pytest.raises(click.UsageError):
        command_lines.parse(arguments)


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("github-workflow.yml", ["--builtin-schema", "vendor.github-workflows"]),
        ("gitlab-ci.yml", ["--builtin-schema", "vendor.gitlab-ci", "--data-transform=gitlab-ci"]),
    ],
)
def test_it_has_the_form_that_its_ci_publishes(
    file: str, options: list[str], tmp_path: Path
) -> None:
    from check_jsonschema.cli.main_command import (  # type: ignore[import-untyped] # noqa: PLC0415 - slow
        main as check_schema,
    )

    good = CliRunner().invoke(check_schema, [*options, str(FILES / file)])
    assert good.exit_code == 0, good.output
    broken = tmp_path / file
    broken.write_text((FILES / file).read_text().replace("python3 package.py", "{}"))
    broken.write_text(broken.read_text().replace("cancel-in-progress: false", "cancel: {}"))
    assert CliRunner().invoke(check_schema, [*options, str(broken)]).exit_code == 1


def test_the_jenkinsfile_is_a_declarative_pipeline() -> None:
    text = (FILES / "Jenkinsfile").read_text()
    assert jenkinsfile.check(text) == ["Artifact", "Image", "Dev", "Staging", "Production"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    stages {", "    stages ", "not Groovy"),
        ("    agent any\n", "", "no agent"),
        ("            steps {\n", "            step {\n", "no directive step"),
        ("    options {", "    option {", "no directive option"),
        ("        always {", "        allways {", "no directive allways"),
        ("        stage('Dev') {", "        steps('Dev') {", "steps among stages"),
    ],
)
def test_a_wrong_jenkinsfile_is_found(old: str, new: str, message: str) -> None:
    text = (FILES / "Jenkinsfile").read_text()
    assert old in text
    with pytest.raises(jenkinsfile.JenkinsfileError, match=message):
        jenkinsfile.check(text.replace(old, new, 1))


class TestTekton:
    """Tekton's schemas are in a cluster alone: what refers to what is checked."""

    @pytest.fixture
    def objects(self) -> Mapping[tuple[str, str], dict[str, Any]]:
        documents = yaml.safe_load_all((FILES / "tekton.yaml").read_text())
        return {(one["kind"], one["metadata"]["name"]): one for one in documents}

    def test_each_kind_has_its_version(self, objects: Mapping[Any, dict[str, Any]]) -> None:
        groups = {one["kind"]: one["apiVersion"] for one in objects.values()}
        assert (groups["Task"], groups["Pipeline"]) == ("tekton.dev/v1", "tekton.dev/v1")
        triggers = "triggers.tekton.dev/v1beta1"
        assert (groups["EventListener"], groups["TriggerTemplate"]) == (triggers, triggers)

    @pytest.mark.parametrize("name", ["greeter-image", "greeter-deliver"])
    def test_a_task_uses_what_it_declares(
        self, objects: Mapping[tuple[str, str], dict[str, Any]], name: str
    ) -> None:
        spec = objects["Task", name]["spec"]
        used = _variables(spec)
        assert used["params"] == {one["name"] for one in spec["params"]}
        assert used["workspaces"] == {one["name"] for one in spec["workspaces"]}
        assert used.get("results", set()) == {one["name"] for one in spec.get("results", [])}
        assert all(
            ("script" in step) != ("command" in step)
            and ("image" in step or "image" in spec["stepTemplate"])
            for step in spec["steps"]
        )

    def test_the_pipeline_gives_each_task_what_it_wants(
        self, objects: Mapping[tuple[str, str], dict[str, Any]]
    ) -> None:
        spec = objects["Pipeline", "greeter"]["spec"]
        before: set[str] = set()
        for task in spec["tasks"]:
            wanted = objects["Task", task["taskRef"]["name"]]["spec"]
            assert {p["name"] for p in task["params"]} == {p["name"] for p in wanted["params"]}
            given = {w["name"]: w["workspace"] for w in task["workspaces"]}
            assert set(given) == {w["name"] for w in wanted["workspaces"]}
            assert set(given.values()) <= {w["name"] for w in spec["workspaces"]}
            used = _variables(task["params"])
            assert used.get("tasks", set()) <= before
            assert used.get("params", set()) <= {p["name"] for p in spec["params"]}
            assert set(task.get("runAfter", [])) <= before
            before.add(task["name"])
        assert before == {"image", "dev", "staging", "production"}

    def test_an_event_starts_a_run_of_the_pipeline(
        self, objects: Mapping[tuple[str, str], dict[str, Any]]
    ) -> None:
        [trigger] = objects["EventListener", "upwell"]["spec"]["triggers"]
        template = objects["TriggerTemplate", trigger["template"]["ref"]]["spec"]
        assert {one["name"] for one in trigger["bindings"]} == {
            one["name"] for one in template["params"]
        }
        [run] = template["resourcetemplates"]
        pipeline = objects["Pipeline", run["spec"]["pipelineRef"]["name"]]["spec"]
        for part in ("params", "workspaces"):
            given = {one["name"] for one in run["spec"][part]}
            assert given == {one["name"] for one in pipeline[part]}


@pytest.mark.parametrize(
    "path",
    [FILES / "subscription.yaml", *sorted((BUILDBOT / "manifests").glob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_the_manifests_are_what_upwell_takes(path: Path) -> None:
    documents = parse_manifests(path.read_text(), path.name)
    assert documents
    for document in documents:
        resource = decode(document)
        assert not [*unknown_fields(resource)]
        assert not validate(apply_defaults(resource))


def _variables(value: object) -> dict[str, set[str]]:
    """Return the names in `$(params.NAME)`, `$(workspaces.NAME…)` and so on, by their kind."""
    found: dict[str, set[str]] = {}
    for text in command_lines.texts(value):
        for kind, name in re.findall(r"\$\((params|results|workspaces|tasks)\.([\w-]+)", text):
            found.setdefault(kind, set()).add(name)
    return found
