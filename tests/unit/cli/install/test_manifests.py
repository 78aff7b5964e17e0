"""Manifests of an installation on a cluster, its rights, and the files that are shipped."""

import hashlib
import json
import tomllib
from collections.abc import Callable
from typing import Any

import gotpl
import pytest
import yaml
from tests.support.cli.deploy import DEPLOY, LINKS, deploy_files

from upwell.api.builds.config import BuildConfig
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.networking.gateway import Gateway, HttpRoute, IngressClass, TlsRoute
from upwell.api.schemas.crds import custom_kinds
from upwell.cli.core.errors import CommandError
from upwell.cli.install.files import helm_files, yaml_of
from upwell.cli.install.installation import ALL_FEATURES, ClusterInstallation, Feature
from upwell.cli.install.manifests import manifests
from upwell.controller.leader import INSTALLATION_LABELS
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS
from upwell.policy.notifications.shared_deliveries import part_names
from upwell.reconcilers.notifications.events import EVENT_KINDS

type Manifest = dict[str, Any]


def applied(**choices: Any) -> list[Manifest]:
    parts = manifests(ClusterInstallation(**choices))
    return [one for objects in parts.values() for one in objects]


def only(kind: str, objects: list[Manifest]) -> list[Manifest]:
    return [one for one in objects if one["kind"] == kind]


def name_of(one: Manifest) -> str:
    return str(one["metadata"]["name"])


def test_the_files_are_those_of_the_code() -> None:
    there = {
        str(path.relative_to(DEPLOY)): path.read_text(encoding="utf-8")
        for path in DEPLOY.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert there == deploy_files(), "make them anew: python -m tests.support.cli.deploy"
    for path, target in LINKS.items():
        assert str((DEPLOY / path).readlink()) == target
        assert (DEPLOY / path).is_file()


def test_yaml_says_what_the_objects_are() -> None:
    objects = applied()
    assert list(yaml.load_all(yaml_of(objects), yaml.CSafeLoader)) == objects


def test_everything_is_labelled_so_that_it_can_be_removed() -> None:
    for one in applied():
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "upwell"


def test_the_server_passes_the_restricted_level() -> None:
    (deployment,) = only("Deployment", applied(data_volume={"name": "data", "emptyDir": {}}))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    # https://kubernetes.io/docs/concepts/security/pod-security-standards, "Restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all("hostPath" not in volume for volume in pod["volumes"])
    (namespace,) = [one for one in only("Namespace", applied()) if name_of(one) == "upwell"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def verbs(objects: list[Manifest], group: str, resource: str) -> set[str]:
    return {
        verb
        for role in objects
        for rule in role.get("rules", ())
        if group in rule["apiGroups"] and resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("", "pods"),
        ("", "namespaces"),
        ("", "serviceaccounts"),
        ("", "secrets"),
        ("", "services"),
    ],
)
def test_what_is_only_watched_is_not_written(group: str, resource: str) -> None:
    making = {Feature.BUILDS, Feature.WORKLOADS}
    roles = only("ClusterRole", applied(features=ALL_FEATURES - making))
    assert verbs(roles, group, resource) == {"get", "list", "watch"}


def test_what_replicas_share_is_written_beside_the_server_alone_and_by_name() -> None:
    (role,) = [one for one in only("Role", applied()) if name_of(one) == "upwell-leader"]
    secrets = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in secrets] == [
        (["create"], None),
        (["get", "update"], ["upwell-keys"]),
        (["get", "update"], [f"upwell-events-{part}" for part in part_names()]),
        (["get", "update"], ["upwell-admission"]),
    ]
    hooks = "mutatingwebhookconfigurations"
    (rule,) = [
        rule
        for one in only("ClusterRole", applied())
        for rule in one["rules"]
        if hooks in rule["resources"]
    ]
    assert (rule["verbs"], rule["resourceNames"]) == (["get", "update"], ["upwell"])
    assert verbs(applied(admission=False), "admissionregistration.k8s.io", hooks) == set()


