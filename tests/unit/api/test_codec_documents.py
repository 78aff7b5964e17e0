import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import (
    RESOURCES,
    InvalidObjectError,
    UnknownKindError,
    decode,
    decode_as,
    encode,
    encode_json,
    encode_metadata_json,
    resource_for,
    resource_of_kind,
    unknown_fields,
)
from upwell.api.core import ConfigMap, Secret
from upwell.api.decoding.kinds import find_names
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectMeta, Resource
from upwell.api.pipeline import Pipeline, PipelineStatus
from upwell.api.values.faults import CauseType

_names = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)
_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_json = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
_metadata = st.builds(
    ObjectMeta,
    name=_names,
    namespace=st.none() | _names,
    labels=st.dictionaries(_names, _texts, max_size=3),
    annotations=st.dictionaries(_names, _texts, max_size=3),
    creation_timestamp=st.none() | _times,
    finalizers=st.lists(_names, max_size=2).map(tuple),
)
_conditions = st.builds(
    Condition, type=_names, status=st.just("True"), last_transition_time=st.none() | _times
)
_statuses = st.builds(PipelineStatus, conditions=st.lists(_conditions, max_size=3).map(tuple))


@given(_metadata)
def test_metadata_alone_are_those_of_the_object(metadata: ObjectMeta) -> None:
    resource = ConfigMap(metadata=metadata, data={"a": "b"})
    assert json.loads(encode_metadata_json(resource)) == encode(resource).get("metadata", {})
    assert encode_metadata_json(ConfigMap()) == "{}"


@given(st.builds(Pipeline, metadata=_metadata, status=_statuses))
def test_every_object_survives_its_wire_form(pipeline: Pipeline) -> None:
    stored = decode(encode(pipeline))

    assert stored == pipeline.model_copy(
        update={"api_version": "upwell.dev/v1alpha1", "kind": "Pipeline"}
    )
    assert decode(encode_json(stored)) == stored


@given(st.dictionaries(_names.map(lambda name: f"x{name}"), _json, max_size=4))
def test_fields_that_no_model_knows_are_kept_and_listed(extra: dict[str, object]) -> None:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "a"},
        "spec": {"source": extra},
    }

    config = decode(document)

    assert encode(config)["spec"]["source"] == extra
    assert set(unknown_fields(config)) == {f"spec.source.{name}" for name in extra}


def test_unknown_fields_inside_lists_have_their_index() -> None:
    stream = decode_as(
        ImageStream,
        {"spec": {"tags": [{"name": "a"}, {"name": "b", "from": {"odd": 1}, "new": 2}]}},
    )

    assert set(unknown_fields(stream)) == {"spec.tags[1].from.odd", "spec.tags[1].new"}


def test_every_wrong_type_is_reported_with_its_path() -> None:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "shop", "labels": {"a": 1}},
        "spec": {
            "runPolicy": "Sometimes",
            "completionDeadlineSeconds": "soon",
            "triggers": [{"type": "ConfigChange"}, {"type": 7}],
            "strategy": {"dockerStrategy": {"noCache": "yes", "env": {"name": "A"}}},
        },
    }

    with pytest.raises(InvalidObjectError, match="BuildConfig 'shop' is invalid") as raised:
        decode(document)

    faults = {fault.path: fault.message for fault in raised.value.faults}
    assert faults == {
        "metadata.labels.a": "expected a string, found a number",
        "spec.runPolicy": faults["spec.runPolicy"],
        "spec.completionDeadlineSeconds": "expected an integer, found a string",
        "spec.triggers[1].type": "expected a string, found a number",
        "spec.strategy.dockerStrategy.noCache": "expected true or false, found a string",
        "spec.strategy.dockerStrategy.env": "expected a list, found an object",
    }
    assert "SerialLatestOnly" in faults["spec.runPolicy"]


def test_a_field_that_may_be_text_or_number_names_both() -> None:
    document = {"spec": {"template": {"spec": {"containers": [_container_with_port([])]}}}}

    with pytest.raises(InvalidObjectError) as raised:
        decode_as(Deployment, document)

    (fault,) = raised.value.faults
    assert fault.path == "spec.template.spec.containers[0].readinessProbe.tcpSocket.port"
    assert "an integer" in fault.message
    assert "a string" in fault.message


def _container_with_port(port: object) -> dict[str, object]:
    return {"name": "web", "readinessProbe": {"tcpSocket": {"port": port}}}


def test_what_is_out_of_bounds_is_told_as_kubernetes_tells_it() -> None:
    port = {"name": "web", "image": "web:1", "ports": [{"containerPort": 80_000}]}
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": -1, "template": {"spec": {"containers": [port]}}},
    }

    with pytest.raises(InvalidObjectError) as caught:
        decode(document)

    at = "spec.template.spec.containers[0].ports[0].containerPort"
    assert {str(fault) for fault in caught.value.faults} == {
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        f"{at}: Invalid value: 80000: must be less than or equal to 65535",
    }


