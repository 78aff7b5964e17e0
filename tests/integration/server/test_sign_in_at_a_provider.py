"""`upwell serve`, its command line, kubectl and a browser, with people of a certified provider."""

import asyncio
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from tests.support.cli.command_process import run_upwell
from tests.support.identity_provider.process import (
    MISSING,
    RunningProvider,
    confirm,
    running_provider,
)
from tests.support.ports import free_port
from tests.support.server.audit_logs import audit_lines

_TOOLS = {"kubectl": "kubernetes-client", "podman": "podman", "haproxy": "haproxy", "curl": "curl"}
_missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.skipif(bool(_missing), reason=f"apt install {' '.join(_missing)}"),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.skipif(os.geteuid() != 0, reason="running containers needs root"),
]
SECONDS = 180
PROGRAMS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@dataclass
class SigningInServer:
    """A server whose people are those of a provider."""

    folder: Path
    port: int
    provider: RunningProvider

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        return self.folder / "data" / "tls" / "ca.pem"

    def environment(self, home: str) -> dict[str, str]:
        place = self.folder / home
        place.mkdir(exist_ok=True)
        return {"PATH": PROGRAMS, "HOME": str(place), "LC_ALL": "C.UTF-8"}

    async def run(self, home: str, *argv: str, **environment: str) -> tuple[int, str, str]:
        """Run a command in the home of somebody; return code, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**self.environment(home), **environment},
        )
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def upwell(self, home: str, *arguments: str) -> tuple[int, str, str]:
        run = partial(run_upwell, folder=self.folder, environment=self.environment(home))
        done = await asyncio.to_thread(run, *arguments, seconds=SECONDS)
        return done.returncode, done.stdout, done.stderr

    async def log_in(self, home: str, person: str) -> str:
        """Log a command line in, as a person who confirms it in a browser; return its stdout."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "upwell", "login", self.url, "--ca", str(self.authority)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(home),
        )
        assert process.stderr is not None
        async with asyncio.timeout(SECONDS), browser(self) as session:
            said = ""
            while (found := re.search(r"or open (\S+),", said)) is None:
                line = await process.stderr.readline()
                assert line, said
                said += line.decode()
            assert "Success" in await confirm(session, found[1], person)
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()


def browser(server: SigningInServer) -> aiohttp.ClientSession:
    trusting = ssl.create_default_context(cafile=server.authority)
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.CookieJar(unsafe=True), connector=aiohttp.TCPConnector(ssl=trusting)
    )


@pytest.fixture(scope="module")
def serving() -> Iterator[SigningInServer]:
    # Not pytest's folder: the paths of sockets are limited to 107 bytes.
    folder, port = Path(tempfile.mkdtemp(prefix="upwell-")), free_port()
    with running_provider(f"https://127.0.0.1:{port}/oidc/callback") as provider:
        (folder / "secret").write_text("s3cret\n")
        (folder / "secret").chmod(0o600)
        (folder / "upwell.toml").write_text(
            f"""
            [oidc]
            issuer = "{provider.url}"
            client-id = "upwell"
            client-secret-file = "{folder}/secret"
            url = "https://127.0.0.1:{port}"
            scopes = ["openid", "groups", "offline_access"]
            recheck = "1s"
            [[oidc.grants]]
            group = "developers"
            grant = "deployer@shop"
            """
        )
        command = [
            *(sys.executable, "-m", "upwell", "serve", "--tls"),
            *("--config", str(folder / "upwell.toml"), "--data-dir", str(folder / "data")),
            *("--listen", f"127.0.0.1:{port}", "--container-storage", str(folder / "ctr")),
            *("--router", f"127.0.0.1:{free_port()}"),
            *("--router-https", f"127.0.0.1:{free_port()}"),
        ]
        with (folder / "serve.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        made = SigningInServer(folder, port, provider)
        try:
            _wait(made, process)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)
            _remove(made)


def _wait(server: SigningInServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, (server.folder / "serve.log").read_text()
        assert time.monotonic() < deadline, (server.folder / "serve.log").read_text()
        ready = subprocess.run(
            ["curl", "-sf", "--cacert", str(server.authority), f"{server.url}/livez"],
            check=False,
            capture_output=True,
        )
        if ready.returncode == 0:
            return


def _remove(server: SigningInServer) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path;"
        "from upwell.app.server import remove_workloads;"
        "from upwell.settings import ServerSettings;"
        "asyncio.run(remove_workloads(ServerSettings(data_dir=Path(sys.argv[1]),"
        " container_storage=Path(sys.argv[2]))))"
    )
    folders = (str(server.folder / "data"), str(server.folder / "ctr"))
    done = subprocess.run([sys.executable, "-c", script, *folders], check=False)
    shutil.rmtree(server.folder, ignore_errors=True)
    assert done.returncode == 0