def test_tokens_are_written_in_the_namespace_of_tokens_alone() -> None:
    def secrets(objects: list[Manifest]) -> dict[str, set[str]]:
        roles = {name_of(one): one["metadata"]["namespace"] for one in only("Role", objects)}
        there = [name for name, namespace in roles.items() if namespace == "upwell-system"]
        return {
            one: verbs([role for role in objects if name_of(role) == one], "", "secrets")
            for one in there
        }

    reading = {"upwell-system": {"get", "list", "watch"}}
    chosen = {"namespaces": ("dev",), "admission": False}
    assert secrets(applied(**chosen)) == {
        **reading,
        "upwell-tokens": {"create", "update", "delete"},
    }
    assert secrets(applied(**chosen, features=ALL_FEATURES - {Feature.TOKENS})) == reading
    everywhere = verbs(only("ClusterRole", applied()), "", "secrets")
    assert everywhere == {"get", "list", "watch"}


def test_the_cluster_asks_the_server_about_every_kind_of_its_own() -> None:
    objects = applied()
    assert objects[0]["kind"] == "Namespace"
    assert name_of(objects[0]) == "upwell-system"
    kinds = {one["spec"]["names"]["plural"] for one in only("CustomResourceDefinition", objects)}
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        (configuration,) = only(kind, objects)
        (webhook,) = configuration["webhooks"]
        asked = {one for rule in webhook["rules"] for one in rule["resources"]}
        assert {one for one in asked if "/" not in one} == kinds
        assert webhook["failurePolicy"] == "Fail"
        (service,) = only("Service", objects)
        ports = {port["port"] for port in service["spec"]["ports"]}
        assert webhook["clientConfig"]["service"]["port"] in ports
    left_out = {one["kind"] for one in applied(admission=False)}
    assert not {one for one in left_out if one.endswith("WebhookConfiguration")}


def test_nothing_is_granted_by_a_wildcard() -> None:
    for role in applied():
        for rule in role.get("rules", ()):
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


def test_own_kinds_are_written_as_wholes_and_their_statuses_alone() -> None:
    """Verbs that no request of the server takes are not granted (`KubernetesStore`)."""
    whole = {"get", "list", "watch", "create", "update", "delete"}
    for resource in custom_kinds():
        kind = resource.KIND
        unasked = {"update", "delete"} if kind.read_only else set()
        assert verbs(applied(), kind.group, kind.plural) == whole - unasked
        status = verbs(applied(), kind.group, f"{kind.plural}/status")
        assert status == ({"update"} if kind.has_status else set())
        assert verbs(applied(), kind.group, f"{kind.plural}/finalizers") == set()


def test_no_child_of_ours_keeps_its_owner_from_being_deleted() -> None:
    """It would take the right to the owner's finalizers, where a cluster asks for it."""
    owner = BuildConfig(metadata=ObjectMeta(name="app", namespace="shop", uid="1"))
    assert owner.owner_reference().block_owner_deletion is None


def test_a_feature_that_is_left_out_has_no_rights() -> None:
    reading = {"get", "list", "watch"}
    without = applied(features=frozenset())
    assert verbs(without, "apps", "deployments") == reading
    assert verbs(without, "", "pods") == reading
    assert verbs(applied(), "apps", "deployments") == {*reading, "patch"}
    assert verbs(applied(), "", "pods") == {*reading, "create", "delete"}


@pytest.mark.parametrize(
    "kind",
    [*NATIVE_WORKLOADS, *EVENT_KINDS, Gateway, HttpRoute, IngressClass, TlsRoute],
    ids=lambda kind: str(kind.KIND),
)
def test_what_is_followed_is_readable_whatever_feature_is_left_out(kind: type[Resource]) -> None:
    """A controller begins when all kinds that it follows are listed."""
    rights = verbs(applied(features=frozenset()), kind.KIND.group, kind.KIND.plural)
    assert rights >= {"get", "list", "watch"}


def test_a_data_volume_is_free_before_the_next_pod_starts() -> None:
    (deployment,) = only("Deployment", applied())
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_leases_of_a_namespace_that_is_installed_are_believed() -> None:
    namespaces = {one["metadata"]["name"]: one for one in only("Namespace", applied())}
    assert namespaces["upwell"]["metadata"]["labels"].items() >= INSTALLATION_LABELS.items()


