"""Rules of a Pipeline or a Freeze beyond their types."""

import re
from collections.abc import Collection, Iterator, Sequence

from upwell.api.apps import LabelSelector
from upwell.api.clusters.validation import mirror_faults
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.pipeline import (
    GROUP_APPROVER,
    Approval,
    ComponentSource,
    Freeze,
    GitTarget,
    Pipeline,
    Stage,
    StageWorkloads,
)
from upwell.api.validation.checks import verification_faults
from upwell.api.validation.formats import has_backsteps
from upwell.api.validation.labels import is_label, label_faults
from upwell.api.validation.windows import window_faults, windows_faults
from upwell.api.values.addresses import host_and_port, is_http_url
from upwell.api.values.faults import Fault

_WORKLOADS = ("Deployment", "DeploymentConfig", "StatefulSet", "DaemonSet", "CronJob")
_REQUIRES = ("All", "Any")
_PROMOTIONS = ("Automatic", "Manual")
_ON_DEADLINE = ("Reject", "Wait")
_FORMATS = ("Plain", "Kustomize", "Helm", "Flux")
_BRANCH = re.compile(r"(?!.*(\.\.|//|\.lock$|[./]$))[A-Za-z0-9_][A-Za-z0-9_.,+#/-]*")
_LOGIN = re.compile(r"[a-z]+://[^/@]*:[^/@]*@")
_POLICY = re.compile(r"[^:\s]+:[^:\s]+")


def validate_pipeline(pipeline: Pipeline) -> Iterator[Fault]:
    """Yield every fault of a Pipeline."""
    spec = pipeline.spec
    components = [one.name for one in spec.components]
    if not components:
        yield Fault("spec.components", "required: what moves through the stages")
    yield from label_faults(components, "spec.components")
    for at, component in enumerate(spec.components):
        yield from _source(component, f"spec.components[{at}].from")
    if not spec.stages:
        yield Fault("spec.stages", "required: at least one stage")
    yield from label_faults([stage.name for stage in spec.stages], "spec.stages")
    for at, stage in enumerate(spec.stages):
        yield from _stage(stage, f"spec.stages[{at}]", components)
    yield from _order(spec.stages)
    yield from windows_faults(spec.freezes, "spec.freezes")


def validate_freeze(freeze: Freeze) -> Iterator[Fault]:
    """Yield every fault of a Freeze; one without any time lasts until it is deleted."""
    yield from window_faults(freeze.spec, "spec")


def _source(component: ComponentSource, path: str) -> Iterator[Fault]:
    source = component.from_
    if source.kind != IMAGE_STREAM_TAG:
        yield Fault(f"{path}.kind", f"expected {IMAGE_STREAM_TAG}")
    elif not all(source.name.partition(":")):
        yield Fault(f"{path}.name", f"{source.name!r} needs a tag: NAME:TAG")


def _stage(stage: Stage, path: str, components: Collection[str]) -> Iterator[Fault]:
    if stage.namespace is not None and not is_label(stage.namespace):
        yield Fault(f"{path}.namespace", f"{stage.namespace!r} is not a lower-case DNS label")
    yield from _one_of(stage.requires, _REQUIRES, f"{path}.requires")
    yield from _one_of(stage.promotion, _PROMOTIONS, f"{path}.promotion")
    yield from _clusters(stage, path)
    for at, workloads in enumerate(stage.workloads):
        yield from _workloads(workloads, f"{path}.workloads[{at}]", components)
    if not stage.workloads and stage.git is None:
        yield Fault(f"{path}.workloads", "required, unless the stage is kept in git")
    elif not stage.workloads and not stage.runs_here:
        yield Fault(f"{path}.workloads", "required: they show what runs in the cluster")
    if stage.address and host_and_port(stage.address) is None:
        yield Fault(f"{path}.address", f"{stage.address!r} is neither a URL nor host:port")
    yield from verification_faults(stage.verification, f"{path}.verification", components)
    if stage.approval is not None:
        yield from _approval(stage.approval, f"{path}.approval")
    yield from windows_faults(stage.windows, f"{path}.windows")
    yield from windows_faults(stage.freezes, f"{path}.freezes")
    if stage.mirror is not None:
        yield from mirror_faults(stage.mirror, f"{path}.mirror")
    if stage.git is not None:
        yield from _git(stage, stage.git, f"{path}.git", components)


def _clusters(stage: Stage, path: str) -> Iterator[Fault]:
    if stage.cluster and not is_label(stage.cluster):
        yield Fault(f"{path}.cluster", f"{stage.cluster!r} is not a lower-case DNS label")
    if stage.git is not None and stage.clusters is not None:
        why = "not with clusters, which get a Release in steps: let a stage with a place in git"
        yield Fault(f"{path}.git", f"{why} of its own name each `cluster`")
    if stage.clusters is None:
        for at, check in enumerate(stage.verification.checks):
            if check.job is not None and check.job.each_cluster:
                field = f"{path}.verification.checks[{at}].job.eachCluster"
                yield Fault(
                    field, "only in a stage on many clusters: set clusters, or leave it out"
                )
        return
    if stage.cluster:
        yield Fault(path, "set either cluster or clusters")
    yield from _selector(stage.clusters.selector, f"{path}.clusters.selector")
    if stage.clusters.canary is not None:
        yield from _selector(stage.clusters.canary, f"{path}.clusters.canary")


