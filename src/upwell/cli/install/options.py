"""Options of the commands that work on a cluster by kubectl."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, override

import click

from upwell.cli.install.installation import NAME

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:[.+-].*)?")


class KubernetesVersion(click.ParamType[tuple[int, int]]):
    """A version of Kubernetes as `kubectl version` prints it, or the first two numbers of one."""

    name = "version"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return major and minor version."""
        if isinstance(value, tuple):
            return value
        found = _VERSION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no version of Kubernetes, such as 1.20", param, ctx)
        return int(found[1]), int(found[2])


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