def test_in_chosen_namespaces_rights_end_with_them() -> None:
    objects = applied(namespaces=("dev", "prod"))
    everywhere = {one["metadata"]["name"] for one in only("ClusterRoleBinding", objects)}
    bound = {
        (one["metadata"]["namespace"], one["metadata"]["name"])
        for one in only("RoleBinding", objects)
    }
    assert everywhere == {"upwell-cluster"}
    subjects = ("upwell-objects", "upwell-builds", "upwell-routes", "upwell-workloads")
    assert bound == {
        ("upwell", "upwell-leader"),
        ("upwell-system", "upwell-system"),
        ("upwell-system", "upwell-tokens"),
        *((namespace, name) for namespace in ("dev", "prod") for name in subjects),
    }
    (config,) = only("ConfigMap", objects)
    assert 'namespaces = ["dev", "prod"]' in config["data"]["upwell.toml"]


def test_builds_run_in_pods_of_the_servers_own_image_where_they_have_rights() -> None:
    (config,) = only("ConfigMap", applied(image="r.example/u:1"))
    file = tomllib.loads(config["data"]["upwell.toml"])
    assert file["kubernetes"]["builds"] == {"image": "r.example/u:1"}
    (config,) = only("ConfigMap", applied(features=ALL_FEATURES - {Feature.BUILDS}))
    assert "builds" not in tomllib.loads(config["data"]["upwell.toml"])["kubernetes"]


@pytest.mark.parametrize(
    ("choices", "address"),
    [
        ({"namespace": "ours"}, "upwell.ours.svc"),
        ({"registry_address": "registry.example:8443"}, "registry.example:8443"),
    ],
)
def test_the_registry_has_a_name_that_others_reach(choices: dict[str, str], address: str) -> None:
    (config,) = only("ConfigMap", applied(**choices))
    settings = tomllib.loads(config["data"]["upwell.toml"])
    assert settings["embedded-registry"] == {"address": address}


def test_replicas_share_a_bucket_by_the_settings_and_a_secret() -> None:
    bucket = {
        "endpoint": "https://s3.example",
        "bucket": "images",
        "credentials-file": "/etc/upwell-registry-bucket",
    }
    objects = applied(replicas=2, settings={"embedded-registry": {"bucket": bucket}})
    settings = tomllib.loads(only("ConfigMap", objects)[0]["data"]["upwell.toml"])
    address = "upwell.upwell.svc"
    assert settings["embedded-registry"] == {"address": address, "bucket": bucket}
    pod = only("Deployment", objects)[0]["spec"]["template"]["spec"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "registry-bucket"]
    assert volume["secret"] == {"secretName": "upwell-registry-bucket", "optional": True}
    mounts = pod["containers"][0]["volumeMounts"]
    (mount,) = [one for one in mounts if one["name"] == "registry-bucket"]
    assert (mount["mountPath"], mount["readOnly"]) == (bucket["credentials-file"], True)


def test_files_that_settings_name_come_from_a_secret() -> None:
    pod = only("Deployment", applied())[0]["spec"]["template"]["spec"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "files"]
    assert volume["secret"] == {"secretName": "upwell-files", "optional": True}
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "files"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/upwell-files", True)


def test_another_registry_takes_the_place_of_the_embedded_one() -> None:
    objects = applied(external_registry="registry.example/upwell")
    settings = tomllib.loads(only("ConfigMap", objects)[0]["data"]["upwell.toml"])
    assert settings["external-registry"] == {"prefix": "registry.example/upwell"}
    assert "embedded-registry" not in settings
    (deployment,) = only("Deployment", objects)
    pod = deployment["spec"]["template"]["spec"]
    (logins,) = [one for one in pod["volumes"] if one["name"] == "registry-logins"]
    assert logins["secret"] == {"secretName": "upwell-registry-logins", "optional": True}
    assert "REGISTRY_AUTH_FILE" in {one["name"] for one in pod["containers"][0]["env"]}


def test_replicas_reach_each_other_at_the_addresses_of_their_pods() -> None:
    (deployment,) = only("Deployment", applied())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "--replica-address=$(POD_IP)" in container["args"]
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    assert address in container["env"]
    (policy,) = only("NetworkPolicy", applied())
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all("from" not in rule for rule in policy["spec"]["ingress"])


def test_each_binding_names_a_role_that_there_is() -> None:
    objects = applied(namespaces=("dev",))
    roles = {
        (one["kind"], one["metadata"]["name"])
        for one in objects
        if one["kind"] in {"Role", "ClusterRole"}
    }
    for binding in (*only("RoleBinding", objects), *only("ClusterRoleBinding", objects)):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in roles


