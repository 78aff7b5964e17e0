"""The differences from OpenShift's validation that docs/validation.md lists are there."""

import copy
from typing import Any

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.mutants import Document
from tests.support.mutations.valid_objects import valid_objects
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/validation.md").read_text()
SOURCE, DOCKER = "spec.strategy.sourceStrategy", "spec.strategy.dockerStrategy"
VOLUME: Document = {
    "name": "cache",
    "source": {"type": "Secret", "secret": {"secretName": "a"}},
    "mounts": [{"destinationPath": "/a"}],
}


def changed(kind: str, number: int, path: str, value: object) -> Document:
    """Return a valid object in which the field at `path` is `value`; None takes it out."""
    document = copy.deepcopy(valid_objects(kind)[number])
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = document
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("row", "document"),
    [
        ("an entry of a list", changed("BuildConfig", 1, "spec.postCommit.args", [None])),
        ("numbers of seconds", changed("Build", 0, "spec.completionDeadlineSeconds", 2**31)),
        (
            "`strategy.*.env[].valueFrom.secretKeyRef.key`",
            changed("BuildConfig", 0, f"{SOURCE}.env.1.valueFrom.secretKeyRef.key", ""),
        ),
        (
            "`strategy.dockerStrategy.buildArgs[].name`",
            changed("BuildConfig", 1, f"{DOCKER}.buildArgs.0.name", ""),
        ),
        ("`strategy.*.volumes`", changed("BuildConfig", 0, f"{SOURCE}.volumes", [VOLUME, VOLUME])),
        (
            "`strategy.customStrategy.secrets[].mountPath`",
            changed("BuildConfig", 2, "spec.strategy.customStrategy.secrets.0.mountPath", "login"),
        ),
        ("`source.contextDir`", changed("BuildConfig", 0, "spec.source.contextDir", "a/../b")),
        (
            "names with kind `ImageStreamImage`",
            changed(
                "BuildConfig", 0, f"{SOURCE}.from", {"kind": "ImageStreamImage", "name": "python"}
            ),
        ),
        ("(`tag:` in its place, too)", changed("ImageStream", 0, "spec.tags.0.name", None)),
        (
            "OpenShift keeps one of them",
            changed("ImageStream", 0, "spec.tags", [{"name": "a"}, {"name": "a"}]),
        ),
        ("`objects[]`", changed("Template", 0, "objects", ["text"])),
    ],
)
def test_what_the_page_says_to_be_stricter_is(row: str, document: Document) -> None:
    assert row in PAGE
    assert refusal(document) is not None


def test_an_update_of_a_template_looks_at_its_parameters() -> None:
    bad = changed("Template", 0, "parameters.0.name", "not a name")

    assert "parameters, at an update" in PAGE
    assert "parameters[0].name" in str(refusal(bad, valid_objects("Template")[0]))


@pytest.mark.parametrize(
    ("row", "document"),
    [
        (
            "`source.images[].from.kind`",
            changed("BuildConfig", 0, "spec.source.images.0.from.kind", ""),
        ),
        ("`tags[].from.kind`", changed("ImageStream", 0, "spec.tags.1.from.kind", None)),
        ("`strategy.type`", changed("BuildConfig", 0, "spec.strategy.type", "Docker")),
        ("a value of a map", changed("DeploymentConfig", 0, "spec.selector", {"app": None})),
        ("a name with `*.` before it", changed("Route", 0, "spec.host", "*.example.com")),
    ],
)
def test_what_the_page_says_to_be_more_lenient_is(row: str, document: Document) -> None:
    assert row in PAGE
    assert refusal(document) is None


def test_the_host_of_a_route_can_be_changed() -> None:
    route = valid_objects("Route")[0]

    assert "`host`, at an update" in PAGE
    assert refusal(changed("Route", 0, "spec.host", "other.example.com"), route) is None


@pytest.mark.parametrize(
    ("kind", "path", "value", "field"),
    [
        ("Build", "spec.completionDeadlineSeconds", 700, "spec"),
        ("Build", "spec.output.to.name", "registry.example.com/shop/other:1", "spec"),
        ("Route", "spec.wildcardPolicy", "Subdomain", "spec.wildcardPolicy"),
    ],
)
def test_an_update_changes_nothing_that_is_fixed(
    kind: str, path: str, value: object, field: str
) -> None:
    assert f"{field}: Invalid value" in str(
        refusal(changed(kind, 0, path, value), valid_objects(kind)[0])
    )


def test_an_update_of_a_build_may_change_its_login_and_its_labels() -> None:
    build = valid_objects("Build")[0]
    other = changed("Build", 0, "spec.output.pushSecret", {"name": "other"})
    other["metadata"]["labels"] = {"a": "b"}

    assert refusal(other, build) is None


def test_what_is_stored_keeps_its_faults_and_gets_no_new_ones() -> None:
    old = changed("BuildConfig", 0, "spec.output.pushSecret", {"name": ""})
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"a": "b"}
    worse = copy.deepcopy(new)
    worse["spec"]["source"]["sourceSecret"] = {"name": ""}

    assert refusal(old) is not None
    assert refusal(new, old) is None
    assert "pushSecret" not in str(refusal(worse, old))
    assert "spec.source.sourceSecret.name: Required value" in str(refusal(worse, old))
