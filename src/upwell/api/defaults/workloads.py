"""Defaults of workloads."""

from upwell.api.apps import DeploymentConfig, DeploymentTrigger


def complete_deployment_config(config: DeploymentConfig) -> DeploymentConfig:
    """Return a DeploymentConfig with its defaults."""
    spec = config.spec
    changes: dict[str, object] = {}
    if spec.triggers is None:
        changes["triggers"] = (DeploymentTrigger(type="ConfigChange"),)
    if spec.replicas is None:
        changes["replicas"] = 1
    if not spec.selector and spec.template is not None:
        changes["selector"] = dict(spec.template.metadata.labels)
    if not changes:
        return config
    return config.model_copy(update={"spec": spec.model_copy(update=changes)})
