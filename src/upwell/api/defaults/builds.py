"""Defaults of build.openshift.io."""

from collections.abc import Mapping
from typing import Any

from upwell.api.builds.build import Build
from upwell.api.builds.config import (
    BuildConfig,
    BuildConfigSpec,
    BuildTriggerPolicy,
    ImageChangeTrigger,
)
from upwell.api.builds.inputs import (
    BinaryBuildSource,
    BuildSource,
    BuildStrategy,
    CommonSpec,
    DockerBuildStrategy,
)
from upwell.api.codec import encode
from upwell.api.defaults.names import IMAGE_STREAM_TAG, with_kind, with_tag
from upwell.api.meta import Model

_TRIGGER_TYPES = {
    "imageChange": "ImageChange",
    "github": "GitHub",
    "gitlab": "GitLab",
    "bitbucket": "Bitbucket",
    "generic": "Generic",
    "configChange": "ConfigChange",
}


_KNOWN_TRIGGERS = frozenset(_TRIGGER_TYPES.values())
_OWN_FIELDS = frozenset({"digest", "forced", "imageInputs", "previousImageID"})
"""Upwell's own fields of a Build's spec: clients of OpenShift leave out what they do not know."""

STORED: Mapping[type[Model], tuple[str, ...]] = {
    BuildConfigSpec: (
        "run_policy",
        "successful_builds_history_limit",
        "failed_builds_history_limit",
    ),
}


def trigger_policy(trigger: BuildTriggerPolicy) -> dict[str, object]:
    """Return the image that a trigger follows where it names none: the strategy's."""
    if trigger.type != "ImageChange" or trigger.image_change is not None:
        return {}
    return {"image_change": ImageChangeTrigger()}


def settled_config(config: BuildConfig) -> BuildConfig:
    """Return a BuildConfig with types that follow from what it says, and with names of today."""
    spec = _common(config.spec)
    strategy = spec.strategy
    named = (
        trigger.model_copy(update={"type": _TRIGGER_TYPES[trigger.type]})
        if trigger.type in _TRIGGER_TYPES
        else trigger
        for trigger in spec.triggers
    )
    # One of no known type starts nothing, and is taken out.
    triggers = tuple(trigger for trigger in named if trigger.type in _KNOWN_TRIGGERS)
    # A default trigger (no `from`) follows the strategy's image: without a stream it follows none.
    if strategy.base is None or strategy.base.kind != IMAGE_STREAM_TAG:
        triggers = tuple(
            trigger
            for trigger in triggers
            if trigger.type != "ImageChange"
            or (trigger.image_change is not None and trigger.image_change.from_ is not None)
        )
    changes = {"triggers": triggers}
    return config.model_copy(update={"spec": spec.model_copy(update=changes)})


def settled_build(build: Build) -> Build:
    """Return a Build with types that follow from what it says; a person may write one."""
    return build.model_copy(update={"spec": _common(build.spec)})


def with_unchanged_spec(build: Build, old: Build) -> Build:
    """Return a Build with the stored spec, if it says the same as far as its client knows fields.

    Clients of OpenShift write a Build as a whole (`oc cancel-build`), with empty values where there
    is nothing. The push secret alone may change.
    """
    output = old.spec.output.model_copy(update={"push_secret": build.spec.output.push_secret})
    stored = old.model_copy(update={"spec": old.spec.model_copy(update={"output": output})})
    same = _says_the_same(encode(build).get("spec"), encode(stored).get("spec"))
    return build.model_copy(update={"spec": stored.spec}) if same else build


def _says_the_same(new: Any, old: Any) -> bool:
    if isinstance(new, dict) or isinstance(old, dict):
        new, old = new or {}, old or {}
        if not isinstance(new, dict) or not isinstance(old, dict):
            return False
        return all(
            (name in _OWN_FIELDS and name not in new)
            or _says_the_same(new.get(name), old.get(name))
            for name in new.keys() | old.keys()
        )
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_says_the_same, new, old))
    return bool(new == old or not (new or old))


def _common[S: CommonSpec](spec: S) -> S:
    """Complete what a BuildConfig and a Build share."""
    changes: dict[str, object] = {
        "strategy": _strategy(spec.strategy),
        "source": _source(spec.source),
    }
    if spec.output.to is not None:
        changes["output"] = spec.output.model_copy(update={"to": with_tag(spec.output.to)})
    return spec.model_copy(update=changes)


def _source(source: BuildSource) -> BuildSource:
    """Complete a source: a Binary one needs no `binary`, a type follows from what is set."""
    changes: dict[str, object] = {}
    if source.binary is None and source.git is None and (source.type or "").lower() == "binary":
        changes["binary"] = BinaryBuildSource()
    if source.images:
        changes["images"] = tuple(
            image.model_copy(update={"from_": with_kind(image.from_)}) for image in source.images
        )
    source = source.model_copy(update=changes)
    return source.model_copy(update={"type": source.type or _source_type(source)})


def _source_type(source: BuildSource) -> str:
    for name, value in (
        ("Git", source.git),
        ("Binary", source.binary),
        ("Dockerfile", source.dockerfile),
        ("Image", source.images or None),
    ):
        if value is not None:
            return name
    return "None"


def _strategy(strategy: BuildStrategy) -> BuildStrategy:
    """Recompute the type from what is set; an unnamed kind of `from` is an ImageStreamTag."""
    if strategy == BuildStrategy(type="Docker"):
        strategy = strategy.model_copy(update={"docker_strategy": DockerBuildStrategy()})
    if strategy.source_strategy is not None:
        source = strategy.source_strategy
        source = source.model_copy(update={"from_": with_tag(source.from_)})
        return strategy.model_copy(update={"type": "Source", "source_strategy": source})
    if strategy.docker_strategy is not None:
        docker = strategy.docker_strategy
        if docker.from_ is not None:
            docker = docker.model_copy(update={"from_": with_tag(docker.from_)})
        return strategy.model_copy(update={"type": "Docker", "docker_strategy": docker})
    if strategy.custom_strategy is not None:
        custom = strategy.custom_strategy
        custom = custom.model_copy(update={"from_": with_tag(custom.from_)})
        return strategy.model_copy(update={"type": "Custom", "custom_strategy": custom})
    if strategy.jenkins_pipeline_strategy is not None:
        return strategy.model_copy(update={"type": "JenkinsPipeline"})
    return strategy
