"""Options of the commands that work on a cluster by kubectl."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, override

import click

from upwell.api.validation.formats import label_problem, subdomain_problem
from upwell.cli.install.installation import NAME
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.registry_names import canonical_registry
from upwell.oci.registry_prefix import registry_prefix

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


class CheckedName(click.ParamType[str]):
    """A name that is refused before it comes into a manifest.

    `read` returns it in its one spelling, and raises ValueError with what is right. Where it may be
    `blank`, an empty one is none.
    """

    def __init__(self, name: str, read: Callable[[str], str], *, blank: bool = True) -> None:
        self.name = name
        self._read = read
        self._blank = blank

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        try:
            return self._read(str(value)) if value or not self._blank else ""
        except ValueError as error:
            self.fail(f"{str(value)!r}: {error}", param, ctx)


def _read_namespace(text: str) -> str:
    if why := label_problem(text):
        raise ValueError(why)
    return text


def _read_object_name(text: str) -> str:
    if why := subdomain_problem(text):
        raise ValueError(why)
    return text


def _read_image(text: str) -> str:
    try:
        Reference.parse(text)
    except InvalidReferenceError as error:
        raise ValueError(f"name an image, such as registry.example/upwell:1 ({error})") from error
    return text


def _read_registry(text: str) -> str:
    try:
        return canonical_registry(text)
    except ValueError as error:
        raise ValueError(f"name a registry as HOST[:PORT], without a scheme ({error})") from error


def _read_prefix(text: str) -> str:
    try:
        return registry_prefix(text)
    except ValueError as error:
        message = f"name a registry as HOST[:PORT][/PATH], without a scheme ({error})"
        raise ValueError(message) from error


NAMESPACE = CheckedName("namespace", _read_namespace, blank=False)
OBJECT_NAME = CheckedName("name", _read_object_name)
IMAGE = CheckedName("image", _read_image)
REGISTRY = CheckedName("registry", _read_registry)
REGISTRY_PREFIX = CheckedName("prefix", _read_prefix)


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
            type=NAMESPACE,
            default=NAME,
            metavar="NAMESPACE",
            show_default=True,
            help="Namespace of the server itself.",
        ),
    ):
        function = option(function)
    return function
