import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.validation.objects import validate
from upwell.api.values.thresholds import InvalidThresholdError, Threshold

METRIC = {"server": "http://p", "query": "x", "condition": "< 1"}
SMOKE = {"name": "smoke", "job": {"component": "web", "command": ["/test"]}}


def faults(document: dict[str, Any]) -> dict[str, str]:
    metadata = {"name": "shop", "namespace": "shop"}
    full = {"apiVersion": "upwell.dev/v1alpha1", "kind": "Pipeline", "metadata": metadata}
    return {f.path: f.message for f in validate(apply_defaults(decode({**full, **document})))}


def pipeline_faults(**spec: Any) -> dict[str, str]:
    source = {"kind": "ImageStreamTag", "name": "web:latest"}
    good = {"components": [{"name": "web", "from": source}], "stages": [stage("dev")]}
    return faults({"spec": {**good, **spec}})


def stage(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "workloads": [{"name": "web"}], **more}


def stage_faults(**more: Any) -> dict[str, str]:
    found = pipeline_faults(stages=[stage("dev", **more)])
    return {path.removeprefix("spec.stages[0]."): why for path, why in found.items()}


def check_faults(**check: Any) -> dict[str, str]:
    found = stage_faults(verification={"checks": [{"name": "smoke", **check}]})
    return {path.removeprefix("verification.checks[0]"): why for path, why in found.items()}


def test_a_pipeline_that_says_everything_has_no_fault() -> None:
    checks = [
        SMOKE,
        {"name": "home", "http": {"url": "/", "status": [200, 302]}},
        {"name": "port", "tcp": {"address": "db:5432"}},
        {"name": "port-of-the-stage", "tcp": {}},
        {
            "name": "errors",
            "metric": {"server": "http://p:9090", "query": "rate(x[1m])", "condition": "< 0.01"},
        },
        {"name": "ci", "webhook": {"url": "https://ci/", "secret": {"name": "ci"}}},
    ]
    dev = stage("dev", verification={"checks": checks, "schedule": "@daily"})
    eu = stage("eu", after=["dev"], windows=[{"cron": "0 9 * * 1-5", "durationSeconds": 3600}])
    us = stage("us", after=["dev"], approval={"approvers": ["ann", "bob"], "required": 2})
    rest = stage("rest", after=["eu", "us"], requires="Any", mirror="registry.test:5000/prod")
    dated = {"start": "2026-12-20T00:00:00Z", "end": "2027-01-03T00:00:00Z"}

    assert pipeline_faults(stages=[dev, eu, us, rest], freezes=[dated]) == {}


def test_components_and_stages_are_needed_and_have_names_of_their_own() -> None:
    source = {"kind": "ImageStreamTag", "name": "web:latest"}
    assert set(faults({"spec": {}})) == {"spec.components", "spec.stages"}
    assert set(
        pipeline_faults(
            components=[
                {"name": "web", "from": source},
                {"name": "web", "from": {"kind": "DockerImage", "name": "a"}},
                {"name": "Web", "from": {"kind": "ImageStreamTag", "name": "web"}},
            ],
            stages=[stage("dev"), stage("dev", after=[]), stage("a.b", after=[])],
        )
    ) == {
        "spec.components[1].name",
        "spec.components[1].from.kind",
        "spec.components[2].name",
        "spec.components[2].from.name",
        "spec.stages[1].name",
        "spec.stages[2].name",
    }


