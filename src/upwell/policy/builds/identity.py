"""A build's identity: the hash of everything that its result depends on."""

from collections.abc import Mapping
from typing import Any

from upwell.api.builds.build import BuildSpec
from upwell.api.pod_template import DEFAULT_FILE_MODE
from upwell.formats.canonical_json import canonical_json
from upwell.oci import Digest
from upwell.policy.builds.environment import takes_secrets
from upwell.policy.images.streams import INPUTS_TAG_PREFIX

_TAG_DIGITS = 40
_IDENTITY_VERSION = 1
"""Raised when the same inputs would be built into something else than before."""
_LATER = {"apiVersion": "v1", "defaultMode": DEFAULT_FILE_MODE}
"""Defaults of variables and volumes; builds of before they were stored are found again."""


def inputs_hash(
    spec: BuildSpec,
    commit: str,
    images: Mapping[str, str],
    objects: Mapping[str, str] | None = None,
) -> str:
    """Return the hash of a build's inputs as 64 hex digits.

    Args:
        spec: the Build's spec: source, strategy, output labels, hook.
        commit: what the git ref names, or "" without a git source.
        images: every external image by its name in the build, pinned by digest.
        objects: what stands for the content of each Secret and ConfigMap that goes in.
    """
    strategy = spec.strategy.model_dump(mode="json", by_alias=True, exclude_none=True)
    for kind in ("sourceStrategy", "dockerStrategy", "customStrategy"):
        # Pull credentials and the base's name do not change what is built; its digest does.
        for irrelevant in ("pullSecret", "from", "forcePull"):
            strategy.get(kind, {}).pop(irrelevant, None)
        if not strategy.get(kind, {}).get("volumes"):
            strategy.get(kind, {}).pop("volumes", None)  # as before there were volumes
    source = spec.source.model_dump(mode="json", by_alias=True, exclude_none=True)
    source.pop("sourceSecret", None)
    for image in source.get("images", ()):
        for irrelevant in ("pullSecret", "from"):
            image.pop(irrelevant, None)
    if commit:
        source.get("git", {}).pop("ref", None)
    document = {
        "version": _IDENTITY_VERSION,
        "strategy": _bare(strategy),
        "source": source,
        "commit": commit,
        "images": {name: reference.partition("@")[2] for name, reference in images.items()},
        "labels": [(label.name, label.value) for label in spec.output.image_labels],
        "postCommit": spec.post_commit.model_dump(mode="json") if spec.post_commit else None,
    }
    if _takes_secret_variables(spec):
        document["secretVariables"] = "of commands"  # once, results had them in their ENV
    if objects:
        document["objects"] = dict(objects)
    return Digest.of(canonical_json(document)).hex


def _bare(value: Any) -> Any:
    """Return data without the defaults that were not always stored."""
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in value.items() if _LATER.get(key) != one}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _takes_secret_variables(spec: BuildSpec) -> bool:
    docker = spec.strategy.docker_strategy
    return takes_secrets([*spec.strategy.env, *(docker.build_args if docker else ())])


def inputs_tag(inputs: str) -> str:
    """Return the tag under which the result of these inputs is kept in the internal registry."""
    return f"{INPUTS_TAG_PREFIX}{inputs[:_TAG_DIGITS]}"
