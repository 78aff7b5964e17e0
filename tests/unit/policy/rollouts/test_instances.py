"""From a Pod template to the instance that the runtime starts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import GOOD

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.values.security_context import ContainerSecurity
from upwell.policy.pod_security.namespaces import NamespaceProfiles
from upwell.policy.pod_security.standards import Profile
from upwell.policy.rollouts.instance import (
    RevisionTemplate,
    build,
    index_of,
    instance_name,
    is_reserved,
)
from upwell.policy.rollouts.pod_template import SourceName, Sources, TemplateError
from upwell.workload.instance_spec import (
    EmptyDir,
    ExecProbe,
    Files,
    HostPath,
    HttpProbe,
    InstanceMount,
    InstanceSpec,
    InstanceUsers,
    Pause,
    ProbeSpec,
    TcpProbe,
    TokenFile,
    VolumeClaim,
)

SOURCES = Sources(
    {
        SourceName("Secret", "tls"): {"tls.key": b"KEY", "tls.crt": b"CRT"},
        SourceName("ConfigMap", "conf"): {"app.ini": b"[a]"},
    }
)


def deployment(container: Mapping[str, Any], name: str = "web", **pod: Any) -> Deployment:
    described = {
        "name": "app",
        "image": GOOD,
        "ports": [{"name": "http", "containerPort": 8080}],
        **container,
    }
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [described], **pod}}
    return decode_as(
        Deployment,
        {"metadata": {"namespace": "shop", "name": name}, "spec": {"template": template}},
    )


def built(container: Mapping[str, Any], **pod: Any) -> InstanceSpec:
    workload = deployment(container, **pod)
    return build(
        RevisionTemplate(workload, "0123456789abcdef", workload.spec.template, {}, SOURCES), 2
    )


@pytest.mark.parametrize(
    ("container", "pod", "users"),
    [
        ({}, {}, InstanceUsers.OWN_IF_POSSIBLE),
        ({}, {"hostUsers": False}, InstanceUsers.OWN),
        ({}, {"hostUsers": True}, InstanceUsers.HOST),
        ({"securityContext": {"privileged": True}}, {}, InstanceUsers.HOST),
        ({"securityContext": {"privileged": True}}, {"hostUsers": False}, InstanceUsers.OWN),
        (
            {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
            {},
            InstanceUsers.HOST,
        ),
        ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/srv"}}]}, InstanceUsers.HOST),
        (
            {"ports": [{"containerPort": 80, "hostPort": 80}], "securityContext": {"runAsUser": 0}},
            {},
            InstanceUsers.OWN_IF_POSSIBLE,
        ),
    ],
)
def test_root_is_the_hosts_where_it_has_to_do_with_the_host(
    container: dict[str, Any], pod: dict[str, Any], users: InstanceUsers
) -> None:
    assert built(container, **pod).users is users


def test_nobody_guesses_what_a_broken_host_users_means() -> None:
    with pytest.raises(TemplateError, match=r"spec\.hostUsers: expected true or false"):
        built({}, hostUsers="no")


def readiness(probe: Mapping[str, Any]) -> ProbeSpec | None:
    return built({"readinessProbe": probe}).containers[0].readiness


def test_an_instance_is_named_after_its_workload_revision_and_index() -> None:
    spec = built({})

    assert spec.name == "upwell-shop-deploy-web-01234567-2"
    assert spec.hostname == "web-2"
    assert index_of(spec.name) == 2
    assert index_of("something-else") == -1


def test_long_names_are_cut_and_still_differ() -> None:
    names = [instance_name(deployment({}, f"{'a' * 240}{end}"), "0" * 16, 0) for end in "xy"]

    assert len(set(names)) == 2
    assert max(len(name) for name in names) < 230


@pytest.mark.parametrize("index", [0, 24567, "pre-24567", "custom-24567"])
@pytest.mark.parametrize("name", ["web", "web-debug-24567", "web-debug", "a" * 240])
@pytest.mark.parametrize("revision", ["0" * 16, "deb19245671f03aa"])
def test_no_instance_has_the_name_of_a_copy_for_debugging(
    name: str, revision: str, index: int | str
) -> None:
    found = instance_name(deployment({}, name), revision, index)

    assert is_reserved(found)
    assert not is_reserved(f"{found[:63]}-debug-24567")  # as `oc debug pod/NAME` cuts it
    assert is_reserved(f"{found}-debug-24567-0")


def test_probes_know_named_ports_and_kubernetes_defaults() -> None:
    header = {"name": "Host", "value": "a.test"}
    http = {"path": "/ready", "port": "http", "scheme": "HTTPS", "httpHeaders": [header]}

    assert readiness({"httpGet": http}) == ProbeSpec(
        HttpProbe(8080, "/ready", "https", (("Host", "a.test"),)),
        initial_delay=0,
        period=10,
        timeout=1,
        success_threshold=1,
        failure_threshold=3,
    )
    assert readiness({"tcpSocket": {"port": 9}, "periodSeconds": 1}) == ProbeSpec(
        TcpProbe(9), period=1
    )
    assert readiness({"exec": {"command": ["true"]}}) == ProbeSpec(ExecProbe(("true",)))


def test_a_container_has_a_startup_probe_and_things_to_do_at_its_start_and_end() -> None:
    startup = {"tcpSocket": {"port": "http"}, "periodSeconds": 5, "failureThreshold": 12}
    lifecycle = {
        "postStart": {"exec": {"command": ["warm-up"]}},
        "preStop": {"httpGet": {"port": "http", "path": "/drain"}},
    }

    container = built({"startupProbe": startup, "lifecycle": lifecycle}).containers[0]

    assert container.startup == ProbeSpec(TcpProbe(8080), period=5, failure_threshold=12)
    assert container.readiness is None
    assert container.post_start == ExecProbe(("warm-up",))
    assert container.pre_stop == HttpProbe(8080, "/drain")
    pause = built({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}).containers[0]
    assert pause.pre_stop == Pause(5)


def test_init_containers_come_first_and_sidecars_beside_the_others() -> None:
    initial = [
        {"name": "migrate", "image": GOOD, "command": ["migrate"]},
        {"name": "proxy", "image": GOOD, "restartPolicy": "Always"},
    ]

    spec = built({}, initContainers=initial)

    assert [one.name for one in spec.init] == ["migrate"]
    assert [(one.name, one.sidecar) for one in spec.containers] == [("proxy", True), ("app", False)]


def test_volumes_that_outlive_the_instance_and_volumes_of_several_sources() -> None:
    sources = [{"secret": {"name": "tls"}}, {"configMap": {"name": "conf"}}]

    spec = built(
        {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[
            {"name": "data", "persistentVolumeClaim": {"claimName": "orders"}},
            {"name": "all", "projected": {"sources": sources}},
        ],
    )

    assert spec.volumes["data"] == VolumeClaim("shop", "orders")
    merged = spec.volumes["all"]
    assert isinstance(merged, Files)
    assert {"tls.key", "app.ini"} <= merged.content.keys()


def test_limits_user_folder_and_expanded_words() -> None:
    container = built(
        {
            "command": ["run", "$(MODE)"],
            "args": ["--keep", "$$(MODE)"],
            "env": [{"name": "MODE", "value": "fast"}],
            "workingDir": "/srv",
            "securityContext": {"runAsUser": 1001, "runAsGroup": 0},
            "resources": {"limits": {"memory": "256Mi", "cpu": "500m"}},
        }
    ).containers[0]

    assert container.command == ("run", "fast")
    assert container.args == ("--keep", "$(MODE)")
    assert (container.working_dir, container.security) == ("/srv", ContainerSecurity(1001, 0))
    assert (container.memory_bytes, container.cpus) == (256 * 2**20, 0.5)


def test_every_restriction_of_a_template_reaches_its_container() -> None:
    restrictions = {
        "runAsNonRoot": True,
        "runAsUser": 1001,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "allowPrivilegeEscalation": False,
    }
    found = built({"securityContext": restrictions}).containers[0].security
    assert found == ContainerSecurity(1001, non_root=True, read_only_root=True, drop=("ALL",))


def test_volumes_of_every_kind() -> None:
    spec = built(
        {"volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}]},
        volumes=[
            {"name": "tmp", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": "/srv/data"}},
            {
                "name": "tls",
                "secret": {
                    "secretName": "tls",
                    "items": [{"key": "tls.key", "path": "private/key.pem"}],
                    "defaultMode": 0o400,
                },
            },
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "none", "configMap": {"name": "gone", "optional": True}},
        ],
    )

    assert spec.volumes == {
        "tmp": EmptyDir(),
        "host": HostPath("/srv/data"),
        "tls": Files({"private/key.pem": b"KEY"}, 0o400),
        "conf": Files({"app.ini": b"[a]"}),
        "none": Files({}),
    }
    assert spec.containers[0].mounts == (InstanceMount("tls", "/tls", read_only=True),)
    assert "KEY" not in repr(spec)


@pytest.mark.parametrize(
    ("container", "pod", "reason", "told"),
    [
        ({"image": "UPPER"}, {}, "InvalidImage", "container app"),
        ({"resources": {"limits": {"cpu": "lots"}}}, {}, "InvalidQuantity", "'lots'"),
        ({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, {}, "InvalidTemplate", "'x'"),
        ({"readinessProbe": {"tcpSocket": {"port": "gone"}}}, {}, "InvalidTemplate", "'gone'"),
        ({"readinessProbe": {"grpc": {"port": 1}}}, {}, "UnsupportedField", "a probe or"),
        ({}, {"hostNetwork": True}, "UnsupportedField", "hostNetwork"),
        (
            {},
            {"volumes": [{"name": "v", "nfs": {"server": "a", "path": "/"}}]},
            "UnsupportedField",
            "nfs",
        ),
        (
            {},
            {"volumes": [{"name": "v", "secret": {"secretName": "gone"}}]},
            "SecretNotFound",
            "'gone'",
        ),
        (
            {},
            {
                "volumes": [
                    {
                        "name": "v",
                        "configMap": {"name": "conf", "items": [{"key": "no", "path": "x"}]},
                    }
                ]
            },
            "ConfigMapKeyNotFound",
            "'no'",
        ),
        (
            {},
            {
                "volumes": [
                    {
                        "name": "v",
                        "configMap": {
                            "name": "conf",
                            "items": [{"key": "app.ini", "path": "../x"}],
                        },
                    }
                ]
            },
            "InvalidTemplate",
            "leaves the volume",
        ),
    ],
)
def test_what_cannot_be_run_says_why(
    container: dict[str, Any], pod: dict[str, Any], reason: str, told: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        built(container, **pod)

    assert caught.value.reason == reason
    assert told in str(caught.value)


def test_logins_reach_the_runtime_and_are_never_shown() -> None:
    logins = (("registry.test", "robot", "hunter2"),)
    workload = deployment({})

    revision = RevisionTemplate(workload, "0" * 16, workload.spec.template, {}, SOURCES, logins)

    assert build(revision, 0).logins == logins
    assert "hunter2" not in repr(revision) + repr(build(revision, 0))


def test_a_profile_of_the_namespace_is_asked_again_when_an_instance_starts() -> None:
    workload = deployment({"securityContext": {"privileged": True}})
    revision = RevisionTemplate(workload, "0123456789abcdef", workload.spec.template, {}, SOURCES)
    enforced = replace(revision, profiles=NamespaceProfiles(enforce=Profile.BASELINE))

    assert build(revision, 0).containers[0].security.privileged
    with pytest.raises(TemplateError, match="enforces profile baseline") as refused:
        build(enforced, 0)
    assert refused.value.reason == "PodSecurity"


def test_a_stored_context_that_nobody_understands_is_not_started() -> None:
    with pytest.raises(TemplateError, match="runAsUser"):
        built({"securityContext": {"runAsUser": "root"}})
    assert built({"securityContext": {"windowsOptions": {}}}).containers[0].security.drop == ()


def projected(*sources: dict[str, Any], **pod: Any) -> Files:
    """Return the files of a projected volume with these sources."""
    volume = {"name": "v", "projected": {"sources": list(sources), "defaultMode": 0o440}}
    files = built({}, volumes=[volume], **pod).volumes["v"]
    assert isinstance(files, Files)
    return files


def test_a_projected_volume_has_tokens_and_fields() -> None:
    fields = [
        {"path": "place/namespace", "fieldRef": {"fieldPath": "metadata.namespace"}},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 0o400},
    ]
    key = {"name": "tls", "items": [{"key": "tls.key", "path": "key", "mode": 0o600}]}
    files = projected(
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 900}},
        {"serviceAccountToken": {"path": "other"}},
        {"downwardAPI": {"items": fields}},
        {"secret": key},
        serviceAccountName="reader",
    )
    assert files.tokens == (
        TokenFile("token", "reader", "vault", 900),
        TokenFile("other", "reader", "", 3600),
    )
    assert files.content["place/namespace"] == b"shop"
    assert files.content["labels"] == b'app="web"'
    assert (files.mode, files.modes) == (0o440, {"labels": 0o400, "key": 0o600})


def test_a_volume_shows_fields_of_the_instance() -> None:
    items = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
    spec = built({}, volumes=[{"name": "v", "downwardAPI": {"items": items}}])
    assert spec.volumes["v"] == Files({"name": spec.name.encode()})


@pytest.mark.parametrize("path", ["", "../token", "/token"])
def test_a_token_stays_in_its_volume(path: str) -> None:
    with pytest.raises(TemplateError, match="no path in the volume"):
        projected({"serviceAccountToken": {"path": path}})


FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize("asked", [None, False, "yes"])
def test_no_token_comes_by_itself(asked: object) -> None:
    spec = built({}, automountServiceAccountToken=asked)
    assert not spec.volumes
    assert not spec.containers[0].mounts


def test_a_template_may_ask_for_what_kubernetes_clients_look_for() -> None:
    spec = built({}, automountServiceAccountToken=True)
    [(name, files)] = spec.volumes.items()
    assert isinstance(files, Files)
    assert files.tokens == (TokenFile("token", "default", optional=True),)
    assert files.content == {"namespace": b"shop"}
    assert spec.containers[0].mounts == (InstanceMount(name, FOLDER, read_only=True),)


def test_a_container_with_a_volume_of_its_own_there_keeps_it() -> None:
    mount = {"name": "v", "mountPath": f"{FOLDER}/"}
    spec = built(
        {"volumeMounts": [mount]},
        automountServiceAccountToken=True,
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    assert [one.volume for one in spec.containers[0].mounts] == ["v"]
