"""`upwell serve --on kubernetes` as the account that an installation gives it."""

import base64
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import yaml
from tests.support.cli.command_process import ServerProcess, run_upwell, start_upwell
from tests.support.kubernetes.cluster import KitCluster
from tests.support.ports import free_port

_SECONDS = 90.0


def until[T](look: Callable[[], T], holds: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + _SECONDS
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still after {_SECONDS:.0f} s: {seen}"
        time.sleep(0.1)
    return seen


def account_kubeconfig(cluster: KitCluster, namespace: str, folder: Path) -> Path:
    """Return a kubeconfig with the token of the account of the server in a namespace."""
    token = until(
        lambda: cluster.kubectl(
            *("-n", namespace, "get", "secrets", "-o"),
            "jsonpath={.items[?(@.metadata.annotations.kubernetes\\.io/service-account\\.name=="
            '"upwell")].data.token}',
        ),
        bool,
    )
    document: dict[str, Any] = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"] = [{"name": "upwell", "user": {"token": _decoded(token)}}]
    context = {"cluster": document["clusters"][0]["name"], "user": "upwell"}
    document["contexts"] = [{"name": "upwell", "context": {**context, "namespace": namespace}}]
    document["current-context"] = "upwell"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


@dataclass(frozen=True)
class AccountServer:
    """A server that runs, with its folder."""

    port: int
    folder: Path
    process: ServerProcess

    def readiness(self) -> str:
        """Return what `/readyz?verbose` answers."""
        assert self.process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/readyz?verbose", timeout=10
            ) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError as error:
            return str(error)

    def upwell(self, *arguments: str, token: str = "") -> CompletedProcess[str]:
        """Run a command as who has the token; without one, as the server's own user."""
        own = (self.folder / "data" / "admin.token").read_text().strip()
        login = {"UPWELL_SERVER": f"http://127.0.0.1:{self.port}", "UPWELL_TOKEN": token or own}
        environment = {**os.environ, **login}
        return run_upwell(*arguments, seconds=_SECONDS, folder=self.folder, environment=environment)


@contextmanager
def served(kubeconfig: Path, folder: Path, *options: str) -> Iterator[AccountServer]:
    """Run the server, with more options."""
    port = free_port()
    command = ["serve", "--on=kubernetes", f"--kubeconfig={kubeconfig}", *options]
    command += [f"--data-dir={folder / 'data'}", f"--listen=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        server = start_upwell(*command, output=log, folder=folder, environment=os.environ)
        try:
            yield AccountServer(port, folder, server)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(_SECONDS)
