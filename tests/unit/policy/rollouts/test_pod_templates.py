"""Pod templates and the rollout settings of each kind."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.meta import Resource
from upwell.api.pod_template import Container, PodTemplate
from upwell.policy.rollouts.pod_template import (
    Identity,
    MissingSourceError,
    SourceName,
    Sources,
    TemplateError,
    environment,
    expand,
    needed_sources,
    template_hash,
)
from upwell.policy.rollouts.rollout import RolloutStrategy
from upwell.policy.rollouts.settings import DRAIN_ANNOTATION, rollout_warnings, settings_of

SELF = Identity("web-0", "shop", {"app": "web"}, {"note": "x"})
SOURCES = Sources(
    {
        SourceName("Secret", "api"): {"token": b"s3", "raw": b"\xff"},
        SourceName("ConfigMap", "settings"): {"colour": b"red", "size": b"9"},
    }
)


def container(**fields: Any) -> Container:
    return Container.model_validate_json(json.dumps({"name": "app", **fields}))


def template(**fields: Any) -> PodTemplate:
    document = {"spec": {"containers": [{"name": "a"} | fields]}}
    return PodTemplate.model_validate_json(json.dumps(document))


def test_equal_meaning_has_an_equal_hash() -> None:
    plain = template(image="x", ports=[{"containerPort": 80}])
    spelled_out = template(image="x", ports=[{"containerPort": 80, "protocol": "TCP"}], env=[])

    assert template_hash(plain) == template_hash(spelled_out)
    assert template_hash(plain) != template_hash(template(image="y"))


@pytest.mark.parametrize(
    ("value", "known"),
    [(True, "48a4042ed4649426"), (False, "9b9616a58b8eea44"), (None, "19a178640df61c0f")],
)
def test_a_template_that_was_stored_with_host_users_is_the_same(
    value: bool | None,  # noqa: FBT001 - as the field has it
    known: str,
) -> None:
    """An update of the server starts no rollout: these are hashes of earlier versions."""
    spec = {"containers": [{"name": "a", "image": "b"}], "hostUsers": value}
    assert template_hash(PodTemplate.model_validate_json(json.dumps({"spec": spec}))) == known


def test_an_unknown_field_changes_the_hash() -> None:
    assert template_hash(template(image="x")) != template_hash(template(image="x", stdin=True))


def test_the_environment_in_its_order() -> None:
    described = container(
        envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "C_"}],
        env=[
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
            {"name": "C_size", "value": "10"},
            {"name": "ALL", "value": "$(TOKEN) $(C_colour) $$(TOKEN) $(LATER)"},
            {"name": "LATER", "value": "1"},
            {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        ],
    )

    assert environment(described, SOURCES, SELF) == {
        "C_colour": "red",
        "C_size": "10",
        "TOKEN": "s3",
        "ALL": "s3 red $(TOKEN) $(LATER)",
        "LATER": "1",
        "ME": "web-0",
        "APP": "web",
    }


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ({"secretKeyRef": {"name": "gone", "key": "token"}}, "SecretNotFound"),
        ({"secretKeyRef": {"name": "api", "key": "gone"}}, "SecretKeyNotFound"),
        ({"configMapKeyRef": {"name": "gone", "key": "x"}}, "ConfigMapNotFound"),
        ({"secretKeyRef": {"name": "api", "key": "raw"}}, "InvalidVariable"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "UnsupportedField"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "UnsupportedField"),
    ],
)
def test_a_variable_that_has_no_value_says_why(selector: object, reason: str) -> None:
    described = container(env=[{"name": "X", "valueFrom": selector}])

    with pytest.raises(TemplateError) as caught:
        environment(described, SOURCES, SELF)

    assert caught.value.reason == reason
    assert "s3" not in str(caught.value)


def test_what_is_optional_may_be_missing() -> None:
    missing = {"name": "gone", "optional": True}
    described = container(
        envFrom=[{"secretRef": missing}],
        env=[{"name": "X", "valueFrom": {"configMapKeyRef": {**missing, "key": "x"}}}],
    )

    assert environment(described, SOURCES, SELF) == {}


def test_a_missing_source_is_named() -> None:
    with pytest.raises(MissingSourceError, match="ConfigMap 'gone' does not exist"):
        environment(container(envFrom=[{"configMapRef": {"name": "gone"}}]), SOURCES, SELF)


def test_every_source_that_a_template_names_is_found() -> None:
    described = PodTemplate.model_validate_json(
        json.dumps(
            {
                "spec": {
                    "containers": [
                        {
                            "name": "a",
                            "envFrom": [{"secretRef": {"name": "s1"}}],
                            "env": [
                                {
                                    "name": "X",
                                    "valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}},
                                }
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "v", "secret": {"secretName": "s2"}},
                        {"name": "w", "configMap": {"name": "c2"}},
                    ],
                }
            }
        )
    )

    assert {str(one.name) for one in needed_sources(described)} == {"s1", "s2", "c1", "c2"}


def test_sources_show_no_values() -> None:
    assert "s3" not in repr(SOURCES)


@given(st.text(max_size=30))
def test_text_without_references_expands_to_itself(text: str) -> None:
    assert expand(text.replace("$", ""), {"A": "1"}) == text.replace("$", "")


@pytest.mark.parametrize(
    ("replicas", "rolling", "limits"),
    [
        (1, {}, (1, 0)),
        (4, {}, (1, 1)),
        (10, {}, (3, 2)),
        (4, {"maxSurge": 2, "maxUnavailable": 0}, (2, 0)),
        (4, {"maxSurge": "50%", "maxUnavailable": "50%"}, (2, 2)),
        (4, {"maxSurge": 0, "maxUnavailable": 0}, (0, 1)),
        (1, {"maxSurge": 0, "maxUnavailable": "25%"}, (0, 1)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    replicas: int, rolling: dict[str, object], limits: tuple[int, int]
) -> None:
    strategy = {"rollingUpdate": rolling}
    described = {"spec": {"replicas": replicas, "strategy": strategy}}
    params = {"spec": {"replicas": replicas, "strategy": {"rollingParams": rolling}}}

    for workload in (decode_as(Deployment, described), decode_as(DeploymentConfig, params)):
        settings = settings_of(workload)
        assert (settings.max_surge, settings.max_unavailable) == limits


@pytest.mark.parametrize("kind", [Deployment, DeploymentConfig, StatefulSet])
def test_a_stored_billion_of_replicas_is_not_counted_but_told(kind: type[Resource]) -> None:
    workload = decode_as(kind, {"spec": {"replicas": 10**9}})

    assert "spec.replicas: 1000000000 is more than 10000" in next(rollout_warnings(workload))


def test_a_share_of_thousands_of_digits_is_no_number() -> None:
    rolling = {"maxSurge": "9" * 5000}
    workload = decode_as(Deployment, {"spec": {"strategy": {"rollingUpdate": rolling}}})

    assert "maxSurge" in next(rollout_warnings(workload))


def test_each_kind_has_its_strategy() -> None:
    recreate = {"spec": {"strategy": {"type": "Recreate", "recreateParams": {"timeoutSeconds": 5}}}}

    assert settings_of(StatefulSet()).strategy is RolloutStrategy.ORDERED
    assert settings_of(DaemonSet()).replicas == 1
    settings = settings_of(decode_as(DeploymentConfig, recreate))
    assert (settings.strategy, settings.deadline) == (
        RolloutStrategy.RECREATE,
        timedelta(seconds=5),
    )


@pytest.mark.parametrize(
    "strategy",
    [
        {"type": "Custom"},
        {"rollingUpdate": {"maxSurge": "many"}},
        {"rollingUpdate": {"maxSurge": "-1"}},
    ],
)
def test_a_strategy_that_cannot_be_understood_is_refused(strategy: dict[str, object]) -> None:
    with pytest.raises(TemplateError) as caught:
        settings_of(decode_as(Deployment, {"spec": {"strategy": strategy}}))
    assert caught.value.reason == "InvalidStrategy"


def test_a_custom_strategy_needs_its_command() -> None:
    with pytest.raises(TemplateError, match="customParams is missing"):
        settings_of(decode_as(DeploymentConfig, {"spec": {"strategy": {"type": "Custom"}}}))


@pytest.mark.parametrize(
    ("grace", "annotation", "seconds"),
    [
        (None, None, 30),
        (None, "", 30),
        (5, None, 5),
        (5, " 120 ", 120),
        (600, "0", 0),
        (2**31 - 1, None, 86400),
        (None, "999999999", 86400),
    ],
)
def test_what_leaves_may_go_on_for_its_grace_period_or_as_an_annotation_says(
    grace: int | None, annotation: str | None, seconds: int
) -> None:
    pod = {} if grace is None else {"terminationGracePeriodSeconds": grace}
    noted = {} if annotation is None else {DRAIN_ANNOTATION: annotation}
    document = {"metadata": {"annotations": noted}, "spec": {"template": {"spec": pod}}}
    assert settings_of(decode_as(Deployment, document)).drain == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "30s", "\u0663", "9" * 400])
def test_a_drain_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    document = {"metadata": {"annotations": {DRAIN_ANNOTATION: text}}}
    with pytest.raises(TemplateError, match=DRAIN_ANNOTATION):
        settings_of(decode_as(Deployment, document))


def test_what_keeps_a_rollout_from_beginning_is_warned_about() -> None:
    place = {"name": "web", "annotations": {"upwell.dev/drain-seconds": "soon"}}
    [warning] = rollout_warnings(decode_as(Deployment, {"metadata": place}))
    assert "annotation upwell.dev/drain-seconds: 'soon' is not a number of seconds" in warning
    assert not list(rollout_warnings(decode_as(Deployment, {"metadata": {"name": "web"}})))


@pytest.mark.parametrize(
    ("value", "known"),
    [(True, "2ad7c1104dbbf282"), (False, "b2fd92dd93f76f25"), (None, "19a178640df61c0f")],
)
def test_a_template_that_was_stored_with_automount_is_the_same(
    value: bool | None,  # noqa: FBT001 - as the field has it
    known: str,
) -> None:
    """An update of the server starts no rollout: these are hashes of earlier versions."""
    container = {"name": "a", "image": "b"}
    spec = {"containers": [container], "automountServiceAccountToken": value}
    assert template_hash(PodTemplate.model_validate_json(json.dumps({"spec": spec}))) == known