def test_a_chart_asks_for_values_that_it_has() -> None:
    values = yaml.safe_load(helm_files()["values.yaml"])
    assert set(values) == {
        "image",
        "replicas",
        "namespaces",
        "features",
        "registryAddress",
        "externalRegistry",
        "settings",
        "data",
    }
    for path, text in helm_files().items():
        for word in text.replace("}}", " }} ").replace(")", " ) ").split():
            if word.startswith("$.Values."):
                found = values
                for key in word.removeprefix("$.Values.").split("."):
                    assert key in found, f"{path}: {word}"
                    found = found[key]


def nindent(spaces: int, text: str) -> str:
    return "\n" + "\n".join(" " * spaces + line for line in text.splitlines())


HELM_FUNCTIONS: dict[str, Callable[..., object]] = {
    "toJson": json.dumps,
    "nindent": nindent,
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
}


def rendered(values: dict[str, Any]) -> list[Manifest]:
    """Return what Helm would apply with a chart's values changed, besides its `crds`."""
    files = helm_files()
    merged = {**yaml.safe_load(files["values.yaml"]), **values}
    found: list[Manifest] = []
    for path, text in files.items():
        if path.startswith("templates/"):
            template = gotpl.Template(text, functions=HELM_FUNCTIONS, missing_key="error")
            out = template.render({"Values": merged, "Release": {"Namespace": "upwell"}})
            found += yaml.safe_load_all(out)
    return found


def besides_chart(objects: list[Manifest]) -> list[Manifest]:
    """Return what a chart has as templates: its own namespace is Helm's to make."""
    others = [one for one in objects if one["kind"] != "CustomResourceDefinition"]
    return [one for one in others if (one["kind"], name_of(one)) != ("Namespace", "upwell")]


def by_name(objects: list[Manifest]) -> dict[tuple[str, str, str], Manifest]:
    return {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
        for one in objects
    }


@pytest.mark.parametrize(
    ("values", "choices"),
    [
        ({}, {}),
        ({"replicas": 3, "image": "r.example/u@sha256:0"}, None),
        (
            {
                "namespaces": ["dev", "prod"],
                "features": {"builds": False, "routes": False, "tokens": False, "workloads": True},
            },
            {"namespaces": ("dev", "prod"), "features": frozenset({Feature.WORKLOADS})},
        ),
        (
            {"data": {"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}},
            {"data_volume": {"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}},
        ),
        ({"externalRegistry": "r.example/up"}, {"external_registry": "r.example/up"}),
        ({"registryAddress": "upwell.example:8443"}, {"registry_address": "upwell.example:8443"}),
    ],
)
def test_the_chart_applies_what_the_command_does(
    values: dict[str, Any], choices: dict[str, Any] | None
) -> None:
    wanted = applied(**(values if choices is None else choices))
    made = rendered(values)
    for one in only("Deployment", [*made, *wanted]):
        assert one["spec"]["template"]["metadata"].pop("annotations")
    assert by_name(made) == by_name(besides_chart(wanted))


OUTBOUND = {"outbound": {"allow": ["registry.internal:5000"]}}


def settings_and_digest(objects: list[Manifest]) -> tuple[dict[str, Any], str]:
    (config,) = only("ConfigMap", objects)
    (deployment,) = only("Deployment", objects)
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    return tomllib.loads(config["data"]["upwell.toml"]), annotations["upwell.dev/settings"]


def test_settings_are_added_and_a_change_of_them_replaces_the_pods() -> None:
    allowed = '[outbound]\nallow = ["registry.internal:5000"]\n'
    made = (
        (applied(), applied(settings=OUTBOUND)),
        (rendered({}), rendered({"settings": allowed})),
    )
    for before, after in made:
        settings, digest = settings_and_digest(after)
        without, digest_before = settings_and_digest(before)
        assert settings == {**without, **OUTBOUND}
        assert digest != digest_before


def test_settings_add_to_tables_of_the_installation_and_overrule_none() -> None:
    builds = {"privilege": "root", "tolerations": [{"key": "a b", "operator": "Exists"}]}
    extra = {"kubernetes": {"builds": builds}, "notices": {}}
    settings, _ = settings_and_digest(applied(settings=extra, image="r.example/u:1"))
    assert settings["kubernetes"]["builds"] == {"image": "r.example/u:1", **builds}
    with pytest.raises(CommandError, match=r"kubernetes.builds.image: the installation sets it"):
        applied(settings={"kubernetes": {"builds": {"image": "other"}}})
