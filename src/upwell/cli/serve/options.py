"""Options of the commands that run on the server's machine: its folder, its router."""

from collections.abc import Callable
from pathlib import Path

import click

from upwell.cli.core.addresses import parse_address

type Command = Callable[..., None]


def data_dir_option(purpose: str) -> Callable[[Command], Command]:
    """Return the option `--data-dir`; `purpose` is its help."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("/var/lib/upwell"),
        show_default=True,
        envvar="UPWELL_DATA_DIR",
        show_envvar=True,
        help=purpose,
    )


def platform_options(function: Command) -> Command:
    """Add `--on`, `--kubeconfig` and `--replica-address`."""
    function = click.option(
        "--replica-address",
        metavar="HOST[:PORT]",
        default="",
        envvar="UPWELL_REPLICA_ADDRESS",
        show_envvar=True,
        help="Where other replicas on the cluster reach this one.  [default: that of --listen]",
    )(function)
    function = click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        default=None,
        envvar="UPWELL_KUBECONFIG",
        show_envvar=True,
        help="Access to the cluster of --on kubernetes.  [default: the Pod's service account]",
    )(function)
    return click.option(
        "--on",
        "platform",
        type=click.Choice(["machine", "kubernetes"]),
        default=None,
        envvar="UPWELL_ON",
        show_envvar=True,
        help="Where objects are and workloads run.  [default: machine]",
    )(function)


def router_options(function: Command) -> Command:
    """Add `--router` and `--router-https`; the command gets host and port of each."""
    function = click.option(
        "--router-https",
        callback=parse_address,
        default="127.0.0.1:7443",
        show_default=True,
        envvar="UPWELL_ROUTER_HTTPS",
        show_envvar=True,
        help="HOST:PORT where the router serves Routes with TLS.",
    )(function)
    return click.option(
        "--router",
        callback=parse_address,
        default="127.0.0.1:7088",
        show_default=True,
        envvar="UPWELL_ROUTER",
        show_envvar=True,
        help="HOST:PORT where the router serves Routes.",
    )(function)
