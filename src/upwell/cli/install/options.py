"""Options of the commands that work on a cluster by kubectl."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from upwell.cli.install.installation import NAME


def cluster_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options that choose a cluster."""
    for option in (
        click.option(
            "--context",
            default="",
            show_default="the kubeconfig's current one",
            metavar="NAME",
            help="Context of the kubeconfig.",
        ),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            default=None,
            show_default="KUBECONFIG, or ~/.kube/config",
            help="File that says how the cluster is reached.",
        ),
        click.option(
            "-n",
            "--namespace",
            default=NAME,
            show_default=True,
            help="Namespace of the server itself.",
        ),
    ):
        function = option(function)
    return function