def test_a_value_that_is_none_of_a_few_is_told_with_those_there_are() -> None:
    spec = {"runPolicy": "Always", "strategy": {"dockerStrategy": {}}}

    with pytest.raises(InvalidObjectError) as caught:
        decode_as(BuildConfig, {"metadata": {"name": "web"}, "spec": spec})

    (fault,) = caught.value.faults
    assert fault.cause is CauseType.NOT_SUPPORTED
    assert str(fault) == (
        'spec.runPolicy: Unsupported value: "Always":'
        ' supported values: "Parallel", "Serial", "SerialLatestOnly"'
    )


def test_a_wrong_secret_does_not_show_in_the_error() -> None:
    with pytest.raises(InvalidObjectError) as raised:
        decode({"apiVersion": "v1", "kind": "Secret", "data": {"password": ["hunter2"]}})

    assert "hunter2" not in str(raised.value)
    assert "data.password" in str(raised.value)


def test_secret_values_do_not_show_in_repr() -> None:
    assert "aHVudGVy" not in repr(Secret(data={"password": "aHVudGVy"}))


def test_a_null_field_counts_as_absent() -> None:
    with_nulls = decode(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a", "creationTimestamp": None, "labels": None},
            "data": None,
        }
    )

    assert with_nulls == decode(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    )


def test_nulls_inside_text_documents_count_as_absent() -> None:
    text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":null}}'

    assert decode(text).labels == {}
    assert decode_as(ConfigMap, text).labels == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"text"', "\xff", "[" * 100_000])
def test_text_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidObjectError):
        decode(text)


def test_nesting_without_end_is_refused() -> None:
    document: dict[str, object] = {}
    for _ in range(100_000):
        document = {"a": document}

    with pytest.raises(InvalidObjectError, match="nested"):
        decode({"apiVersion": "v1", "kind": "ConfigMap", "x": document})


@pytest.mark.parametrize("document", [{}, {"kind": "Build"}, {"apiVersion": 1, "kind": ["x"]}])
def test_a_document_without_kind_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(UnknownKindError):
        decode(document)


def test_a_wrong_api_version_hints_at_the_right_one() -> None:
    with pytest.raises(UnknownKindError, match="did you mean apiVersion apps/v1"):
        resource_for("extensions/v1beta1", "Deployment")


@pytest.mark.parametrize("group", ["extensions", "networking.k8s.io"])
def test_an_ingress_of_an_old_version_is_refused_with_what_has_changed(group: str) -> None:
    with pytest.raises(UnknownKindError) as raised:
        resource_for(f"{group}/v1beta1", "Ingress")

    told = str(raised.value)
    assert "did you mean apiVersion networking.k8s.io/v1?" in told
    assert all(name in told for name in ("service.name", "serviceName", "servicePort", "pathType"))


def test_the_old_group_less_version_becomes_the_kinds_own() -> None:
    decoded = decode({"apiVersion": "v1", "kind": "BuildConfig", "metadata": {"name": "a"}})

    assert isinstance(decoded, BuildConfig)
    assert decoded.api_version == "build.openshift.io/v1"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.KIND.kind)
def test_every_kind_decodes_from_its_name_alone(resource: type[Resource]) -> None:
    kind = resource.KIND
    document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a"}}

    decoded = decode(document)

    assert type(decoded) is resource
    assert encode(decoded) == document
    assert resource_of_kind(kind.kind) is resource
    full_singular = f"{kind.singular}.{kind.group}" if kind.group else kind.singular
    for name in (kind.plural, kind.kind, kind.resource, full_singular, *kind.short_names):
        names = find_names(name)
        assert names is not None
        assert names.resource() is resource


def test_no_two_kinds_share_a_name() -> None:
    names = [
        name
        for resource in RESOURCES
        for name in {resource.KIND.plural, resource.KIND.singular, *resource.KIND.short_names}
    ]

    assert len(names) == len(set(names))


def test_a_name_that_means_no_kind_finds_none() -> None:
    assert find_names("nodes") is None
    assert find_names("build.image.openshift.io") is None


def test_fields_that_nobody_set_are_not_on_the_wire() -> None:
    build = Build(metadata=ObjectMeta(name="a"), status=BuildStatus(phase=BuildPhase.RUNNING))

    assert json.loads(encode_json(build)) == {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"name": "a"},
        "status": {"phase": "Running"},
    }


def test_times_are_written_as_kubernetes_writes_them() -> None:
    meta = ObjectMeta(name="a", creation_timestamp=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))

    assert encode(ConfigMap(metadata=meta))["metadata"]["creationTimestamp"] == (
        "2024-05-06T07:08:09Z"
    )


@pytest.mark.parametrize("seconds", [2**31, -(2**40)])
def test_durations_that_no_clock_can_count_are_refused(seconds: int) -> None:
    document = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "app"}}
    with pytest.raises(InvalidObjectError, match=r"spec\.minReadySeconds"):
        decode({**document, "spec": {"minReadySeconds": seconds}})
