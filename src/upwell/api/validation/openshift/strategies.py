"""Rules of the strategies of builds."""

from collections.abc import Iterator, Sequence

from upwell.api.builds.inputs import (
    BuildStrategy,
    BuildVolume,
    CustomSecret,
    DockerBuildStrategy,
    JenkinsPipelineBuildStrategy,
)
from upwell.api.pod_template import EnvVar
from upwell.api.validation.formats import label_problem, subdomain_problem
from upwell.api.validation.openshift.paths import folder_problem, relative_problem
from upwell.api.validation.openshift.references import image_faults, secret_faults
from upwell.api.validation.openshift.variables import variable_faults
from upwell.api.values.faults import Fault

_PATH = "spec.strategy"
_OPTIMIZATIONS = ("None", "SkipLayers", "SkipLayersAndWarn")
_MAX_JENKINSFILE = 100_000


def strategy_faults(strategy: BuildStrategy) -> Iterator[Fault]:
    """Yield everything that is wrong with a strategy."""
    strategies = {
        "sourceStrategy": strategy.source_strategy,
        "dockerStrategy": strategy.docker_strategy,
        "customStrategy": strategy.custom_strategy,
        "jenkinsPipelineStrategy": strategy.jenkins_pipeline_strategy,
    }
    found = [name for name, value in strategies.items() if value is not None]
    if len(found) != 1:
        names = "sourceStrategy, customStrategy, dockerStrategy, or jenkinsPipelineStrategy"
        why = f"must provide a value for exactly one of {names}"
        yield Fault.invalid(_PATH, strategy.type or "", why)
        return
    path = f"{_PATH}.{found[0]}"
    if strategy.base is not None:
        yield from image_faults(strategy.base, f"{path}.from")
    yield from secret_faults(strategy.pull_secret, f"{path}.pullSecret")
    yield from variable_faults(strategy.env, f"{path}.env")
    if strategy.docker_strategy is not None:
        yield from _docker(strategy.docker_strategy, path)
    if strategy.jenkins_pipeline_strategy is not None:
        yield from _pipeline(strategy.jenkins_pipeline_strategy, path)
    custom = strategy.custom_strategy
    yield from _Mounts().faults(strategy.volumes, custom.secrets if custom else (), path)


def _docker(docker: DockerBuildStrategy, path: str) -> Iterator[Fault]:
    policy = docker.image_optimization_policy
    if policy is not None and policy not in _OPTIMIZATIONS:
        yield Fault.not_supported(f"{path}.imageOptimizationPolicy", policy, _OPTIMIZATIONS)
    if docker.dockerfile_path and (why := relative_problem(docker.dockerfile_path)):
        yield Fault.invalid(f"{path}.dockerfilePath", docker.dockerfile_path, why)
    yield from argument_faults(docker.build_args, f"{path}.buildArgs")


def argument_faults(arguments: Sequence[EnvVar], path: str) -> Iterator[Fault]:
    """Yield what is wrong with the arguments of a Dockerfile's build."""
    for at, argument in enumerate(arguments):
        where = f"{path}[{at}].name"
        if not argument.name:
            yield Fault.required(where)
        elif "=" in argument.name:
            yield Fault.invalid(where, argument.name, "must not contain '='")


def _pipeline(pipeline: JenkinsPipelineBuildStrategy, path: str) -> Iterator[Fault]:
    if pipeline.jenkinsfile_path and pipeline.jenkinsfile:
        why = "must provide a value for at most one of jenkinsfilePath, or jenkinsfile"
        yield Fault.invalid(path, "", why)
    if pipeline.jenkinsfile and len(pipeline.jenkinsfile) > _MAX_JENKINSFILE:
        yield Fault.too_long(f"{path}.jenkinsfile", _MAX_JENKINSFILE)
    if pipeline.jenkinsfile_path and (why := relative_problem(pipeline.jenkinsfile_path)):
        yield Fault.invalid(f"{path}.jenkinsfilePath", pipeline.jenkinsfile_path, why)


class _Mounts:
    """Volumes of a build, and files of a custom one: each has a name and a place of its own."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._places: set[str] = set()

    def faults(
        self, volumes: Sequence[BuildVolume], secrets: Sequence[CustomSecret], path: str
    ) -> Iterator[Fault]:
        """Yield what is wrong with them."""
        for at, volume in enumerate(volumes):
            where = f"{path}.volumes[{at}]"
            yield from self._name(volume.name, f"{where}.name")
            yield from _volume_source(volume, f"{where}.source")
            if not volume.mounts:
                yield Fault.required(f"{where}.mounts", "must supply at least one mount")
            for number, mount in enumerate(volume.mounts):
                field = f"{where}.mounts[{number}].destinationPath"
                yield from self._place(mount.destination_path, field)
        for at, secret in enumerate(secrets):
            yield from self._place(secret.mount_path, f"{path}.secrets[{at}].mountPath")

    def _name(self, name: str, path: str) -> Iterator[Fault]:
        if not name:
            yield Fault.required(path)
        elif why := label_problem(name):
            yield Fault.invalid(path, name, why)
        elif name in self._names:
            yield Fault.duplicate(path, name)
        self._names.add(name)

    def _place(self, place: str, path: str) -> Iterator[Fault]:
        if not place:
            yield Fault.required(path)
        elif why := folder_problem(place):
            yield Fault.invalid(path, place, why)
        elif place.rstrip("/") in self._places:
            yield Fault.duplicate(path, place)
        self._places.add(place.rstrip("/"))


def _volume_source(volume: BuildVolume, path: str) -> Iterator[Fault]:
    source = volume.source
    found = {"Secret": source.secret, "ConfigMap": source.config_map}
    given = [name for name, value in found.items() if value is not None]
    if not source.type:
        yield Fault.required(f"{path}.type", "must not be blank")
    if not given:
        yield Fault.invalid(path, "", "must specify one volume source: secret or configMap")
    elif len(given) > 1:
        yield Fault.invalid(path, "", "only one volume source is allowed")
    elif source.type and source.type != given[0]:
        why = "source type and specified type must match"
        yield Fault.invalid(f"{path}.type", source.type, why)
    if source.secret is not None:
        yield from _object_name(source.secret.secret_name, f"{path}.secret.secretName")
    if source.config_map is not None:
        yield from _object_name(source.config_map.name, f"{path}.configMap.name")


def _object_name(name: str | None, path: str) -> Iterator[Fault]:
    if not name:
        yield Fault.required(path)
    elif why := subdomain_problem(name):
        yield Fault.invalid(path, name, why)
