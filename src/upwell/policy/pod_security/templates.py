"""The Pod templates of an object, each with its path and the namespace in which it runs; pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from upwell.api.apps import CronJob, DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod, template_of_pod
from upwell.api.pod_template import Container, PodTemplate
from upwell.api.validation.pods.unsupported import unsupported_faults
from upwell.api.values.faults import Fault
from upwell.api.values.security_context import ContainerSecurity, PodSecurity, SecurityFault

HOST_NAMESPACES = ("hostPID", "hostIPC")
"""Fields of a Pod's spec that ask for namespaces of the machine, besides its network and ids."""


@dataclass(frozen=True, slots=True)
class PlacedTemplate:
    """A Pod template of an object."""

    path: str
    """`spec.template`, say; empty: the object is one itself."""
    namespace: str
    template: PodTemplate
    commands: str = field(default="", compare=False)
    """Rest of what a check says of its Job, as one text."""

    @property
    def spec_path(self) -> str:
        """Path of its spec."""
        return f"{self.path}.spec" if self.path else "spec"

    @property
    def pod(self) -> PodSecurity:
        """Its securityContext."""
        return PodSecurity.parse(
            self.template.spec.security_context, f"{self.spec_path}.securityContext"
        )

    @property
    def host_users(self) -> bool | None:
        """Its hostUsers (core/v1 PodSpec): False asks for a user namespace, None leaves it open."""
        value = self.template.spec.host_users
        return value if isinstance(value, bool) else None

    @property
    def user_faults(self) -> tuple[SecurityFault, ...]:
        """Fault of a hostUsers that says neither."""
        value = self.template.spec.host_users
        if value is None or isinstance(value, bool):
            return ()
        path = f"{self.spec_path}.hostUsers"
        return (SecurityFault(path, "expected true or false", is_malformed=True),)

    def containers(self) -> Iterator[tuple[str, Container]]:
        """Yield its containers with their paths, init containers first."""
        spec = self.template.spec
        for name, several in (
            ("initContainers", spec.init_containers),
            ("containers", spec.containers),
        ):
            for at, container in enumerate(several):
                yield f"{self.spec_path}.{name}[{at}]", container

    def secured(
        self,
    ) -> Iterator[tuple[str, Container, ContainerSecurity, tuple[SecurityFault, ...]]]:
        """Yield its containers with what holds for each, and what is wrong with that."""
        pod = self.pod
        for path, container in self.containers():
            yield (
                path,
                container,
                *pod.container(container.security_context, f"{path}.securityContext"),
            )


def templates_of(resource: Resource) -> Iterator[PlacedTemplate]:
    """Yield the templates of an object: the checks of a Pipeline run in their stage's namespace."""
    match resource:
        case Deployment() | StatefulSet() | DaemonSet() | Job():
            yield PlacedTemplate("spec.template", resource.namespace, resource.spec.template)
        case DeploymentConfig() if resource.spec.template is not None:
            yield PlacedTemplate("spec.template", resource.namespace, resource.spec.template)
        case Pod():
            yield PlacedTemplate("", resource.namespace, template_of_pod(resource))
        case CronJob():
            template = resource.spec.job_template.spec.template
            yield PlacedTemplate("spec.jobTemplate.spec.template", resource.namespace, template)
        case Pipeline():
            for at, stage in enumerate(resource.spec.stages):
                namespace = stage.namespace or resource.namespace
                for number, check in enumerate(stage.verification.checks):
                    if check.job is not None and check.job.template is not None:
                        path = f"spec.stages[{at}].verification.checks[{number}].job.template"
                        commands = repr(check.job.model_dump(exclude={"template"}))
                        yield PlacedTemplate(path, namespace, check.job.template, commands)
        case _:
            pass


def template_faults(resource: Resource) -> tuple[Fault, ...]:
    """Return the fields of every template that cannot be honoured.

    They say how it is isolated, or ask for what one machine does not have.
    """
    found: list[Fault] = []
    for template in templates_of(resource):
        isolation = (*_shared_with_host(template), *faults_of_template(template))
        found += (Fault(fault.path, fault.message) for fault in isolation)
        found += unsupported_faults(template.template.spec, template.spec_path)
    return tuple(found)


def _shared_with_host(template: PlacedTemplate) -> Iterator[SecurityFault]:
    for name in HOST_NAMESPACES:
        if (template.template.spec.model_extra or {}).get(name):
            why = "instances never share this with the machine: remove the field"
            yield SecurityFault(f"{template.spec_path}.{name}", why)


def faults_of_template(template: PlacedTemplate) -> Iterator[SecurityFault]:
    """Yield what is wrong with the securityContexts of a template."""
    yield from template.user_faults
    yield from template.pod.faults
    for _, _, _, faults in template.secured():
        yield from faults
