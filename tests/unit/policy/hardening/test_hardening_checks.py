"""Every check of the hardening list: a safe installation passes it, one changed thing does not."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.hardening.states import (
    DATA,
    SAFE_FOLDER,
    SAFE_SERVER,
    account,
    component,
    image_policy,
    namespace,
    pipeline,
    quota,
    token,
    with_objects,
    with_settings,
)

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.requests.encryption import EncryptionStatus
from upwell.policy.hardening.checks import NAMES, SERVER, judge_folder, judge_server, not_judged
from upwell.policy.hardening.findings import Finding, Flaw, FlawSeverity, HardeningCheck, findings
from upwell.policy.hardening.installation import (
    AdminUse,
    FileMode,
    FolderState,
    KeyFile,
    ServerState,
)

WARN, FAIL = FlawSeverity.WARN, FlawSeverity.FAIL
PRIVILEGED = decode_as(
    Deployment,
    {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "template": {
                "spec": {
                    "hostNetwork": True,
                    "containers": [{"name": "web", "securityContext": {"privileged": True}}],
                    "volumes": [{"name": "host", "hostPath": {"path": "/srv/shared"}}],
                }
            }
        },
    },
)

FOLDERS: list[tuple[str, FolderState, FlawSeverity, str]] = [
    ("data-folder-mode", replace(SAFE_FOLDER, folder=FileMode(DATA, 0o755, 0)), FAIL, DATA),
    (
        "private-files",
        replace(SAFE_FOLDER, secrets=(FileMode(f"{DATA}/signing.key", 0o640, 0),)),
        FAIL,
        f"{DATA}/signing.key",
    ),
    (
        "private-files",
        replace(SAFE_FOLDER, secrets=(FileMode(f"{DATA}/audit.key", 0o600, 1000),)),
        FAIL,
        f"{DATA}/audit.key",
    ),
    (
        "admin-token-age",
        replace(SAFE_FOLDER, admin_token_age=timedelta(days=91)),
        WARN,
        f"{DATA}/admin.token",
    ),
    (
        "admin-over-tcp",
        replace(SAFE_FOLDER, admin_uses=(AdminUse("127.0.0.1", "2026-05-31T00:00:00+00:00"),)),
        WARN,
        f"{DATA}/admin.token",
    ),
]

KEY = FileMode("/etc/upwell/key", 0o600, 0)
SERVERS: list[tuple[str, ServerState, FlawSeverity, str]] = [
    ("tls", with_settings(tls=False), FAIL, "https://10.0.0.5:7080"),
    ("listen", with_settings(host="0.0.0.0"), WARN, "--listen"),
    ("listen", with_settings(host="[::]"), WARN, "--listen"),
    ("local-socket", replace(SAFE_SERVER, socket=None), WARN, DATA),
    (
        "local-socket",
        replace(SAFE_SERVER, socket=FileMode(f"{DATA}/api.sock", 0o666, 0)),
        FAIL,
        f"{DATA}/api.sock",
    ),
    ("local-admin", with_settings(admin_by_socket=False), WARN, "[server] local-admin"),
    ("server-names", with_settings(answers_any_name=True), WARN, "[server] names"),
    ("anonymous", with_settings(anonymous="viewer"), WARN, "--anonymous"),
    ("anonymous", with_settings(anonymous="deployer"), FAIL, "--anonymous"),
    ("trusted-proxies", with_settings(trusted_proxies=("0.0.0.0/0",)), FAIL, "[router] trusted"),
    ("trusted-proxies", with_settings(trusted_proxies=("fd00::/8",)), FAIL, "[router] trusted"),
    ("insecure-registries", with_settings(insecure_registries=("r.corp",)), WARN, "r.corp"),
    ("registry-bucket", with_settings(insecure_bucket="http://s3.corp"), WARN, "http://s3.corp"),
    *(
        ("outbound-allow", with_settings(destinations=(place,)), severity, place)
        for place, severity in (
            ("127.0.0.1", WARN),
            ("127.0.0.0/8", WARN),
            ("localhost", WARN),
            ("::1", WARN),
            ("10.0.0.0/8", WARN),
            ("*.corp.example", WARN),
            ("*.corp.example:443", WARN),
            ("169.254.169.254:80", FAIL),
            ("[fd00:ec2::254]:80", FAIL),
            ("0.0.0.0/0", FAIL),
            ("::/0", FAIL),
        )
    ),
    *(
        ("host-paths", with_settings(host_paths=(path,)), FAIL, path)
        for path in ("/", "/etc", "/etc/ssl", "/run/podman", "/var", DATA, f"{DATA}/claims")
    ),
    ("build-network", with_settings(build_network="host"), FAIL, "[builds] network"),
    ("build-network", with_settings(build_host_network=True), WARN, "[builds] host-network"),
    ("build-network", with_settings(build_networks=("10.0.0.0/8",)), WARN, "allowed-networks"),
    ("build-user-namespaces", with_settings(build_user_namespaces=False), FAIL, "[builds] user"),
    ("build-user-namespaces", replace(SAFE_SERVER, build_ids_fault="no ids"), WARN, "[builds]"),
    (
        "instance-user-namespaces",
        with_settings(instance_user_namespaces=False),
        FAIL,
        "[workloads] user",
    ),
    (
        "instance-user-namespaces",
        replace(SAFE_SERVER, instance_ids_fault="no ids"),
        WARN,
        "[workloads] user",
    ),
    (
        "given-images",
        with_settings(image_pull_verification="when-reachable"),
        WARN,
        "[workloads] image-pull",
    ),
    (
        "given-images",
        with_settings(preloaded_images=("registry.corp/*",)),
        WARN,
        "preloaded-images registry.corp/*",
    ),
    (
        "host-users",
        replace(SAFE_SERVER, host_instances=(("Deployment", "shop", "web"),)),
        WARN,
        "deployment/web in namespace shop",
    ),
    ("firewall", with_settings(isolation="off"), FAIL, "[network] isolation"),
    ("firewall", with_settings(isolation="open"), WARN, "[network] isolation"),
    ("firewall", with_objects(components=()), FAIL, "clusteroperator/firewall"),
    (
        "firewall",
        with_objects(components=(component("firewall", "no nft"),)),
        FAIL,
        "clusteroperator/firewall",
    ),
    ("machine-access", with_settings(metadata=True), FAIL, "[network] metadata"),
    ("machine-access", with_settings(machine_ports=(5432,)), WARN, "[network] machine-ports"),
    ("audit-export", with_settings(audit_export=""), WARN, "[audit] export"),
    ("audit-export", with_settings(audit_export="syslog://logs:514"), WARN, "[audit] export"),
    (
        "audit-export",
        with_objects(components=(component("firewall"), component("audit-export", "refused"))),
        FAIL,
        "clusteroperator/audit-export",
    ),
    ("encryption-at-rest", replace(SAFE_SERVER, encryption=EncryptionStatus()), WARN, "upwell.db"),
    (
        "encryption-at-rest",
        replace(SAFE_SERVER, encryption=EncryptionStatus(source="file:/k", rows_left=3)),
        WARN,
        "[encryption]",
    ),
    (
        "encryption-key",
        replace(SAFE_SERVER, keys=(KeyFile(KEY, in_data_folder=True, beside_data_folder=False),)),
        FAIL,
        KEY.path,
    ),
    (
        "encryption-key",
        replace(SAFE_SERVER, keys=(KeyFile(KEY, in_data_folder=False, beside_data_folder=True),)),
        WARN,
        KEY.path,
    ),
    (
        "encryption-key",
        replace(
            SAFE_SERVER,
            keys=(
                KeyFile(
                    FileMode("/etc/key", 0o644, 0), in_data_folder=False, beside_data_folder=False
                ),
            ),
        ),
        FAIL,
        "/etc/key",
    ),
    (
        "secret-files",
        replace(SAFE_SERVER, secret_files=(FileMode("/etc/tls.key", 0o604, 0),)),
        FAIL,
        "/etc/tls.key",
    ),
    ("token-ends", with_objects(tokens=(token(days=None),)), WARN, "token/ci"),
    ("token-ends", with_objects(tokens=(token(days=-1),)), WARN, "token/ci"),
    ("token-ends", with_objects(tokens=(token(days=400),)), WARN, "token/ci"),
    ("token-age", with_objects(tokens=(token(age=366),)), WARN, "token/ci"),
    ("token-use", with_objects(tokens=(token(used=91),)), WARN, "token/ci"),
    ("token-roles", with_objects(accounts=(account("admin@shop"),)), WARN, "serviceaccount/robot"),
    ("token-roles", with_objects(tokens=(token(grant="admin@*"),)), WARN, "token/ci"),
    ("token-roles", with_objects(tokens=(token(grant="admin@shop"),)), WARN, "token/ci"),
    ("token-roles", with_objects(tokens=(token(grant="deployer@*"),)), WARN, "token/ci"),
    (
        "pod-security",
        with_objects(namespaces=(namespace(enforce="privileged"),)),
        WARN,
        "namespace/shop",
    ),
    ("host-access", with_objects(workloads=(PRIVILEGED,)), WARN, "deployment/web in namespace"),
    (
        "four-eyes",
        with_objects(pipelines=(pipeline({"name": "production"}),)),
        WARN,
        "pipeline/shop in namespace shop",
    ),
    (
        "four-eyes",
        with_objects(
            pipelines=(pipeline({"name": "production", "approval": {"fourEyes": False}}),)
        ),
        WARN,
        "pipeline/shop in namespace shop",
    ),
    ("quotas", with_objects(quotas=()), WARN, "namespace/shop"),
    ("quotas", with_objects(quotas=(quota(),)), WARN, "namespace/shop"),
    ("image-policies", with_objects(image_policies=()), WARN, "clusterimagepolicies"),
    (
        "image-policies",
        with_objects(image_policies=(image_policy("warn"),)),
        WARN,
        "clusterimagepolicy/vendor",
    ),
]


def bad(found: Iterator[Finding]) -> list[Finding]:
    return [one for one in found if one.severity is not FlawSeverity.OK]


@pytest.mark.parametrize(
    "state",
    [
        replace(
            SAFE_SERVER, host_instances=(("Deployment", "shop", "web"),), workloads=(PRIVILEGED,)
        ),
        replace(SAFE_SERVER, host_instances=(("Job", "shop", "once"),)),
        replace(
            SAFE_SERVER, host_instances=(("Deployment", "shop", "web"),), instance_ids_fault="none"
        ),
    ],
)
def test_the_ids_of_the_host_are_told_once(state: ServerState) -> None:
    found = [one for one in judge_server(state) if one.check == "host-users"]
    assert [one.severity for one in found] == [FlawSeverity.OK]


def test_a_safe_installation_passes_every_check() -> None:
    found = [*judge_folder(SAFE_FOLDER), *judge_server(SAFE_SERVER)]

    assert bad(iter(found)) == []
    assert tuple(one.check for one in found) == NAMES
    assert all(one.reason and not one.object and not one.remedy for one in found)


def test_every_check_has_a_case_that_fails_it() -> None:
    assert {name for name, *_ in [*FOLDERS, *SERVERS]} == set(NAMES) - {SERVER}


@pytest.mark.parametrize(("name", "state", "severity", "what"), FOLDERS)
def test_a_folder_that_could_be_safer(
    name: str, state: FolderState, severity: FlawSeverity, what: str
) -> None:
    [found] = bad(judge_folder(state))
    assert (found.check, found.severity) == (name, severity)
    assert what in found.object
    assert found.reason
    assert found.remedy


@pytest.mark.parametrize(("name", "state", "severity", "what"), SERVERS)
def test_a_server_that_could_be_safer(
    name: str, state: ServerState, severity: FlawSeverity, what: str
) -> None:
    found = bad(judge_server(state))
    assert {one.check for one in found} == {name}
    assert severity in {one.severity for one in found}
    assert all(what in one.object and one.reason and one.remedy for one in found)


def test_each_use_of_the_host_is_named_by_its_field() -> None:
    found = bad(judge_server(with_objects(workloads=(PRIVILEGED,))))
    named = " ".join(one.reason for one in found)
    assert len(found) == 3
    for path in ("hostNetwork", "containers[0].securityContext.privileged", "volumes[0].hostPath"):
        assert f"spec.template.spec.{path}" in named


@pytest.mark.parametrize(
    "state",
    [
        with_settings(tls=False, on_loopback=True),
        with_settings(host_paths=("/etcetera", "/srv", "/var/lib/upwell-shared")),
        with_settings(destinations=("localhost:5005", "[::1]:5005", "10.128.0.0/16", "git.corp")),
        replace(with_settings(quota=("pods=100",)), quotas=()),
        replace(
            SAFE_SERVER,
            keys=(KeyFile(KEY, in_data_folder=False, beside_data_folder=False),),
        ),
        replace(SAFE_SERVER, encryption=EncryptionStatus(source="k", rotating=True, rows_left=3)),
        with_objects(namespaces=(namespace(enforce="restricted"),)),
        with_objects(pipelines=(pipeline({"name": "production", "approval": {"required": 2}}),)),
    ],
)
def test_what_is_safe_though_it_is_near(state: ServerState) -> None:
    assert bad(judge_server(state)) == []


def test_checks_that_could_not_look_are_named() -> None:
    found = not_judged(DATA, "no server runs")
    assert (found.check, found.severity, found.object) == (SERVER, FAIL, DATA)
    made = {one.check for one in judge_folder(SAFE_FOLDER)}
    assert all(name in found.remedy for name in set(NAMES) - made - {SERVER})


@pytest.mark.parametrize("severity", [WARN, FAIL])
def test_thousands_of_flaws_are_counted(severity: FlawSeverity) -> None:
    def flaws(state: int) -> Iterator[Flaw]:
        for number in range(state):
            yield Flaw(severity if number == state - 1 else WARN, f"token/{number}", "old", "mend")

    check = HardeningCheck("many", "none", flaws)

    *named, last = findings([check], 5000)
    assert [one.object for one in named] == [f"token/{number}" for number in range(20)]
    assert (last.object, last.severity) == ("4980 more", severity)
    [alone] = findings([check], 0)
    assert alone == Finding("many", FlawSeverity.OK, "", "none")
