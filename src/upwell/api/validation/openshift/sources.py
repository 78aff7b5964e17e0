"""Rules of the sources of builds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from upwell.api.builds.inputs import (
    BuildSource,
    BuildStrategy,
    ConfigMapBuildSource,
    GitBuildSource,
    ImageSource,
    SecretBuildSource,
)
from upwell.api.validation.formats import has_backsteps, subdomain_problem
from upwell.api.validation.openshift.paths import file_name_problem, relative_problem
from upwell.api.validation.openshift.references import image_faults, secret_faults
from upwell.api.values.faults import Fault

_MAX_DOCKERFILE = 60_000
_SCHEME = re.compile(r"(?i)[a-z][-a-z0-9+.]*:")
_NO_URL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class SourceRules:
    """The rules of one source, which depend on the strategy that takes it."""

    source: BuildSource
    strategy: BuildStrategy
    path: ClassVar[str] = "spec.source"

    def faults(self) -> Iterator[Fault]:
        """Yield everything that is wrong with the source."""
        source, path = self.source, self.path
        yield from self._inputs()
        if source.git is not None:
            yield from _git(source.git, f"{path}.git")
        as_file = source.binary.as_file if source.binary else None
        if as_file and (why := file_name_problem(as_file)):
            yield Fault.invalid(f"{path}.binary.asFile", as_file, why)
        if source.dockerfile is not None and len(source.dockerfile) > _MAX_DOCKERFILE:
            yield Fault.too_long(f"{path}.dockerfile", _MAX_DOCKERFILE)
        if source.context_dir and has_backsteps(source.context_dir):
            why = "must stay in the source, without '..'"
            yield Fault.invalid(f"{path}.contextDir", source.context_dir, why)
        yield from secret_faults(source.source_secret, f"{path}.sourceSecret")
        yield from _images(source.images, f"{path}.images")
        for at, entry in enumerate(source.secrets):
            yield from self._mounted(entry, entry.secret.name, f"{path}.secrets[{at}]", "secret")
        for at, held in enumerate(source.config_maps):
            where = f"{path}.configMaps[{at}]"
            yield from self._mounted(held, held.config_map.name, where, "configMap")

    def _inputs(self) -> Iterator[Fault]:
        source, strategy = self.source, self.strategy
        given = (source.git, source.binary, source.dockerfile, source.images or None)
        if strategy.docker_strategy is not None and all(one is None for one in given):
            why = "must provide a value for at least one of git, binary, dockerfile, and images"
            yield Fault.invalid(self.path, "", why)
        if source.git is not None and source.binary is not None and not strategy.custom_strategy:
            why = "may not be set when {} is also set"
            yield Fault.invalid(f"{self.path}.git", "", why.format("binary"))
            yield Fault.invalid(f"{self.path}.binary", "", why.format("git"))
        pipeline = strategy.jenkins_pipeline_strategy
        if pipeline is not None and not pipeline.jenkinsfile and source.git is None:
            why = (
                "must be set when using Jenkins Pipeline strategy with Jenkinsfile from a git repo"
            )
            yield Fault.invalid(f"{self.path}.git", "", why)

    def _mounted(
        self, entry: SecretBuildSource | ConfigMapBuildSource, name: str, path: str, field: str
    ) -> Iterator[Fault]:
        if not name:
            yield Fault.required(f"{path}.{field}.name")
        elif why := subdomain_problem(name):
            yield Fault.invalid(f"{path}.{field}.name", name, why)
        folder = entry.destination_dir or ""
        if has_backsteps(folder):
            yield Fault.invalid(f"{path}.destinationDir", folder, "must not contain '..'")
        # A Source build's container may have an absolute one.
        if folder.startswith("/") and self.strategy.docker_strategy is not None:
            why = "for the docker strategy the destinationDir has to be relative path"
            yield Fault.invalid(f"{path}.destinationDir", folder, why)


def _git(git: GitBuildSource, path: str) -> Iterator[Fault]:
    # Neither is shown: it may have a login.
    if not git.uri:
        yield Fault.required(f"{path}.uri")
    elif _SCHEME.match(git.uri) and not _is_url(git.uri):
        yield Fault(f"{path}.uri", "Invalid value: not a URL")
    for field, proxy in (("httpProxy", git.http_proxy), ("httpsProxy", git.https_proxy)):
        if proxy and not (_is_url(proxy) or _is_url(f"http://{proxy}")):
            yield Fault(f"{path}.{field}", "Invalid value: neither a URL nor host:port")


def _is_url(text: str) -> bool:
    if _NO_URL.search(text) or text != text.strip():
        return False
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - reading it checks it
    except ValueError:
        return False
    return " " not in url.netloc


def _images(images: tuple[ImageSource, ...], path: str) -> Iterator[Fault]:
    names: set[str] = set()
    for at, image in enumerate(images):
        where = f"{path}[{at}]"
        yield from image_faults(image.from_, f"{where}.from")
        yield from secret_faults(image.pull_secret, f"{where}.pullSecret")
        if not image.paths and not image.as_:
            for field in ("paths", "as"):
                yield Fault.required(f"{where}.{field}", "must specify 'paths' or 'as'")
        for number, name in enumerate(image.as_):
            if not name:
                yield Fault.invalid(f"{where}.as[{number}]", name, "must not be empty")
            elif name in names:
                yield Fault.duplicate(f"{where}.as[{number}]", name)
            names.add(name)
        for number, copied in enumerate(image.paths):
            place = f"{where}.paths[{number}]"
            yield from _source_path(copied.source_path, f"{place}.sourcePath")
            yield from _destination(copied.destination_dir, f"{place}.destinationDir")


def _source_path(text: str, path: str) -> Iterator[Fault]:
    if not text:
        yield Fault.required(path)
    elif not text.startswith("/"):
        yield Fault.invalid(path, text, "must be an absolute path")


def _destination(text: str, path: str) -> Iterator[Fault]:
    if not text:
        yield Fault.required(path)
    elif why := relative_problem(text):
        yield Fault.invalid(path, text, why)