@pytest.mark.parametrize(
    ("stages", "wrong"),
    [
        ([stage("dev", after=["dev"])], {0}),
        ([stage("dev", after=["nowhere"])], {0}),
        # Without `after`, a stage comes after the one before it: a circle that nobody wrote down.
        ([stage("a", after=["b"]), stage("b")], {0, 1}),
        ([stage("a"), stage("b", after=["c"]), stage("c", after=["b"])], {1, 2}),
        ([stage("a", after=["b"]), stage("b", after=[])], set()),
    ],
)
def test_stages_come_after_stages_that_exist_and_never_after_themselves(
    stages: list[dict[str, Any]], wrong: set[int]
) -> None:
    assert set(pipeline_faults(stages=stages)) == {f"spec.stages[{at}].after" for at in wrong}


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"requires": "Most"}, "requires"),
        ({"promotion": "Sometimes"}, "promotion"),
        ({"namespace": "A b"}, "namespace"),
        ({"address": "web"}, "address"),
        ({"workloads": []}, "workloads"),
        ({"workloads": [{"kind": "Pod", "name": "web"}]}, "workloads[0].kind"),
        ({"workloads": [{}]}, "workloads[0]"),
        (
            {"workloads": [{"name": "a", "selector": {"matchLabels": {"a": "b"}}}]},
            "workloads[0]",
        ),
        ({"workloads": [{"selector": {}}]}, "workloads[0].selector.matchLabels"),
        ({"workloads": [{"name": "a", "images": {"c": "nothing"}}]}, "workloads[0].images"),
        ({"approval": {"onDeadline": "Ask"}}, "approval.onDeadline"),
        ({"approval": {"approvers": ["ann", "ann"], "required": 2}}, "approval.required"),
        ({"mirror": "Not A Registry"}, "mirror"),
        ({"mirror": "registry.test/prod:1"}, "mirror"),
        ({"git": {"repository": "r", "format": "Perl"}}, "git.format"),
        ({"git": {"repository": ""}}, "git.repository"),
        ({"git": {"repository": "https://ann:word@git.example/r"}}, "git.repository"),
        ({"git": {"repository": "r", "path": "../up"}}, "git.path"),
        ({"git": {"repository": "r", "keys": {"other": "x"}}}, "git.keys"),
        ({"git": {"repository": "r", "secret": {}}}, "git.secret.name"),
        ({"git": {"repository": "r", "branch": "--force"}}, "git.branch"),
        ({"git": {"repository": "r", "branch": "a..b"}}, "git.branch"),
        ({"git": {"repository": "r", "branch": "a.lock"}}, "git.branch"),
        ({"git": {"repository": "r", "branch": "+main:x"}}, "git.branch"),
        ({"git": {"repository": "r", "pushBranch": "upwell/{release}"}}, "git.pushBranch"),
        ({"git": {"repository": "r", "pushBranch": "{promotion} x"}}, "git.pushBranch"),
        ({"git": {"repository": "r", "reviewSeconds": 60}}, "git.pushBranch"),
        ({"git": {"repository": "r", "pushBranch": "{promotion}/{other}"}}, "git.pushBranch"),
        ({"git": {"repository": "r", "format": "Flux", "keys": {"web": "p"}}}, "git.keys.web"),
        ({"git": {"repository": "r", "runningUrl": "http://a/"}}, "git.runningUrl"),
        (
            {"workloads": [], "git": {"repository": "r", "runningUrl": "ftp://a/"}},
            "git.runningUrl",
        ),
        ({"windows": [{}]}, "windows[0]"),
        ({"windows": [{"cron": "0 9 * * *"}]}, "windows[0].durationSeconds"),
        ({"windows": [{"cron": "often", "durationSeconds": 1}]}, "windows[0].cron"),
        ({"freezes": [{"end": "2026-01-01T00:00:00Z", "timeZone": "Mars"}]}, "freezes[0].timeZone"),
        ({"verification": {"schedule": "61 * * * *"}}, "verification.schedule"),
        ({"verification": {"timeZone": "../etc/passwd"}}, "verification.timeZone"),
        ({"verification": {"checks": [SMOKE, SMOKE]}}, "verification.checks[1].name"),
    ],
)
def test_a_fault_of_a_stage_has_its_path(more: dict[str, Any], path: str) -> None:
    assert list(stage_faults(**more)) == [path]


@pytest.mark.parametrize(
    "git",
    [
        {"repository": "r"},
        {
            "repository": "r",
            "branch": "env/prod-1.x",
            "pushBranch": "upwell/{stage}/{release}/{promotion}",
        },
        {"repository": "r", "format": "Flux", "keys": {"web": "flux-system:web"}},
        {"repository": "r", "path": "apps/web", "runningUrl": "https://a.example/version"},
    ],
)
def test_a_stage_that_is_kept_in_git_needs_no_workloads(git: dict[str, Any]) -> None:
    assert stage_faults(workloads=[], git=git) == {}


