"""`upwell serve` with TLS, and its real clients: the command line, kubectl, skopeo, Podman."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.cli.command_process import run_upwell
from tests.support.ports import free_port
from tests.support.server.audit_logs import audit_lines

_TOOLS = {
    "kubectl": "kubernetes-client",
    "podman": "podman",
    "skopeo": "skopeo",
    "haproxy": "haproxy",
    "curl": "curl",
}
_missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.skipif(bool(_missing), reason=f"apt install {' '.join(_missing)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="running containers needs root"),
]

SECONDS = 30


@dataclass
class InstalledServer:
    folder: Path
    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        return self.folder / "data" / "tls" / "ca.pem"

    @property
    def inherited(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def run(
        self, *argv: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=SECONDS,
            cwd=self.folder,
            env={**self.inherited, **environment},
        )

    def upwell(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_upwell(
            *arguments,
            seconds=SECONDS,
            folder=self.folder,
            environment={**self.inherited, "UPWELL_SERVER": f"https://{self.host}", **environment},
        )

    def token(self, name: str, *grants: str) -> str:
        """Make a token; one that a first try of the test has made is no more."""
        options = [part for grant in grants for part in ("--grant", grant)]
        self.upwell("token", "delete", name)
        made = self.upwell("token", "create", name, *options)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def write(self, name: str, **environment: str) -> None:
        manifest = self.folder / f"{name}.yaml"
        manifest.write_text(f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}")
        made = self.upwell("apply", "-f", str(manifest), **environment)
        assert made.returncode == 0, made.stderr

    def audit(self) -> list[dict[str, Any]]:
        return audit_lines(self.folder / "data")


@pytest.fixture(scope="module")
def installed() -> Iterator[InstalledServer]:
    # Not pytest's folder: the paths of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="upwell-"))
    made = InstalledServer(folder, free_port())
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "upwell", "serve", "--tls"),
                *("--data-dir", str(folder / "data"), "--listen", made.host),
                *("--container-storage", str(folder / "ctr")),
                *("--router", f"127.0.0.1:{free_port()}"),
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while made.upwell("get", "namespaces").returncode != 0:
            assert server.poll() is None, (folder / "serve.log").read_text()
            assert time.monotonic() < deadline, made.upwell("get", "namespaces").stderr
        yield made
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(SECONDS)
        _remove(made)


def _remove(made: InstalledServer) -> None:
    """Take away the router and the network, as whoever uninstalls Upwell does."""
    script = (
        "import asyncio, sys; from pathlib import Path;"
        "from upwell.app.server import remove_workloads;"
        "from upwell.settings import ServerSettings;"
        "asyncio.run(remove_workloads(ServerSettings(data_dir=Path(sys.argv[1]),"
        " container_storage=Path(sys.argv[2]))))"
    )
    data, storage = made.folder / "data", made.folder / "ctr"
    done = made.run(sys.executable, "-c", script, str(data), str(storage))
    shutil.rmtree(made.folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr


def test_the_servers_own_user_needs_no_token(installed: InstalledServer) -> None:
    assert "default" in installed.upwell("get", "namespaces").stdout
    token_file = installed.folder / "data" / "admin.token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert token_file.read_text().strip() not in (installed.folder / "serve.log").read_text()


def test_the_servers_own_user_sends_no_token_over_the_network(
    installed: InstalledServer,
) -> None:
    path = installed.folder / "data" / "api.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    installed.write("local")
    assert installed.audit()[-1]["source"] == f"uid {os.geteuid()}"
    token = (installed.folder / "data" / "admin.token").read_text().strip()
    installed.write("by-token", UPWELL_TOKEN=token, UPWELL_CA=str(installed.authority))
    assert installed.audit()[-1]["source"] == "127.0.0.1"


def test_a_token_does_what_it_is_granted(installed: InstalledServer) -> None:
    token = installed.token("reader", "viewer@shop")
    assert installed.upwell("get", "builds", "-n", "shop", UPWELL_TOKEN=token).returncode == 0
    denied = installed.upwell("get", "builds", "-n", "bank", UPWELL_TOKEN=token)
    assert denied.returncode == 1
    assert "token reader may not list builds in namespace bank" in denied.stderr
    assert "needs role viewer there" in denied.stderr


def test_a_deleted_token_is_refused(installed: InstalledServer) -> None:
    token = installed.token("leaver", "viewer@*")
    assert installed.upwell("get", "builds", UPWELL_TOKEN=token).returncode == 0
    installed.upwell("token", "delete", "leaver")
    refused = installed.upwell("get", "builds", UPWELL_TOKEN=token)
    assert refused.returncode == 1
    assert "unknown or has expired" in refused.stderr


def test_an_authority_that_is_none_is_told(installed: InstalledServer) -> None:
    nonsense = installed.folder / "nonsense.pem"
    nonsense.write_text("nonsense")
    refused = installed.upwell("get", "builds", UPWELL_CA=str(nonsense))
    assert refused.returncode == 4
    assert "not a certificate in PEM" in refused.stderr


def test_kubectl_works_with_a_kubeconfig(installed: InstalledServer) -> None:
    token = installed.token("deploy", "deployer@shop")
    config = installed.folder / "kubeconfig"
    made = installed.upwell("kubeconfig", "--file", str(config), "-n", "shop", UPWELL_TOKEN=token)
    assert made.returncode == 0, made.stderr

    def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return installed.run("kubectl", *arguments, KUBECONFIG=str(config))

    settings = f"settings-{uuid.uuid4().hex[:8]}"
    created = kubectl("create", "configmap", settings, "--from-literal=a=b")
    assert created.returncode == 0, created.stderr
    assert settings in kubectl("get", "configmaps").stdout
    denied = kubectl("get", "secrets")
    assert denied.returncode == 1
    assert "token deploy may not list secrets in namespace shop: needs role admin" in denied.stderr
    deeds = [(deed["user"], deed["verb"], deed["name"], deed["code"]) for deed in installed.audit()]
    assert ("deploy", "create", settings, 201) in deeds
    assert ("deploy", "list", "", 403) in deeds


def test_kubectl_asks_who_it_is_and_what_it_may_do(installed: InstalledServer) -> None:
    token = installed.token("asker", "deployer@shop")
    config = installed.folder / "asker.kubeconfig"
    installed.upwell("kubeconfig", "--file", str(config), "-n", "shop", UPWELL_TOKEN=token)

    def kubectl(*arguments: str) -> tuple[int, str]:
        done = installed.run("kubectl", "auth", *arguments, KUBECONFIG=str(config))
        return done.returncode, done.stdout + done.stderr

    code, text = kubectl("whoami")
    assert code == 0, text
    assert [line.split()[1] for line in text.splitlines()[1:2]] == ["asker"]
    assert "deployer@shop" in text
    for question, answer in (
        (("get", "deployments.apps"), "yes"),
        (("create", "deployments/exec", "-n", "shop"), "yes"),
        (("get", "secrets"), "no - needs role admin there"),
        (("list", "deployments.apps", "--all-namespaces"), "no"),
        (("get", "deployments.apps", "-n", "bank"), "no"),
        (("get", "/version"), "yes"),
        (("get", "/metrics"), "no"),
    ):
        code, text = kubectl("can-i", *question)
        assert text.splitlines()[-1].startswith(answer), (question, text)
        assert (code == 0) == (answer == "yes")
    code, text = kubectl("can-i", "--list")
    assert code == 0, text
    assert "deployments" in text
    secrets = [line for line in text.splitlines() if line.startswith("secrets")]
    assert [line.split()[-1] for line in secrets] == ["[use]"], "to name one is not to read it"
    assert not [deed for deed in installed.audit() if "selfsubject" in deed["resource"]]


def test_kubectl_makes_service_accounts_and_tokens_of_them(installed: InstalledServer) -> None:
    config = installed.folder / "accounts.kubeconfig"
    admin = installed.token("accountant", "admin@shop")
    installed.upwell("kubeconfig", "--file", str(config), "-n", "shop", UPWELL_TOKEN=admin)

    def kubectl(*arguments: str) -> str:
        done = installed.run("kubectl", *arguments, KUBECONFIG=str(config))
        assert done.returncode == 0, done.stderr
        return done.stdout

    robot, run = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("robot", "run"))
    assert f"serviceaccount/{robot} created" in kubectl("create", "serviceaccount", robot)
    grants = "upwell.dev/grants=viewer@shop"
    kubectl("annotate", "serviceaccount", robot, grants)
    assert "viewer@shop" in kubectl("get", "sa", robot)
    token = kubectl("create", "token", robot, "--duration", "10m").strip()
    me = installed.upwell("whoami", UPWELL_TOKEN=token)
    assert f"system:serviceaccount:shop:{robot}" in me.stdout
    assert installed.upwell("get", "builds", "-n", "shop", UPWELL_TOKEN=token).returncode == 0
    assert installed.upwell("get", "builds", "-n", "bank", UPWELL_TOKEN=token).returncode == 1
    asked = installed.upwell("token", "request", robot, "-n", "shop", UPWELL_TOKEN=admin)
    assert installed.upwell("whoami", UPWELL_TOKEN=asked.stdout.strip()).returncode == 0
    kubectl("create", "secret", "generic", run)
    uid = kubectl("get", "secret", run, "-o", "jsonpath={.metadata.uid}")
    bound = (
        "--bound-object-kind=Secret",
        f"--bound-object-name={run}",
        f"--bound-object-uid={uid}",
    )
    tied = kubectl("create", "token", robot, *bound).strip()
    assert installed.upwell("whoami", UPWELL_TOKEN=tied).returncode == 0
    kubectl("delete", "secret", run)
    assert installed.upwell("whoami", UPWELL_TOKEN=tied).returncode == 1
    kubectl("delete", "serviceaccount", robot)
    assert installed.upwell("whoami", UPWELL_TOKEN=token).returncode == 1


def test_a_login_is_kept_for_the_user_alone_and_tried_first(
    installed: InstalledServer, tmp_path: Path
) -> None:
    token = installed.token("ada", "viewer@shop", "builder@shop")
    url = f"https://{installed.host}/"
    ca = ("--ca", str(installed.authority))

    def upwell(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        home = {"XDG_CONFIG_HOME": str(tmp_path / "config"), **more}
        environment = {**installed.inherited, **home}
        return run_upwell(
            *arguments,
            text=stdin,
            seconds=SECONDS,
            folder=installed.folder,
            environment=environment,
        )

    refused = upwell("login", url, *ca, "--token-file", "-", stdin="upwell_ada_wrong")
    assert refused.returncode == 1
    assert "unknown or has expired" in refused.stderr
    assert not (tmp_path / "config").exists()

    done = upwell("login", url, *ca, "-n", "shop", "--token-file", "-", stdin=f"{token}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"logged in to https://{installed.host} as ada (viewer@shop, builder@shop)\n"
    )
    kept = tmp_path / "config" / "upwell" / "logins.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "ada" in upwell("whoami").stdout
    assert upwell("get", "builds").returncode == 0
    assert "namespace bank" in upwell("get", "builds", "-n", "bank").stderr
    assert "unknown or has expired" in upwell("whoami", UPWELL_TOKEN="wrong").stderr

    assert upwell("logout").stdout == f"logged out of https://{installed.host}\n"
    assert token not in kept.read_text()
    again = upwell("logout")
    assert (again.returncode, again.stderr) == (
        3,
        "error: not logged in to any server: run `upwell login URL`\n",
    )


def _image(folder: Path) -> Path:
    """Make an image of one empty layer, as an OCI layout."""
    layout = folder / "layout"
    done = subprocess.run(
        ["skopeo", "copy", "--quiet", f"dir:{_directory(folder)}", f"oci:{layout}:v1"],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return layout


def _directory(folder: Path) -> Path:
    """Write an image in skopeo's own layout: a configuration, no layers."""
    from hashlib import sha256  # noqa: PLC0415 - for this one image

    target = folder / "image"
    target.mkdir(exist_ok=True)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    digest = sha256(config).hexdigest()
    (target / digest).write_bytes(config)
    (target / "version").write_text("Directory Transport Version: 1.1\n")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": f"sha256:{digest}",
            "size": len(config),
        },
        "layers": [],
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_skopeo_pushes_and_pulls_as_it_is_granted(
    installed: InstalledServer, tmp_path: Path
) -> None:
    builder = installed.token("pusher", "builder@shop")
    viewer = installed.token("puller", "viewer@shop")
    trust = f"--cert-dir={_certificates(installed)}"
    image = f"docker://{installed.host}/shop/app:v1"
    auth = tmp_path / "auth.json"

    def skopeo(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return installed.run("skopeo", *arguments, stdin=stdin, REGISTRY_AUTH_FILE=str(auth))

    def login(token: str) -> subprocess.CompletedProcess[str]:
        return skopeo(
            *("login", trust, "-u", "anyone", "--password-stdin", installed.host), stdin=token
        )

    source = f"oci:{_image(tmp_path)}:v1"
    push = ("copy", f"--dest-cert-dir={_certificates(installed)}", source, image)
    assert "authentication required" in skopeo(*push).stderr
    assert login("upwell_pusher_wrong").returncode != 0
    assert login(builder).returncode == 0, login(builder).stderr
    pushed = skopeo(*push)
    assert pushed.returncode == 0, pushed.stderr
    elsewhere = skopeo(*push[:-1], f"docker://{installed.host}/bank/app:v1")
    assert elsewhere.returncode != 0
    assert login(viewer).returncode == 0
    assert skopeo("inspect", trust, image).returncode == 0
    denied = skopeo(*push[:-1], f"docker://{installed.host}/shop/app:v2")
    assert "needs role builder there" in denied.stderr
    deeds = [(d["user"], d["verb"], d["name"], d["code"]) for d in installed.audit()]
    assert ("pusher", "push", "shop/app", 201) in deeds


def test_podman_logs_in(installed: InstalledServer) -> None:
    viewer = installed.token("runner", "viewer@shop")
    auth = installed.folder / "podman-auth.json"
    done = installed.run(
        *("podman", "login", f"--authfile={auth}", f"--cert-dir={_certificates(installed)}"),
        *("-u", "anyone", "--password-stdin", installed.host),
        stdin=viewer,
        CONTAINERS_CONF=str(installed.folder / "data" / "containers.conf"),
    )
    assert done.returncode == 0, done.stderr
    assert "Login Succeeded" in done.stdout


def _certificates(installed: InstalledServer) -> Path:
    folder = installed.folder / "certificates"
    folder.mkdir(exist_ok=True)
    shutil.copy(installed.authority, folder / "ca.crt")
    return folder


def test_prometheus_scrapes_with_a_viewers_token(installed: InstalledServer) -> None:
    token = installed.token("prometheus", "viewer@*")
    url = f"https://{installed.host}/metrics"

    def scrape(*options: str) -> subprocess.CompletedProcess[str]:
        trust = ("--cacert", str(installed.authority))
        return installed.run("curl", "--silent", "--fail", *trust, *options, url)

    text = scrape("--header", f"Authorization: Bearer {token}").stdout
    assert "\nupwell_store_bytes " in text
    assert "\nupwell_registry_bytes " in text
    assert "\nupwell_registry_damaged 0" in text
    assert scrape().returncode != 0
