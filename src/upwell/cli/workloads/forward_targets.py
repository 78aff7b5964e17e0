"""Targets of forwarded connections: a workload, a Pod, or a Pod of a Service."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import click

from upwell.api.apps import Job
from upwell.api.core import Service, ServicePort
from upwell.api.pod import Pod
from upwell.cli.core.errors import CommandError
from upwell.cli.core.names import Named, parse_entered
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.routing.port_protocols import HEADLESS
from upwell.store.interface import ApiClient, Conversation, Selector

_PROTOCOL = "v5.channel.k8s.io"


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """Workload, Pod or Service, and instance of a workload, to forward to."""

    named: Named
    namespace: str
    instance: str = ""

    async def converse(
        self, client: ApiClient, port: int
    ) -> AbstractAsyncContextManager[Conversation]:
        """Open one connection to a port, of a Service to a Pod that is ready now.

        Raises a StoreError, and CommandError for a Service without that port or without a Pod.
        """
        named, number = self.named, port
        if named.resource is Service:
            pod, number = await self._pod_of_service(client, port)
            named = Named(Pod, pod.name)
        params = [("ports", str(number))]
        params += [("instance", self.instance)] if self.instance else []
        return client.converse(
            named.resource, self.namespace, named.name, "portforward", params, _PROTOCOL
        )

    async def _pod_of_service(self, client: ApiClient, number: int) -> tuple[Pod, int]:
        service = await client.get(Service, self.namespace, self.named.name)
        port = next((port for port in service.spec.ports if port.port == number), None)
        if port is None:
            has = ", ".join(str(port.port) for port in service.spec.ports) or "none"
            raise CommandError(f"{self.named} does not have a service port {number}; it has {has}")
        if not service.spec.selector:
            raise CommandError(f"{self.named} has no selector: forward to a pod or workload")
        selector = Selector(self.namespace, labels=service.spec.selector)
        pods = (await client.list(Pod, selector)).items
        pod = max((pod for pod in pods if _runs(pod)), key=_is_ready, default=None)
        if pod is None:
            raise CommandError(
                f"no pod of {self.named} runs: see `upwell get pods -n {self.namespace}`"
            )
        if service.spec.cluster_ip == HEADLESS:
            return pod, number
        return pod, _number_in(pod, port, self.named)


def target_of(what: str, namespace: str, instance: str = "") -> ForwardTarget:
    """Return the target that `KIND/NAME`, or the `NAME` of a Pod, names; raises UsageError."""
    named = parse_entered((what,))
    if not issubclass(named.resource, (*WORKLOADS, Job, Pod, Service)):
        raise click.UsageError(f"cannot forward to {named}: name a workload, pod or service")
    if instance and named.resource is Service:
        raise click.UsageError("--instance is of a workload, not of a service")
    return ForwardTarget(named, named.namespace(namespace), instance)


def _runs(pod: Pod) -> bool:
    return pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None


def _is_ready(pod: Pod) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)


def _number_in(pod: Pod, port: ServicePort, named: Named) -> int:
    """Return the number of a Service's port in a Pod (core/v1 ServicePort targetPort)."""
    target = port.target_port or port.port
    if isinstance(target, int):
        return target
    for container in pod.spec.containers:
        for one in container.ports:
            if one.name == target:
                return one.container_port
    raise CommandError(f"pod/{pod.name} has no port {target!r}, which {named} leads to")
