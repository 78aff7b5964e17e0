"""Pods as a terminal and the Python client of Kubernetes use them, against a real server."""

import asyncio
import os
import pty
import select
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish

pytestmark = [
    pytest.mark.skipif(
        shutil.which("kubectl") is None, reason="needs kubectl (Debian package kubernetes-client)"
    ),
    # The Python client leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECONDS = 60
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: REGISTRY/default/hello:1
          command: [sh, -c, "mkdir -p /www; echo hello > /www/index.html; echo begun; exec serve"]
          ports: [{containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""


def python_client() -> Any:
    """Load Kubernetes' own client: not where tests are only collected, for it takes a second."""
    import kubernetes  # noqa: PLC0415

    return kubernetes


@dataclass
class ClientsInstallation:
    made: Installation
    config: Path

    @contextmanager
    def core(self) -> Iterator[Any]:
        """Give the Python client; Any, for its types say that everything may be missing."""
        with python_client().config.new_client_from_config(str(self.config)) as client:
            yield python_client().client.CoreV1Api(client)

    async def pod(self) -> Any:
        """Return the one Pod, once it is ready."""
        with self.core() as core:

            async def pods() -> list[Any]:
                found = await asyncio.to_thread(core.list_namespaced_pod, "default")
                return [pod for pod in found.items if _is_ready(pod)]

            return (await until(pods, bool, SECONDS))[0]


@pytest.fixture
async def clients() -> AsyncIterator[ClientsInstallation]:
    async with installation() as made:
        registry = made.url.removeprefix("http://")
        await publish(registry, "default/hello:1", "1.0", token=made.token)
        async with made.client() as client:
            await made.apply(client, WEB.replace("REGISTRY", registry))
        config = made.folder / "kubeconfig"
        done = made.upwell("kubeconfig", "--file", str(config))
        assert done.returncode == 0, done.stderr
        yield ClientsInstallation(made, config)


async def test_they_are_entered_watched_and_reached(clients: ClientsInstallation) -> None:
    pod = await clients.pod()
    for check in (python_runs_commands, python_reaches_a_port, python_sees_mistakes):
        await asyncio.to_thread(check, clients, pod.metadata.name)
    for program in (["kubectl", "--kubeconfig", str(clients.config)], clients.made.command()[:3]):
        await asyncio.to_thread(terminal_is_one, clients, program, pod.metadata.name)
    for check in (upwell_enters, upwell_reaches_a_port, upwell_reads_the_log_before):
        await asyncio.to_thread(check, clients, pod.metadata.name)
    await asyncio.to_thread(python_watches_a_replacement, clients, await clients.pod())


def python_runs_commands(clients: ClientsInstallation, name: str) -> None:
    with clients.core() as core:
        inside = python_client().stream.stream(
            core.connect_get_namespaced_pod_exec,
            name,
            "default",
            command=["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"],
            stdin=True,
            stdout=True,
            stderr=True,
            _preload_content=False,
        )
        inside.write_stdin("a word\n")
        inside.run_forever(timeout=SECONDS)
        assert inside.read_stdout() == "got a word\n"
        assert inside.read_stderr() == "bad\n"
        assert inside.returncode == 3
        inside.close()
        inside.sock.shutdown()  # `close` leaves open what the server has closed first


def python_reaches_a_port(clients: ClientsInstallation, name: str) -> None:
    with clients.core() as core:
        forwarded = python_client().stream.portforward(
            core.connect_get_namespaced_pod_portforward, name, "default", ports="8080"
        )
        connection = forwarded.socket(8080)
        connection.settimeout(SECONDS)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        connection.close()
        assert answer.endswith(b"\r\n\r\nhello\n"), answer
        assert forwarded.error(8080) is None
        for thread in threading.enumerate():
            if "port forward proxy" in thread.name:
                thread.join(SECONDS)
        forwarded.websocket.shutdown()


def python_sees_mistakes(clients: ClientsInstallation, name: str) -> None:
    refusal = python_client().client.ApiException
    with clients.core() as core:
        with pytest.raises(refusal, match="no container 'none'"):
            python_client().stream.stream(
                core.connect_get_namespaced_pod_exec,
                name,
                "default",
                container="none",
                command=["true"],
                stdout=True,
            )
        with pytest.raises(refusal) as refused:
            core.read_namespaced_pod("none", "default")
        assert refused.value.status == 404
        with pytest.raises(refusal) as refused:
            core.patch_namespaced_pod(name, "default", {"metadata": {"labels": {"a": "b"}}})
        assert refused.value.status == 405
        assert "change the workload that it belongs to" in str(refused.value.body)


def terminal_is_one(clients: ClientsInstallation, program: list[str], name: str) -> None:
    """`exec -it` gives the command a terminal, and takes its exit code."""
    target = name if program[0] == "kubectl" else "deployment/web"
    server = [] if program[0] == "kubectl" else ["--server", clients.made.url]
    argv = [*program, *server, "exec", "-i", "-t", target, "--", "sh"]
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        os.write(ours, b"tty; stty size; exit 4\n")
        seen = b""
        while piece := _read(ours):
            seen += piece
        assert process.wait(SECONDS) == 4, seen.decode()
        assert b"/dev/pts/" in seen, seen.decode()
    finally:
        os.close(ours)


def upwell_enters(clients: ClientsInstallation, name: str) -> None:
    script = "read line; echo got $line; echo bad >&2; cat; exit 3"
    command = ("exec", "-i", f"pod/{name}", "--", "sh", "-c", script)
    done = clients.made.upwell(*command, text="a word\nand more\n")
    assert (done.stdout, done.stderr) == ("got a word\nand more\n", "bad\n")
    assert done.returncode == 3
    refused = clients.made.upwell("exec", "deploy/web", "-c", "none", "--", "true")
    assert refused.returncode == 1
    assert "no container 'none'" in refused.stderr


def upwell_reaches_a_port(clients: ClientsInstallation, name: str) -> None:
    command = [*clients.made.command()[:3], "--server", clients.made.url, "port-forward"]
    with subprocess.Popen(
        [*command, f"pod/{name}", ":8080"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = line.removeprefix("forwarding from ").partition(" ")[0]
            with urlopen(f"http://{address}/", timeout=SECONDS) as answer:
                assert answer.read() == b"hello\n"
        finally:
            process.kill()


def upwell_reads_the_log_before(clients: ClientsInstallation, name: str) -> None:
    none = clients.made.upwell("logs", "--previous", f"pod/{name}")
    assert none.returncode == 1
    assert "has not ended before" in none.stderr
    clients.made.upwell("exec", f"pod/{name}", "--", "sh", "-c", "kill 1")
    ends = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    done = clients.made.upwell("wait", f"pod/{name}", ends, f"--timeout={SECONDS}s")
    assert done.returncode == 0, done.stderr
    assert clients.made.upwell("logs", "--previous", "deploy/web").stdout == "begun\n"


def _read(terminal: int) -> bytes:
    readable, _, _ = select.select([terminal], [], [], SECONDS)
    assert readable, "nothing more was said"
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""  # Linux says so when the other end is closed


def python_watches_a_replacement(clients: ClientsInstallation, pod: Any) -> None:
    seen: list[tuple[str, str]] = []
    with clients.core() as core:
        version = core.list_namespaced_pod("default").metadata.resource_version
        core.delete_namespaced_pod(pod.metadata.name, "default")
        watch = python_client().watch.Watch()
        for event in watch.stream(
            core.list_namespaced_pod,
            "default",
            resource_version=version,
            timeout_seconds=SECONDS,
        ):
            found = event["object"]
            seen.append((event["type"], found.metadata.uid))
            if found.metadata.uid != pod.metadata.uid and _is_ready(found):
                watch.stop()
    assert ("DELETED", pod.metadata.uid) in seen
    assert seen[-1][1] != pod.metadata.uid


def _is_ready(pod: Any) -> bool:
    conditions = pod.status.conditions or ()
    return any(one.type == "Ready" and one.status == "True" for one in conditions)
