"""`upwell doctor --on kubernetes`, against a kubectl that answers as a cluster would."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from upwell.api.cluster_operator import ClusterOperator, ClusterOperatorStatus
from upwell.api.codec import encode
from upwell.api.meta import ObjectMeta
from upwell.api.schemas.crds import custom_kinds
from upwell.cli.doctor.components import check_components
from upwell.cli.doctor.servers import check_servers
from upwell.cli.install.advice import tell_missing_secrets
from upwell.cli.install.bucket_secret import check_bucket_secret
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.registry_logins import check_registry_logins
from upwell.cli.program import main
from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.reconcilers.components.status import component_status

_SCRIPT = """#!/usr/bin/env python3
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["ANSWERS"])
words = [one for one in sys.argv[1:] if not one.startswith("-")]
if words[0] == "create":
    denied = json.loads((folder / "denied").read_text())
    for text in sys.stdin.read().split("---"):
        if text.strip():
            asked = json.loads(text)
            attributes = asked["spec"]["resourceAttributes"]
            right = [attributes["verb"], attributes["resource"]]
            print(json.dumps({**asked, "status": {"allowed": right not in denied}}, indent=2))
    sys.exit()
found = folder / "-".join(words[:2] if words[0] == "get" else words[:1])
if not found.exists() and "--ignore-not-found" in sys.argv:
    sys.exit()
if not found.exists():
    sys.exit(f"cannot {' '.join(words)}: forbidden")
print(found.read_text())
"""
GROUPS = "apps/v1\nbatch/v1\ncoordination.k8s.io/v1\nnetworking.k8s.io/v1\n"


def listed(*names: str, **labels: str) -> str:
    return json.dumps({"items": [{"metadata": {"name": n, "labels": labels}} for n in names]})


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of answers of a cluster on which all is well."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(_SCRIPT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(tmp_path))
    (tmp_path / "version").write_text('{"serverVersion": {"gitVersion": "v1.30.2"}}')
    (tmp_path / "api-versions").write_text(GROUPS)
    kinds = [kind.KIND.resource for kind in custom_kinds()]
    definitions = "get-customresourcedefinitions.apiextensions.k8s.io"
    (tmp_path / definitions).write_text(listed(*kinds))
    (tmp_path / "get-ingressclasses.networking.k8s.io").write_text(listed("nginx"))
    (tmp_path / "get-namespaces").write_text(listed("dev"))
    (tmp_path / "get-pods").write_text(listed())
    (tmp_path / "denied").write_text("[]")
    return tmp_path


def examined(*options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = CliRunner().invoke(main, ["doctor", "--on=kubernetes", "-o", "json", *options])
    checks = json.loads(done.stdout)["checks"]
    return done.exit_code, {one["name"]: one for one in checks}


def test_a_cluster_that_has_all_is_told_so(answers: Path) -> None:
    del answers
    code, checks = examined()

    assert (code, {one["status"] for one in checks.values()}) == (0, {"ok"})
    assert checks["API server"]["detail"] == "v1.30.2"
    assert checks["routers"]["detail"] == "IngressClass nginx"
    done = CliRunner().invoke(main, ["doctor", "--on=kubernetes"])
    assert done.output.splitlines()[-1] == "Upwell can run on this cluster"


def test_rights_that_the_account_lacks_are_named(answers: Path) -> None:
    (answers / "denied").write_text('[["patch", "deployments"]]')

    code, checks = examined("--watch-namespace=dev")

    assert code == 1
    assert "system:serviceaccount:upwell:upwell lacks 1 of" in checks["rights"]["detail"]
    assert "patch deployments.apps in namespace dev" in checks["rights"]["detail"]
    assert examined("--watch-namespace=dev", "--without=workloads")[0] == 0


def test_what_is_not_there_is_named_with_what_mends_it(answers: Path) -> None:
    (answers / "get-customresourcedefinitions.apiextensions.k8s.io").write_text(listed())
    (answers / "get-ingressclasses.networking.k8s.io").write_text(listed())
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    (answers / "get-namespaces").write_text(listed("dev", "upwell", **level))

    code, checks = examined()

    assert code == 1
    assert checks["definitions"]["remedy"] == "upwell install kubernetes"
    assert checks["routers"]["status"] == "warn"
    assert checks["builds"]["detail"] == "no Pods of builds in dev"
    assert "enforce=privileged" in checks["builds"]["remedy"]


def test_a_cluster_that_is_not_reached_is_one_failure(answers: Path) -> None:
    (answers / "version").unlink()

    code, checks = examined()

    assert (code, list(checks)) == (1, ["API server"])
    assert "forbidden" in checks["API server"]["detail"]


def test_what_the_user_may_not_look_at_is_not_known(answers: Path) -> None:
    (answers / "api-versions").unlink()

    done = CliRunner().invoke(main, ["doctor", "--on=kubernetes"])

    assert done.exit_code == 1
    last = done.output.splitlines()[-1]
    assert last.startswith("Whether Upwell can run on this cluster is not known: API groups, ")


WAITING = {"reason": "ErrImagePull", "message": "no basic auth credentials"}


@pytest.mark.parametrize(("ready", "status"), [(0, "fail"), (1, "warn"), (2, "ok")])
def test_servers_that_do_not_serve_are_named_with_why(
    answers: Path, ready: int, status: str
) -> None:
    serves = {"conditions": [{"type": "Ready", "status": "True"}]}
    waits = {"containerStatuses": [{"state": {"waiting": WAITING}}]}
    pods = [
        {"metadata": {"name": f"a{n}"}, "status": serves if n < ready else waits} for n in (0, 1)
    ]
    (answers / "get-pods").write_text(json.dumps({"items": pods}))

    found = check_servers(KubectlRunner(None, ""), ClusterInstallation())

    assert found is not None
    assert found.status.value == status
    assert ("a1: ErrImagePull: no basic auth credentials" in found.detail) is (ready < len(pods))


BUCKET = """\
[embedded-registry.bucket]
endpoint = "https://s3.example"
bucket = "images"
credentials-file = "{folder}"
"""


def settings_of_servers(answers: Path, folder: str) -> None:
    """Have the installation's ConfigMap name a bucket."""
    write_settings(answers, BUCKET.format(folder=folder))