def _selector(selector: LabelSelector, path: str) -> Iterator[Fault]:
    if not selector.match_labels:
        yield Fault(f"{path}.matchLabels", "required")
    if selector.match_expressions:
        yield Fault(f"{path}.matchExpressions", "not supported: use matchLabels")


def _one_of(value: str, known: Collection[str], path: str) -> Iterator[Fault]:
    if value not in known:
        yield Fault(path, f"expected one of {', '.join(known)}")


def _known(names: Collection[str], components: Collection[str], path: str) -> Iterator[Fault]:
    for name in names:
        if name not in components:
            yield Fault(path, f"no component is named {name!r}")


def _workloads(entry: StageWorkloads, path: str, components: Collection[str]) -> Iterator[Fault]:
    yield from _one_of(entry.kind, _WORKLOADS, f"{path}.kind")
    if bool(entry.name) == (entry.selector is not None):
        yield Fault(path, "set either name or selector")
    if entry.selector is not None:
        yield from _selector(entry.selector, f"{path}.selector")
    yield from _known(entry.images.values(), components, f"{path}.images")


def _approval(approval: Approval, path: str) -> Iterator[Fault]:
    yield from _one_of(approval.on_deadline, _ON_DEADLINE, f"{path}.onDeadline")
    groups = [one for one in approval.approvers if one.startswith(GROUP_APPROVER)]
    if GROUP_APPROVER in groups:
        yield Fault(f"{path}.approvers", f"a group has a name: {GROUP_APPROVER}NAME")
    if approval.approvers and not groups and len(set(approval.approvers)) < approval.required:
        few = len(set(approval.approvers))
        yield Fault(
            f"{path}.required",
            f"{approval.required} approvals required, but only {few} approvers named",
        )


def _git(stage: Stage, git: GitTarget, path: str, components: Collection[str]) -> Iterator[Fault]:
    if not git.repository:
        yield Fault(f"{path}.repository", "required")
    elif _LOGIN.match(git.repository):
        yield Fault(f"{path}.repository", "has a password: put it in a Secret, named by `secret`")
    if _BRANCH.fullmatch(git.branch) is None:
        yield Fault(f"{path}.branch", f"{git.branch!r} is not the name of a branch")
    yield from _push_branch(git, f"{path}.pushBranch")
    yield from _one_of(git.format, _FORMATS, f"{path}.format")
    if git.path.startswith("/") or has_backsteps(git.path):
        yield Fault(f"{path}.path", f"{git.path!r} leaves the repository")
    yield from _known(git.keys, components, f"{path}.keys")
    for component, key in git.keys.items():
        if git.format == "Flux" and not _POLICY.fullmatch(key):
            yield Fault(f"{path}.keys.{component}", f"{key!r} is not a policy NAMESPACE:NAME")
    if git.secret is not None and not git.secret.name:
        yield Fault(f"{path}.secret.name", "required")
    if git.running_url and stage.workloads:
        yield Fault(f"{path}.runningUrl", "not with workloads: they show what runs")
    elif git.running_url and not is_http_url(git.running_url):
        yield Fault(f"{path}.runningUrl", "not an http or https URL")  # it may have a login


def _push_branch(git: GitTarget, path: str) -> Iterator[Fault]:
    if git.push_branch is None:
        if git.review_seconds is not None:
            yield Fault(path, "required with reviewSeconds: nothing is reviewed without it")
        return
    if "{promotion}" not in git.push_branch:
        yield Fault(path, "must have {promotion}: each one is reviewed on a branch of its own")
    plain = re.sub(r"\{(promotion|release|stage)\}", "x", git.push_branch)
    if _BRANCH.fullmatch(plain) is None:
        yield Fault(path, f"{git.push_branch!r} is not the name of a branch")


def _order(stages: Sequence[Stage]) -> Iterator[Fault]:
    """Yield unknown stages in `after`, and stages that can never be reached."""
    names = {stage.name for stage in stages}
    before: dict[str, set[str]] = {}
    previous: tuple[str, ...] = ()
    for at, stage in enumerate(stages):
        after = previous if stage.after is None else stage.after
        for name in after:
            if name not in names:
                yield Fault(f"spec.stages[{at}].after", f"no stage is named {name!r}")
        before.setdefault(stage.name, set()).update(name for name in after if name in names)
        previous = (stage.name,)
    reached: set[str] = set()
    while ready := {name for name, needs in before.items() if needs <= reached} - reached:
        reached |= ready
    for at, stage in enumerate(stages):
        if stage.name not in reached:
            yield Fault(f"spec.stages[{at}].after", f"stage {stage.name} comes after itself")