@pytest.fixture
async def ada(serving: SigningInServer) -> SigningInServer:
    """A server at which Ada has signed in on a command line."""
    serving.provider.start()  # where the first try of a test has killed it
    await serving.provider.put("ada", "developers")
    said = await serving.log_in("ada", "ada")
    assert "as oidc:ada (deployer@shop)" in said
    return serving


async def test_a_person_works_until_they_lose_their_group(ada: SigningInServer) -> None:
    manifest = ada.folder / "settings.yaml"
    manifest.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}")
    code, _, err = await ada.upwell("ada", "apply", "-n", "shop", "-f", str(manifest))
    assert code == 0, err
    code, out, err = await ada.upwell("ada", "whoami", "-o", "json")
    assert json.loads(out)["groups"] == ["developers"], err
    logins = ada.folder / "ada" / ".config" / "upwell" / "logins.json"
    assert logins.stat().st_mode & 0o777 == 0o600

    await ada.provider.put("ada", "guests")
    deadline = time.monotonic() + SECONDS
    while (await ada.upwell("ada", "get", "configmaps", "-n", "shop"))[0] == 0:
        assert time.monotonic() < deadline

    code, _, err = await ada.upwell("ada", "whoami")
    assert code == 1
    assert "unknown or has expired" in err
    lines = [line for line in audit_lines(ada.folder / "data") if line.get("user") == "oidc:ada"]
    assert {(line["verb"], line["resource"]) for line in lines} >= {
        ("create", "sessions"),
        ("patch", "configmaps"),
    }
    token = json.loads(logins.read_text())["servers"][0]["token"]
    assert token not in (ada.folder / "serve.log").read_text()


async def test_kubectl_has_its_login_renewed(ada: SigningInServer) -> None:
    path = ada.folder / "ada" / "kubeconfig"
    config = str(path)
    code, _, err = await ada.upwell("ada", "kubeconfig", "--file", config)
    assert code == 0, err

    code, out, err = await ada.run("ada", "kubectl", "auth", "whoami", KUBECONFIG=config)

    assert code == 0, err
    assert "oidc:ada" in out
    assert "upwell_oidc" not in path.read_text()


async def test_who_is_gone_at_the_provider_is_gone_here(serving: SigningInServer) -> None:
    await serving.provider.put("ben", "developers")
    await serving.log_in("ben", "ben")

    await serving.provider.remove("ben")

    deadline = time.monotonic() + SECONDS
    while (await serving.upwell("ben", "whoami"))[0] == 0:
        assert time.monotonic() < deadline


async def test_a_logout_ends_the_session(ada: SigningInServer) -> None:
    logins = ada.folder / "ada" / ".config" / "upwell" / "logins.json"
    token = json.loads(logins.read_text())["servers"][0]["token"]

    code, _, err = await ada.upwell("ada", "logout")

    assert (code, err) == (0, "")
    async with (
        browser(ada) as session,
        session.get(
            f"{ada.url}/api/v1/namespaces/shop/configmaps",
            headers={"Authorization": f"Bearer {token}"},
        ) as response,
    ):
        assert response.status == 401


async def test_a_browser_signs_in_by_the_code_flow(serving: SigningInServer) -> None:
    await serving.provider.put("cat", "developers")
    async with browser(serving) as session:
        page = await confirm(session, f"{serving.url}/login", "cat")

        assert "oidc:cat" in page
        assert "deployer@shop" in page
        async with session.get(f"{serving.url}/api/v1/namespaces/shop/configmaps") as response:
            assert response.status == 401, "a cookie opens no API"


async def test_without_the_provider_people_go_on_and_nobody_new_comes(
    ada: SigningInServer,
) -> None:
    ada.provider.kill()

    code, out, err = await ada.upwell("ada", "whoami")
    assert (code, "oidc:ada" in out) == (0, True), err
    code, _, err = await ada.upwell("dot", "login", ada.url, "--ca", str(ada.authority))
    assert code != 0
    assert "Connection refused" in err
