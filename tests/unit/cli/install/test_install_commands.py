"""`upwell install` and `upwell uninstall` against a kubectl that answers as a cluster would."""

import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from upwell.cli.core.errors import Exit
from upwell.cli.program import main

_SCRIPT = """#!/bin/sh
echo "$@" >>"$ANSWERS/calls"
while [ "${1#-}" != "$1" ]; do shift; done
[ ! -e "$ANSWERS/$1-$2-$3" ] || exec cat "$ANSWERS/$1-$2-$3"
[ ! -e "$ANSWERS/$1-$2" ] || exec cat "$ANSWERS/$1-$2"
[ ! -e "$ANSWERS/$1-fails" ] || { cat "$ANSWERS/$1-fails" >&2; exit 1; }
[ "$1" != get ] || echo '{"items": []}'
[ "$1" != apply ] || tee -a "$ANSWERS/applied" | grep ^kind: >/dev/null ||
  { echo "error: no objects passed to apply" >&2; exit 1; }
"""


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of answers, `VERB-WHAT`, and of `calls`."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(_SCRIPT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(tmp_path))
    return tmp_path


def upwell(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def calls(answers: Path) -> str:
    return (answers / "calls").read_text()


def test_without_a_cluster_the_manifests_are_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = upwell("install", "kubernetes", "--dry-run", "--image=r.example/upwell:9")
    assert done.exit_code == 0, done.output
    (deployment,) = [
        one
        for one in yaml.load_all(done.stdout, yaml.CSafeLoader)
        if one and one["kind"] == "Deployment"
    ]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "r.example/upwell:9"

    done = upwell("install", "kubernetes")
    assert done.exit_code == 1
    assert "kubectl is not installed" in done.output


@pytest.mark.parametrize(
    ("version", "budgets"),
    [("1.20", "policy/v1beta1"), ("v1.21.0", "policy/v1"), ("1.30", "policy/v1")],
)
def test_what_is_printed_is_for_a_version_of_kubernetes(version: str, budgets: str) -> None:
    options = (f"--kube-version={version}", "--data-claim=data")
    done = upwell("install", "kubernetes", "--dry-run", *options)
    assert done.exit_code == 0, done.output
    (budget,) = [
        one
        for one in yaml.load_all(done.stdout, yaml.CSafeLoader)
        if one and one["kind"] == "PodDisruptionBudget"
    ]
    assert budget["apiVersion"] == budgets
    assert done.stderr == ""


def test_a_version_that_is_assumed_is_told() -> None:
    done = upwell("install", "kubernetes", "--dry-run")
    assert "--kube-version" in done.stderr


def test_an_audit_log_that_nothing_keeps_is_told(tmp_path: Path) -> None:
    options = ("install", "kubernetes", "--dry-run", "--kube-version=1.30")
    told = "The audit log of each server ends with its Pod"
    alone = upwell(*options).stderr
    assert told in alone
    assert "--data-claim" in alone
    several = upwell(*options, "--replicas=3").stderr
    assert told in several
    assert "--data-claim" not in several, "a claim serves one server"
    settings = tmp_path / "settings.toml"
    settings.write_text('[audit]\nexport = "syslog+tls://logs.example:6514"\n')
    assert told not in upwell(*options, f"--settings={settings}").stderr
    shared = "--external-registry=registry.example/upwell"
    assert told not in upwell(*options, shared).stderr, "replicas keep it there"


def test_files_that_settings_name_are_those_of_the_servers_pods(tmp_path: Path) -> None:
    options = ("install", "kubernetes", "--dry-run", "--kube-version=1.30")
    settings = tmp_path / "settings.toml"
    settings.write_text(
        '[oidc]\nissuer = "https://id.example"\nclient-id = "upwell"\n'
        'client-secret-file = "/etc/upwell-files/secret"\nca-file = "/etc/upwell-files/ca.pem"\n'
        '[[registry]]\nprefix = "r.example"\nca-file = "/etc/upwell-files/ca.pem"\n'
        'mirrors = [{location = "m.example", ca-file = "/etc/upwell-files/ca.pem"}]\n'
    )
    done = upwell(*options, f"--settings={settings}")
    assert done.exit_code == 0, done.output
    assert 'client-secret-file = "/etc/upwell-files/secret"' in done.stdout


@pytest.mark.parametrize("options", [["--kube-version=new"], ["--kube-version=1.20"]])
def test_a_version_is_of_kubernetes_and_of_what_is_printed(options: list[str]) -> None:
    done = upwell("install", "kubernetes", "--image=r.example/upwell:9", *options)
    assert done.exit_code == 2
    assert "--kube-version" in done.output


@pytest.mark.parametrize(
    ("option", "value", "right"),
    [
        ("--image", "Bad Image", "registry.example/upwell:1"),
        ("--external-registry", "https://r.example", "HOST[:PORT][/PATH], without a scheme"),
        ("--registry-address", "https://r.example", "HOST[:PORT], without a scheme"),
        ("--namespace", "Up_well", "lower case alphanumeric"),
        ("--namespace", "", "lower case alphanumeric"),
        ("--watch-namespace", "A b", "lower case alphanumeric"),
        ("--data-claim", "Da ta", "lower case alphanumeric"),
        ("--tls-secret", "T_ls", "lower case alphanumeric"),
    ],
)
def test_names_that_no_cluster_takes_are_printed_in_no_manifest(
    option: str, value: str, right: str
) -> None:
    done = upwell("install", "kubernetes", "--dry-run", option, value)
    assert done.exit_code == Exit.USAGE
    said = " ".join(done.stderr.split())
    assert option in said
    assert repr(value) in said
    assert right in said
    assert done.stdout == ""


def test_a_cluster_with_other_owners_of_the_kinds_is_refused(answers: Path) -> None:
    service = {
        "metadata": {"name": "v1.image.openshift.io"},
        "spec": {"service": {"name": "api", "namespace": "openshift-apiserver"}},
    }
    found = json.dumps({"items": [service]})
    (answers / "get-apiservices.apiregistration.k8s.io").write_text(found)
    done = upwell("install", "kubernetes")
    assert done.exit_code == 1
    assert "v1.image.openshift.io" in done.output
    assert "Nothing was changed" in done.output
    assert " apply " not in calls(answers)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_rights_of_an_installation_elsewhere_are_left_alone(
    answers: Path, command: str
) -> None:
    account = {"kind": "ServiceAccount", "name": "upwell", "namespace": "platform"}
    binding = {"metadata": {"name": "upwell-cluster"}, "subjects": [account]}
    (answers / "get-clusterrolebindings").write_text(json.dumps(binding))
    done = upwell(command, "kubernetes", "--namespace", "other")
    assert done.exit_code == 1
    assert "--namespace platform" in done.output
    assert " apply " not in calls(answers)
    assert " delete " not in calls(answers)


def test_a_cluster_without_the_namespace_checks_what_belongs_to_none(answers: Path) -> None:
    done = upwell("install", "kubernetes", "--dry-run=server")
    assert done.exit_code == 0, done.output
    assert "not checked: what is in namespace upwell" in done.output
    assert "--dry-run=server" in calls(answers)


def test_each_namespace_that_does_not_exist_is_left_out_of_the_check(answers: Path) -> None:
    (answers / "get-namespace-upwell").write_text('{"metadata": {"name": "upwell"}}')
    done = upwell("install", "kubernetes", "--dry-run=server")
    assert done.exit_code == 0, done.output
    assert "not checked: what is in namespace upwell-system" in done.output
    assert "in namespace upwell," not in done.output
    checked = (answers / "applied").read_text()
    assert "namespace: upwell\n" in checked
    assert "\n  namespace: upwell-system\n" not in checked


def test_a_refusal_is_told_once(answers: Path) -> None:
    (answers / "apply-fails").write_text("forbidden: cannot patch\n" * 20)
    done = upwell("install", "kubernetes")
    assert done.exit_code == 1
    assert done.output.count("forbidden") == 1


def test_objects_are_not_deleted_unasked(answers: Path) -> None:
    definition = {"metadata": {"name": "builds.build.openshift.io"}}
    kind = "customresourcedefinitions.apiextensions.k8s.io"
    (answers / f"get-{kind}").write_text(json.dumps({"items": [definition]}))
    done = upwell("uninstall", "kubernetes")
    assert done.exit_code == 0, done.output
    assert "kept" in done.output

    done = upwell("uninstall", "kubernetes", "--delete-objects")
    assert done.exit_code == 2
    assert "--yes" in done.output
    assert f"delete {kind}" not in calls(answers)

    done = upwell("uninstall", "kubernetes", "--delete-objects", "--yes")
    assert done.exit_code == 0, done.output
    assert f"delete {kind}/builds.build.openshift.io" in calls(answers)


def test_a_namespace_with_data_is_kept(answers: Path) -> None:
    namespace = {"items": [{"metadata": {"name": "upwell"}}]}
    (answers / "get-namespace").write_text(json.dumps(namespace))
    claims = {"items": [{"metadata": {"name": "registry"}}]}
    (answers / "get-persistentvolumeclaims").write_text(json.dumps(claims))
    done = upwell("uninstall", "kubernetes")
    assert done.exit_code == 0, done.output
    assert "registry" in done.output
    assert "delete namespace" not in calls(answers)


def test_keys_are_kept_with_the_objects_and_go_with_them(answers: Path) -> None:
    namespace = {"items": [{"metadata": {"name": "upwell"}}]}
    (answers / "get-namespace").write_text(json.dumps(namespace))
    # Made by hand, of another server's files: without a label.
    (answers / "get-secret").write_text(json.dumps({"metadata": {"name": "upwell-keys"}}))
    events = {"items": [{"metadata": {"name": "upwell-events-waiting-0"}}]}
    (answers / "get-secrets").write_text(json.dumps(events))
    done = upwell("uninstall", "kubernetes")
    assert done.exit_code == 0, done.output
    assert "Secret upwell/upwell-keys is kept" in done.output
    assert "delete namespace" not in calls(answers)

    done = upwell("uninstall", "kubernetes", "--delete-objects")
    assert done.exit_code == 2
    assert "2 objects would be deleted" in done.output
    assert "delete secrets" not in calls(answers)

    (answers / "delete-secrets").write_text("secrets deleted")
    upwell("uninstall", "kubernetes", "--delete-objects", "--yes")
    asked = calls(answers).splitlines()[-10:]
    deleted = "delete secrets upwell-events-waiting-0 upwell-keys -n upwell"
    assert any(one.endswith(deleted) for one in asked)


SYSTEM = {"metadata": {"name": "upwell-system"}}
OURS = {"app.kubernetes.io/part-of": "upwell"}


def test_a_namespace_of_tokens_that_somebody_else_has_made_is_refused(answers: Path) -> None:
    (answers / "get-namespace").write_text(json.dumps(SYSTEM))
    done = upwell("install", "kubernetes")
    assert done.exit_code == 1
    assert "no installation has made it" in done.output
    assert "Nothing was changed" in done.output
    assert " apply " not in calls(answers)

    done = upwell("install", "kubernetes", "--take-system-namespace")
    assert done.exit_code == 0, done.output


def test_a_token_of_before_the_first_installation_is_refused(answers: Path) -> None:
    labelled = {"metadata": {**SYSTEM["metadata"], "labels": OURS}}
    (answers / "get-namespace").write_text(json.dumps(labelled))
    token = {"metadata": {"name": "token-eve"}, "type": "upwell.dev/token"}
    (answers / "get-secrets").write_text(json.dumps({"items": [token]}))
    done = upwell("install", "kubernetes")
    assert done.exit_code == 1
    assert "token-eve" in done.output

    account = {"kind": "ServiceAccount", "name": "upwell", "namespace": "upwell"}
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "upwell-cluster"},
        "subjects": [account],
    }
    (answers / "get-clusterrolebindings").write_text(json.dumps(binding))
    done = upwell("install", "kubernetes")
    assert done.exit_code == 0, "an administrator has installed it"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Unable to connect to the server: dial tcp: lookup k: no such host", Exit.UNREACHABLE),
        ("dial tcp 127.0.0.1:1: connect: connection refused", Exit.UNREACHABLE),
        ("admission webhook denied the request: the label was refused", Exit.FAILED),
    ],
)
def test_a_cluster_that_refuses_something_is_reached(answers: Path, said: str, code: Exit) -> None:
    (answers / "api-versions-fails").write_text(said)
    done = upwell("install", "kubernetes")
    assert done.exit_code == code
    assert said in done.output


def test_a_bucket_whose_secret_is_not_there_is_told_with_what_makes_it(
    answers: Path, tmp_path: Path
) -> None:
    text = (
        '[embedded-registry.bucket]\nendpoint = "https://s3.example"\nbucket = "images"\n'
        'credentials-file = "/etc/upwell-registry-bucket"\n'
    )
    (tmp_path / "settings.toml").write_text(text)
    config = {"metadata": {"name": "upwell"}, "data": {"upwell.toml": text}}
    (answers / "get-configmap").write_text(json.dumps({"items": [config]}))
    (answers / "get-secret").write_text("AWS_ACCESS_KEY_ID ")
    options = ("install", "kubernetes", f"--settings={tmp_path / 'settings.toml'}")
    done = upwell(*options)
    assert done.exit_code == 0, done.output
    assert "upwell-registry-bucket has no AWS_SECRET_ACCESS_KEY" in done.stderr
    assert "kubectl -n upwell create secret generic upwell-registry-bucket" in done.stderr

    (answers / "get-secret").write_text("AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY ")
    assert "Servers do not start yet" not in upwell(*options).stderr
