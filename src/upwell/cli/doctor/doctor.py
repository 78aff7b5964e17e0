"""`upwell doctor`: checks of this machine or a cluster, with a remedy for each failure."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from upwell.app.hardening.instance_ids import check_instance_isolation
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.cli.doctor.containers_conf import check_containers_conf
from upwell.cli.doctor.room import check_disk
from upwell.cli.install.installation import ClusterInstallation, Feature
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.options import IMAGE, NAMESPACE, cluster_options
from upwell.cli.serve.options import data_dir_option, router_options
from upwell.machine.checks import HostCheck, HostCheckStatus, HostPaths, check_machine
from upwell.machine.containers_conf import ContainersConf, decide, render
from upwell.machine.host import Host, read_host
from upwell.workers.checks import check_workers

if TYPE_CHECKING:
    from upwell.settings.bucket import BucketSettings


@dataclass(frozen=True, slots=True)
class Examination:
    """Results of the checks, and the configuration that follows from them."""

    checks: Sequence[HostCheck]
    conf: ContainersConf
    place: str = "machine"
    """Kind of place that was examined."""

    @property
    def status(self) -> HostCheckStatus:
        """Worst status among the checks."""
        found = {check.status for check in self.checks}
        return next((bad for bad in _WORST_FIRST if bad in found), HostCheckStatus.OK)


_WORST_FIRST = (HostCheckStatus.FAIL, HostCheckStatus.UNKNOWN, HostCheckStatus.WARN)
_ADMISSION = "admission"
_NO_CONF = ContainersConf((), "", "")

type Addresses = tuple[tuple[str, int], ...]
"""Pairs of host and port."""


async def examine(
    data_dir: Path, routes: Addresses = (), bucket: "BucketSettings | None" = None
) -> Examination:
    """Check this machine for a server that keeps its data in `data_dir`.

    `routes` are the addresses of its router, `bucket` has its images. Folders that the checks
    create are removed.
    """
    remove = _make_folder(data_dir)
    host = await read_host(data_dir)
    conf = decide(host, private_storage=True)
    try:
        checks = await _check(data_dir, host, conf, routes)
        return Examination([*checks, *await _check_bucket(bucket, data_dir)], conf)
    finally:
        remove()


def _make_folder(folder: Path) -> Callable[[], None]:
    """Create the folder with its parents; return a function that removes the created ones."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)

    def remove() -> None:
        for path in made:
            with suppress(OSError):  # in use by now
                path.rmdir()

    return remove


async def _check(
    data_dir: Path, host: Host, conf: ContainersConf, routes: Addresses
) -> Sequence[HostCheck]:
    from upwell.app.hardening.components import (  # noqa: PLC0415 - loads the models and aiohttp
        check_components,
    )

    # Not the server's own file: checks beside a running server change nothing.
    path = data_dir / f"doctor-{id(conf):x}.conf"
    path.write_text(render(conf.decisions))
    try:
        found = [*await check_machine(HostPaths(data_dir, host, conf, path, routes=routes))]
        found.append(await check_disk(data_dir))
        if given := os.environ.get("CONTAINERS_CONF"):
            found.append(await asyncio.to_thread(check_containers_conf, given))
        found = [*found, await check_instance_isolation(data_dir), await check_workers()]
        return [*found, *await check_components(data_dir)]
    finally:
        path.unlink(missing_ok=True)


async def _check_bucket(bucket: "BucketSettings | None", data_dir: Path) -> Sequence[HostCheck]:
    if bucket is None:
        return []
    from upwell.app.hardening.bucket import check_bucket  # noqa: PLC0415 - loads the models

    return [await check_bucket(bucket, data_dir)]