def write_settings(answers: Path, text: str) -> None:
    """Have the installation's ConfigMap hold these settings."""
    config = {"metadata": {"name": "upwell"}, "data": {"upwell.toml": text}}
    (answers / "get-configmap").write_text(json.dumps(config))


def bucket_check() -> HostCheck | None:
    """Return what `doctor` says of the bucket of an installation in the namespace `ours`."""
    return check_bucket_secret(KubectlRunner(), ClusterInstallation(namespace="ours"))


def test_a_bucket_needs_its_secret(answers: Path) -> None:
    assert bucket_check() is None
    settings_of_servers(answers, "/etc/upwell-registry-bucket")
    found = bucket_check()
    assert found is not None
    assert found.status is HostCheckStatus.FAIL
    assert "Secret upwell-registry-bucket has no AWS_ACCESS_KEY_ID" in found.detail
    assert "kubectl -n ours create secret generic upwell-registry-bucket" in found.remedy

    (answers / "get-secret").write_text("aws_access_key_id AWS_SECRET_ACCESS_KEY ")
    found = bucket_check()
    assert found is not None
    assert found.status is HostCheckStatus.OK
    assert "bucket images at https://s3.example" in found.detail


def test_a_file_that_the_servers_of_a_cluster_do_not_have_is_told(answers: Path) -> None:
    settings_of_servers(answers, "/home/me/credentials")
    found = bucket_check()
    assert found is not None
    assert found.status is HostCheckStatus.FAIL
    assert "no file /home/me/credentials" in found.detail
    assert "/etc/upwell-registry-bucket" in found.remedy


def test_what_running_servers_find_faulty_is_told(answers: Path) -> None:
    assert check_components(KubectlRunner()) is None
    (answers / "api-versions").write_text(GROUPS + ClusterOperator.KIND.api_version + "\n")
    assert check_components(KubectlRunner()) is None
    components = Components()
    shared, keys = (components.add(name, required=False) for name in ("shared-content", "keys"))
    shared.fail("ContentNotShared", "let the server's login push to r/upwell.uploads/*")
    keys.recover()

    def told() -> HostCheck | None:
        items = [
            encode(
                ClusterOperator(
                    metadata=ObjectMeta(name=one.name),
                    status=component_status(ClusterOperatorStatus(), one, "1", now()),
                )
            )
            for one in components.states()
        ]
        of_another = {"metadata": {"name": "other"}, "status": 5}
        operators = {"items": [*items, of_another]}
        (answers / "get-clusteroperators.config.openshift.io").write_text(json.dumps(operators))
        return check_components(KubectlRunner())

    found = told()
    assert found is not None
    assert found.status is HostCheckStatus.WARN
    assert found.detail == "shared-content: let the server's login push to r/upwell.uploads/*"
    assert "upwell explain clusteroperator/NAME" in found.remedy
    shared.recover()
    found = told()
    assert found is not None
    assert (found.status, found.detail) == (HostCheckStatus.OK, "nothing is wrong with all 2")


@pytest.mark.parametrize("keys", ["", "config.json ", ".dockerconfigjson "])
def test_an_external_registry_without_logins_is_told(
    answers: Path, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl, installation = KubectlRunner(), ClusterInstallation(namespace="ours")
    write_settings(answers, "[external-registry]\n")
    assert check_registry_logins(kubectl, installation) is None

    write_settings(answers, '[external-registry]\nprefix = "registry.example/team"\n')
    if keys:
        (answers / "get-secret").write_text(keys)
    found = check_registry_logins(kubectl, installation)
    tell_missing_secrets(kubectl, installation)
    told = capsys.readouterr().err

    assert found is not None
    if "dockerconfigjson" in keys:
        assert (found.status, told) == (HostCheckStatus.OK, "")
        return
    assert found.status is HostCheckStatus.WARN
    assert "no Secret upwell-registry-logins has a .dockerconfigjson" in told
    step = "kubectl -n ours create secret docker-registry upwell-registry-logins"
    assert f"{step} --docker-server=registry.example " in told


@pytest.mark.parametrize("text", ["[external-registry", "external-registry = 1\n"])
def test_settings_that_nobody_can_read_name_no_registry(answers: Path, text: str) -> None:
    write_settings(answers, text)
    assert check_registry_logins(KubectlRunner(), ClusterInstallation()) is None
