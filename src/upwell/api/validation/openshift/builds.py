"""Rules of BuildConfigs and Builds (build/v1)."""

from collections.abc import Iterator, Sequence
from typing import Any

from upwell.api.builds.build import Build, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.api.builds.inputs import BuildOutput, CommonSpec, ImageLabel
from upwell.api.validation.formats import label_value_problem, qualified_name_problem
from upwell.api.validation.openshift.references import output_faults, secret_faults
from upwell.api.validation.openshift.sources import SourceRules
from upwell.api.validation.openshift.strategies import argument_faults, strategy_faults
from upwell.api.validation.openshift.triggers import trigger_faults
from upwell.api.validation.openshift.variables import variable_faults
from upwell.api.validation.shapes import mapped, quantity
from upwell.api.values.base_changes import ON_BASE_CHANGE_ANNOTATION, OnBaseChange
from upwell.api.values.faults import Fault


def build_config_faults(config: BuildConfig) -> Iterator[Fault]:
    """Yield every fault of a defaulted BuildConfig."""
    yield from trigger_faults(config)
    yield from _common(config.spec)
    answer = config.annotations.get(ON_BASE_CHANGE_ANNOTATION)
    if answer is not None and answer not in tuple(OnBaseChange):
        path = f"metadata.annotations[{ON_BASE_CHANGE_ANNOTATION}]"
        yield Fault.not_supported(path, answer, OnBaseChange)


def build_faults(build: Build) -> Iterator[Fault]:
    """Yield every fault of a defaulted Build that a client wrote."""
    yield from _common(build.spec)


def build_request_faults(request: BuildRequest) -> Iterator[Fault]:
    """Yield what would be wrong with the Build that is asked for."""
    yield from variable_faults(request.env, "env")
    options = request.docker_strategy_options
    if options is not None:
        yield from argument_faults(options.build_args, "dockerStrategyOptions.buildArgs")


def _common(spec: CommonSpec) -> Iterator[Fault]:
    """Yield what is wrong with what a BuildConfig and its Builds share."""
    yield from SourceRules(spec.source, spec.strategy).faults()
    yield from _output(spec.output, "spec.output")
    yield from strategy_faults(spec.strategy)
    hook = spec.post_commit
    if hook is not None and hook.script and hook.command:
        yield Fault.invalid("spec.postCommit", "", "cannot use command and script together")
    for key, value in (spec.node_selector or {}).items():
        if qualified_name_problem(key.strip()) or label_value_problem(value.strip()):
            yield Fault.invalid(f"spec.nodeSelector[{key}]", value, "must be a valid node selector")
    if spec.resources is not None:
        for field in ("requests", "limits"):
            amounts: dict[str, Any] = getattr(spec.resources, field)
            yield from _amounts(amounts, f"spec.resources.{field}")


_amounts = mapped(quantity)


def _output(output: BuildOutput, path: str) -> Iterator[Fault]:
    if output.to is not None:
        yield from output_faults(output.to, f"{path}.to")
    yield from secret_faults(output.push_secret, f"{path}.pushSecret")
    yield from _labels(output.image_labels, f"{path}.imageLabels")


def _labels(labels: Sequence[ImageLabel], path: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for at, label in enumerate(labels):
        where = f"{path}[{at}].name"
        if not label.name:
            yield Fault.required(where)
        elif why := qualified_name_problem(label.name):
            yield Fault.invalid(where, label.name, why)
        elif label.name in seen:
            yield Fault.invalid(where, label.name, "duplicate name")
        seen.add(label.name)
