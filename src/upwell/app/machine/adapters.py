"""The adapters of what runs on this machine, opened."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from upwell.app.configuration import Configuration, podman_settings
from upwell.app.data_folder import account_for_instances
from upwell.app.identity.workload_tokens import WorkloadTokens
from upwell.firewall.nftables import NftFirewall
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.machine.disk import DiskSpace
from upwell.outbound.image_registries import ImageRegistries
from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.server.asgi.tls import generated
from upwell.settings import ServerSettings
from upwell.store.sqlite import SqliteStore
from upwell.workload.podman.runtime import PodmanRuntime


@dataclass(frozen=True, slots=True)
class MachineAdapters:
    """Adapters of one machine."""

    store: SqliteStore
    runtime: PodmanRuntime
    router: HaproxyRouter
    firewall: NftFirewall
    tokens: WorkloadTokens
    """Of what runs; to be opened when the server knows who may do what."""


@dataclass(frozen=True, slots=True)
class MachineParts:
    """Parts that the adapters of a machine stand on."""

    store: SqliteStore
    files: Configuration
    registries: ImageRegistries
    disk: DiskSpace
    components: Components


async def open_machine(
    settings: ServerSettings, parts: MachineParts, stack: AsyncExitStack
) -> MachineAdapters:
    """Open them, and compare what runs with what the store knows; the stack closes them.

    Raises DataFolderError, WorkloadError or StoreError.
    """
    data, store, components = settings.data_dir, parts.store, parts.components
    podman = podman_settings(
        settings, parts.files, lambda: store.timeline, parts.registries, parts.disk.pressure
    )
    tokens = WorkloadTokens(store)
    podman = replace(podman, issue_token=tokens.issue)
    component = components.add("podman")
    runtime = await stack.enter_async_context(PodmanRuntime.open(podman, component=component))
    instance_id = parts.files.instance_id
    await account_for_instances(data, instance_id, store, runtime, adopt_empty=settings.adopt_empty)
    return MachineAdapters(
        store=store,
        runtime=runtime,
        router=HaproxyRouter(_haproxy_settings(settings, instance_id), components.add("router")),
        firewall=NftFirewall(
            data / "firewall", instance_id, components.add("firewall", required=False)
        ),
        tokens=tokens,
    )


def instance_folders(data: Path) -> Sequence[Path]:
    """Return the folders with records of instances."""
    return [*(data / "workloads" / "instances").glob("*/")]


def _haproxy_settings(settings: ServerSettings, installation: str) -> HaproxySettings:
    folder = settings.data_dir / "router"

    async def certificate(hosts: Sequence[str]) -> str:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = await asyncio.to_thread(generated, folder / "tls", hosts, now())
        return made.chain.read_text() + made.key.read_text()

    return HaproxySettings(
        folder,
        settings.router_address,
        https_address=settings.router_https_address,
        make_certificate=certificate,
        trusted_proxies=settings.trusted_proxies,
        installation=installation,
    )
