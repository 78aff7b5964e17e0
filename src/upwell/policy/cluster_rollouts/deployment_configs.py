"""Objects of a cluster that roll a DeploymentConfig out, as OpenShift makes them; pure."""

from upwell.api.apps import DeploymentConfig, LifecycleHook, RevisionRecord
from upwell.api.meta import ObjectMeta
from upwell.api.pod import Pod
from upwell.api.pod_template import Container, PodTemplate
from upwell.api.revisions import ReplicationController, ReplicationControllerSpec
from upwell.policy.cluster_rollouts.replicas import HASH_ANNOTATION
from upwell.policy.rollouts.history import (
    CONFIG_ANNOTATION,
    CONFIG_LABEL,
    PHASE_ANNOTATION,
    VERSION_ANNOTATION,
    Phase,
    controller_name,
    revision_labels,
    revision_template,
)
from upwell.policy.rollouts.hooks import FailurePolicy, hook_template
from upwell.policy.rollouts.rollout import HookMoment

ROLE_LABEL = "openshift.io/deployer-pod.type"
"""On the Pod of a hook: `hook-pre`, `hook-mid` or `hook-post`."""
_PHASES = {Phase.PROGRESSING: "Running", Phase.COMPLETE: "Complete", Phase.FAILED: "Failed"}


def images_of_template(template: PodTemplate) -> dict[str, str]:
    """Return the images of all containers; nodes resolve those that have no digest."""
    pod = template.spec
    containers: tuple[Container, ...] = (*pod.containers, *pod.init_containers)
    return {one.name: one.image for one in containers}


def phase_of(record: RevisionRecord) -> str:
    """Return OpenShift's word for the phase of a revision."""
    return _PHASES.get(Phase(record.phase), "New") if record.phase else "New"


def new_controller(config: DeploymentConfig, record: RevisionRecord) -> ReplicationController:
    """Return the ReplicationController of a revision, which runs nothing yet."""
    selector = config.spec.selector or record.template.metadata.labels
    return ReplicationController(
        api_version=ReplicationController.KIND.api_version,
        kind=ReplicationController.KIND.kind,
        metadata=ObjectMeta(
            name=controller_name(config.name, record.revision),
            namespace=config.namespace,
            labels={**config.labels, CONFIG_ANNOTATION: config.name},
            annotations={
                CONFIG_ANNOTATION: config.name,
                VERSION_ANNOTATION: str(record.revision),
                PHASE_ANNOTATION: phase_of(record),
                HASH_ANNOTATION: record.hash,
            },
            owner_references=(config.owner_reference(),),
        ),
        spec=ReplicationControllerSpec(
            replicas=0,
            min_ready_seconds=config.spec.min_ready_seconds,
            selector={**selector, **revision_labels(config.name, record.revision)},
            template=revision_template(config.name, record),
        ),
    )


def hook_pod_name(config: DeploymentConfig, record: RevisionRecord, moment: HookMoment) -> str:
    """Return the name of the Pod that runs a hook, as OpenShift's deployer gives it."""
    return f"{controller_name(config.name, record.revision)}-hook-{moment.value}"


def hook_pod(
    config: DeploymentConfig, record: RevisionRecord, moment: HookMoment, hook: LifecycleHook
) -> Pod:
    """Return the Pod that runs a hook's command; one that is to be retried is, by its node."""
    assert hook.exec_new_pod is not None  # noqa: S101 - the caller has looked
    environment = {
        "OPENSHIFT_DEPLOYMENT_NAME": controller_name(config.name, record.revision),
        "OPENSHIFT_DEPLOYMENT_NAMESPACE": config.namespace,
    }
    template = hook_template(record.template, hook.exec_new_pod, environment)
    retried = hook.failure_policy == FailurePolicy.RETRY
    changes = {"restart_policy": "OnFailure" if retried else "Never"}
    return Pod(
        api_version=Pod.KIND.api_version,
        kind=Pod.KIND.kind,
        metadata=ObjectMeta(
            name=hook_pod_name(config, record, moment),
            namespace=config.namespace,
            labels={
                CONFIG_LABEL: config.name,
                ROLE_LABEL: f"hook-{moment.value}",
            },
            annotations={
                CONFIG_ANNOTATION: config.name,
                VERSION_ANNOTATION: str(record.revision),
            },
            owner_references=(config.owner_reference(),),
        ),
        spec=template.spec.model_copy(update=changes),
    )
