"""`upwell serve` as a child process, and the example applied with `upwell apply`."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from upwell.app.client import create_client
from upwell.cli.core.errors import CommandError
from upwell.cli.demo.children import ChildProcesses, run
from upwell.cli.demo.ports import HOST, Ports
from upwell.store.interface import ApiClient, StoreError

_START_SECONDS = 120.0
_APPLY_SECONDS = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class DemoServer:
    """Server of one demo, with its data and containers in the demo's folder."""

    folder: Path
    ports: Ports

    async def start(self, children: ChildProcesses) -> None:
        """Start it on this machine and wait until it is ready; raises CommandError."""
        await self.start_on(
            children,
            *("--data-dir", data_dir(self.folder), "--container-storage", storage(self.folder)),
            *("--listen", f"{HOST}:{self.ports.api}", "--router", f"{HOST}:{self.ports.router}"),
        )

    async def start_on(self, children: ChildProcesses, *options: str | Path) -> None:
        """Start it with these options and wait until it is ready; raises CommandError."""
        children.start(
            "serve",
            *(sys.executable, "-m", "upwell", "serve"),
            *options,
            # The objects name these two, on loopback.
            *("--allow-outbound", self.ports.vendor_host),
            *("--allow-outbound", f"{HOST}:{self.ports.git}"),
            environment=_without_settings(),
        )
        await children.until_listening("serve", self.ports.api, _START_SECONDS)
        async with self.client() as client, asyncio.timeout(_START_SECONDS):
            while not await _is_ready(client):
                children.check()
                await asyncio.sleep(_POLL_SECONDS)

    def client(self) -> ApiClient:
        """Return a client of its API."""
        return create_client(self.ports.server)

    async def apply(self, manifests: Path) -> str:
        """Run `upwell apply -f`; return what it printed. Raises CommandError."""
        return await run(
            *(sys.executable, "-m", "upwell", "apply", "--server", self.ports.server),
            *("-f", manifests),
            environment=_without_settings(),
            seconds=_APPLY_SECONDS,
        )

    async def apply_template(self, template: Path, values: Mapping[str, str], made: Path) -> str:
        """Process a Template into the file `made`, and apply that; as `apply`."""
        parameters = [f"--param={name}={value}" for name, value in values.items()]
        objects = await run(
            *(sys.executable, "-m", "upwell", "process", "--server", self.ports.server),
            str(template),
            *parameters,
            environment=_without_settings(),
            seconds=_APPLY_SECONDS,
        )
        await asyncio.to_thread(made.write_text, objects)
        return await self.apply(made)


def data_dir(folder: Path) -> Path:
    """Return the server's data directory in a demo's folder."""
    return folder / "upwell"


def storage(folder: Path) -> Path:
    """Return Podman's storage in a demo's folder."""
    return folder / "containers"


def adapt_manifests(source: Path, target: Path, changes: Mapping[str, str]) -> None:
    """Copy the example's manifests with these texts replaced; raises CommandError."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    unused = set(changes)
    for path in sorted(source.glob("*.yaml")):
        text = path.read_text()
        for old, new in changes.items():
            if old in text:
                unused.discard(old)
                text = text.replace(old, new)
        (target / path.name).write_text(text)
    if unused:
        raise CommandError(f"{source} does not mention {', '.join(sorted(unused))}")


async def _is_ready(client: ApiClient) -> bool:
    try:
        await client.get_raw("/readyz")
    except StoreError:
        return False
    return True


def _without_settings() -> dict[str, str]:
    """Return empty values for the user's UPWELL_ variables, which are not the demo's."""
    return {name: "" for name in os.environ if name.startswith("UPWELL_")}