@pytest.mark.parametrize(
    ("window", "path"),
    [
        ({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
        ({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
        ({"cron": "@hourly", "durationSeconds": 60, "end": "2026-01-01T00:00:00Z"}, ""),
        ({"end": "2026-01-01T00:00:00Z", "durationSeconds": 60}, "durationSeconds"),
    ],
)
def test_a_window_is_between_dates_or_by_cron(window: dict[str, Any], path: str) -> None:
    wanted = f"spec.{path}".rstrip(".")
    freeze = {"apiVersion": "upwell.dev/v1alpha1", "kind": "Freeze", "metadata": {"name": "f"}}
    assert [f.path for f in validate(decode({**freeze, "spec": window}))] == [wanted]
    assert validate(decode({**freeze, "spec": {}})) == ()


@pytest.mark.parametrize(
    ("check", "path"),
    [
        ({}, ""),
        ({"tcp": {}, "http": {}}, ""),
        ({"tcp": {}, "flaky": "Ignore"}, ".flaky"),
        ({"tcp": {"address": "db"}}, ".tcp.address"),
        ({"tcp": {"address": "http://db:80/"}}, ".tcp.address"),
        ({"http": {"url": "ftp://a/"}}, ".http.url"),
        ({"http": {"url": "http://"}}, ".http.url"),
        ({"http": {"status": []}}, ".http.status"),
        ({"http": {"status": [200, 20]}}, ".http.status[1]"),
        ({"job": {}}, ".job"),
        ({"job": {"component": "web", "image": "a/b:1"}}, ".job"),
        ({"job": {"component": "other"}}, ".job.component"),
        ({"job": {"image": "A B"}}, ".job.image"),
        ({"job": {"component": "web", "template": {}}}, ".job.template.spec.containers"),
        ({"job": {"component": "web", "env": [{"name": "A=B"}]}}, ".job.env[0].name"),
        ({"job": {"component": "web", "junit": "report.xml"}}, ".job.junit"),
        ({"job": {"component": "web", "artifacts": ["/a", "/a/../b"]}}, ".job.artifacts[1]"),
        ({"job": {"component": "web", "artifacts": ["/"]}}, ".job.artifacts[0]"),
        ({"webhook": {"url": "ci.test"}}, ".webhook.url"),
        ({"webhook": {"secret": {}}}, ".webhook.secret.name"),
        ({"metric": {"server": "p", "query": "x", "condition": "< 1"}}, ".metric.server"),
        ({"metric": {**METRIC, "server": "http://a:b@p"}}, ".metric.server"),
        ({"metric": {**METRIC, "secret": {}}}, ".metric.secret.name"),
        ({"metric": {"server": "http://p", "query": " ", "condition": "< 1"}}, ".metric.query"),
        ({"metric": {"server": "http://p", "query": "x", "condition": "1"}}, ".metric.condition"),
    ],
)
def test_a_fault_of_a_check_has_its_path(check: dict[str, Any], path: str) -> None:
    assert list(check_faults(**check)) == [path]


def test_a_container_of_the_template_may_name_the_image() -> None:
    template = {"spec": {"containers": [{"name": "test", "image": "tests:1"}]}}
    assert check_faults(job={"template": template}) == {}


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("< 0.01", 0.009, True),
        ("< 0.01", 0.01, False),
        ("<=1e-2", 0.01, True),
        (">= -5", -5.0, True),
        ("> .5", 0.5, False),
        ("== 3", 3.0, True),
        ("!= 3", 3.0, False),
        ("!= 3", float("nan"), False),
        ("> 3", float("inf"), True),
    ],
)
def test_a_condition_compares(text: str, value: float, holds: bool) -> None:  # noqa: FBT001
    assert Threshold.parse(text).holds(value) is holds


@pytest.mark.parametrize(
    "text",
    ["", "0.01", "<", "< x", "< 1 2", "=< 1", "< nan", "< inf", "< 1e999", "< 1,5", "< \u0661"],
)
def test_anything_else_is_no_condition(text: str) -> None:
    with pytest.raises(InvalidThresholdError):
        Threshold.parse(text)


@given(st.text(alphabet=string.printable))
def test_no_text_breaks_the_reader_of_conditions(text: str) -> None:
    try:
        threshold = Threshold.parse(text)
    except InvalidThresholdError:
        return
    assert not threshold.holds(float("nan"))
    assert Threshold.parse(f"{threshold.op} {threshold.number!r}") == threshold


@pytest.mark.parametrize(
    ("field", "value"), [("soakSeconds", -1), ("rolloutSeconds", 0), ("coalesceSeconds", -1)]
)
def test_a_number_below_the_least_of_its_field_is_a_fault(field: str, value: int) -> None:
    assert field in str(stage_faults(**{field: value}) or pipeline_faults(**{field: value}))


def test_a_job_in_each_cluster_needs_many_clusters() -> None:
    job = {"component": "web", "command": ["/test"], "eachCluster": True}
    many = {"clusters": {"selector": {"matchLabels": {"env": "production"}}}}
    checks = {"verification": {"checks": [SMOKE, {"name": "all", "job": job}]}}

    assert stage_faults(**checks, **many) == {}
    for cluster in ("", "east"):
        found = stage_faults(**checks, cluster=cluster)
        assert list(found) == ["verification.checks[1].job.eachCluster"]
        assert "set clusters" in next(iter(found.values()))


def test_a_place_in_git_is_of_one_cluster_and_its_workloads() -> None:
    git = {"git": {"repository": "r"}}
    workloads = {"workloads": [{"name": "web"}]}
    many = {"clusters": {"selector": {"matchLabels": {"env": "production"}}}}

    assert stage_faults(**git, **workloads, cluster="east") == {}
    assert list(stage_faults(**git, **workloads, **many)) == ["git"]
    assert list(stage_faults(**git, cluster="east", workloads=[])) == ["workloads"]