@click.command(
    epilog=examples(
        "upwell doctor",
        "upwell doctor --data-dir /srv/upwell --config /etc/upwell/upwell.toml",
        "upwell doctor -o json | jq '.checks[] | select(.status != \"ok\")'",
        "upwell doctor --security",
        "upwell doctor --on kubernetes --watch-namespace dev --without builds",
        "upwell doctor --on kubernetes --probe registry.example/upwell:0.1.0",
    )
)
@click.option(
    "--on",
    "place",
    type=click.Choice(["machine", "kubernetes"]),
    default="machine",
    show_default=True,
    help="Where Upwell shall run: this machine, or the cluster of a kubeconfig.",
)
@cluster_options
@click.option(
    "--watch-namespace",
    "namespaces",
    type=NAMESPACE,
    multiple=True,
    metavar="NAMESPACE",
    help="Namespace that Upwell works in on a cluster; repeatable.  [default: all]",
)
@click.option(
    "--without",
    "left_out",
    multiple=True,
    type=click.Choice([*(feature.value for feature in Feature), _ADMISSION]),
    help="Feature that is not installed on a cluster; repeatable.  [default: none]",
)
@click.option(
    "--probe",
    "probe_image",
    type=IMAGE,
    default="",
    show_default="none",
    metavar="IMAGE",
    help="Upwell's image: Pods try to build with it on a cluster, and are removed.",
)
@click.option(
    "--probe-namespace",
    type=NAMESPACE,
    default="default",
    show_default=True,
    metavar="NAMESPACE",
    help="Namespace of the Pods of --probe.",
)
@data_dir_option("Data directory of `upwell serve`; its file system is checked.")
@router_options
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    envvar="UPWELL_CONFIG",
    show_envvar=True,
    help="Configuration file of `upwell serve`; a bucket that it names is tried.  [default: none]",
)
@click.option(
    "--security",
    is_flag=True,
    help="Check the running server against the hardening list instead (docs/hardening.md).",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def doctor(  # noqa: PLR0913 - each option is a parameter
    data_dir: Path,
    router: tuple[str, int],
    router_https: tuple[str, int],
    config: Path | None,
    output: str,
    *,
    security: bool,
    place: str,
    kubeconfig: Path | None,
    context: str,
    namespace: str,
    namespaces: tuple[str, ...],
    left_out: tuple[str, ...],
    probe_image: str,
    probe_namespace: str,
) -> None:
    """Check this machine, or a cluster, for what Upwell needs, with a remedy for each failure.

    Runs a container and removes it. Where images lie in a bucket, it writes small objects there and
    removes them. With --security it looks at files, settings and objects of the server that runs,
    and changes nothing. The router's addresses and the bucket are those of the server that runs
    with the data directory, unless options name others. Exits 1 if a check fails or could not be
    made, 0 with warnings or without.

    With --on kubernetes it asks a cluster, by kubectl, and changes nothing there: which kinds it
    serves, which rights the server's account lacks of those that `upwell install kubernetes` gives,
    what serves Routes, and which namespaces take no Pods of builds. With --probe besides, Pods of
    Upwell's image try to build, one for each privilege until one can, and are removed: so it finds
    the least privilege that builds need on these nodes.
    """
    if place == "kubernetes":
        installation = ClusterInstallation(
            namespace=namespace,
            namespaces=namespaces,
            features=frozenset(one for one in Feature if one.value not in left_out),
            admission=_ADMISSION not in left_out,
        )
        kubectl = KubectlRunner(kubeconfig, context)
        _print(_examine_cluster(kubectl, installation, probe_image, probe_namespace), output)
    if security:
        _check_security(data_dir.absolute(), output)
    try:
        routes = _routes(data_dir.absolute(), router, router_https)
        bucket = _bucket(data_dir.absolute(), config)
        found = asyncio.run(examine(data_dir.absolute(), routes, bucket))
    except OSError as error:
        where = error.filename or data_dir
        checks = [
            HostCheck(
                "data directory",
                HostCheckStatus.FAIL,
                f"{where}: {error.strerror}",
                "name a writable folder with --data-dir",
            )
        ]
        found = Examination(checks, _NO_CONF)
    _print(found, output)


def _examine_cluster(
    kubectl: KubectlRunner, installation: ClusterInstallation, probe_image: str, namespace: str
) -> Examination:
    from upwell.cli.doctor.build_probe import BuildProbe  # noqa: PLC0415 - loads the models
    from upwell.cli.doctor.cluster import examine_cluster  # noqa: PLC0415 - loads the models

    probe = BuildProbe(probe_image, namespace) if probe_image else None
    return Examination(examine_cluster(kubectl, installation, probe), _NO_CONF, "cluster")


def _print(found: Examination, output: str) -> NoReturn:
    if output == Format.TABLE:
        for line in _report(found):
            echo(line)
    else:
        write_report("Examination", _data(found), output)
    failed = {HostCheckStatus.FAIL, HostCheckStatus.UNKNOWN}
    sys.exit(Exit.FAILED if found.status in failed else Exit.DONE)


def _check_security(data_dir: Path, output: str) -> NoReturn:
    from upwell.cli.doctor.security import (  # noqa: PLC0415 - loads the models and aiohttp
        examine_security,
        security_data,
        security_report,
        worst,
    )

    found = asyncio.run(examine_security(data_dir))
    if output == Format.TABLE:
        for line in security_report(found):
            echo(line)
    else:
        write_report("SecurityExamination", security_data(found), output)
    sys.exit(Exit.FAILED if str(worst(found)) == HostCheckStatus.FAIL.value else Exit.DONE)


def _routes(data_dir: Path, router: tuple[str, int], router_https: tuple[str, int]) -> Addresses:
    """Return the router's addresses: as options name them, else as the server that runs does."""
    from upwell.app.hardening.served import read_served  # noqa: PLC0415 - loads the models

    served = read_served(data_dir)
    context = click.get_current_context()
    named = {"router": router, "router_https": router_https}
    for name in named:
        told: str = getattr(served, name, "")
        if told and context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            host, _, port = told.rpartition(":")
            named[name] = host, int(port)
    return tuple(_bare(address) for address in named.values())


def _bucket(data_dir: Path, config: Path | None) -> "BucketSettings | None":
    """Return the bucket with the images: as the file names it, else as the server that runs does.

    Raises CommandError.
    """
    from upwell.app.hardening.bucket import served_bucket  # noqa: PLC0415 - loads the models
    from upwell.app.hardening.served import read_served  # noqa: PLC0415 - loads the models
    from upwell.settings import SettingsError, read_file  # noqa: PLC0415 - loads the models

    if config is None:
        served = read_served(data_dir)
        return served_bucket(served.registry_bucket) if served is not None else None
    try:
        found = read_file(config).embedded_registry.bucket
    except SettingsError as error:
        raise CommandError(str(error)) from error
    return found if found.bucket else None


def _bare(address: tuple[str, int]) -> tuple[str, int]:
    """Return the address without the brackets of IPv6."""
    host, port = address
    return host.strip("[]"), port


def _report(found: Examination) -> Iterator[str]:
    rows = [("CHECK", "STATUS", "DETAIL")]
    rows += [(check.name, check.status, _one_line(check.detail)) for check in found.checks]
    lines = aligned(rows)
    yield next(lines)
    for check, line in zip(found.checks, lines, strict=True):
        yield line
        if check.remedy:
            yield f"  remedy: {check.remedy}"
    if found.conf.storage_driver:
        yield "\nUpwell's containers.conf on this machine:\n"
        yield from (f"  {line}".rstrip() for line in render(found.conf.decisions).splitlines()[1:])
        if not found.conf.decisions:
            yield "  (empty: the defaults of Podman and Buildah apply)"
        yield f"\nStorage driver: {found.conf.storage_driver} ({found.conf.storage_reason})"
    yield f"\n{_conclusion(found)}"


def _conclusion(found: Examination) -> str:
    bad = [check.name for check in found.checks if check.status is HostCheckStatus.FAIL]
    if bad:
        return f"Upwell cannot run on this {found.place}: {', '.join(bad)}"
    unknown = [check.name for check in found.checks if check.status is HostCheckStatus.UNKNOWN]
    if unknown:
        return (
            f"Whether Upwell can run on this {found.place} is not known: {', '.join(unknown)};"
            " ask again as an administrator of it"
        )
    warned = [check.name for check in found.checks if check.status is HostCheckStatus.WARN]
    limits = f", with limits: {', '.join(warned)}" if warned else ""
    return f"Upwell can run on this {found.place}{limits}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _data(found: Examination) -> dict[str, Any]:
    return {
        "status": str(found.status),
        "checks": [{**asdict(check), "status": str(check.status)} for check in found.checks],
        "containersConf": [asdict(decision) for decision in found.conf.decisions],
        "storageDriver": found.conf.storage_driver,
        "storageReason": found.conf.storage_reason,
    }
