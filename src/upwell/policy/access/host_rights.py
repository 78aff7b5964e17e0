"""Rights to use the host that the Pod templates and builds of an object take; pure."""

from collections.abc import Iterator

from upwell.api.builds.build import Build
from upwell.api.builds.config import HOST_NETWORK_ANNOTATION, BuildConfig
from upwell.api.meta import Resource
from upwell.policy.access.declared import run_beside
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Action
from upwell.policy.builds.host_network import asks_for_host_network
from upwell.policy.pod_security.standards import (
    HostRight,
    Profile,
    Violation,
    host_users,
    violations,
)
from upwell.policy.pod_security.templates import templates_of
from upwell.policy.rollouts.pod_template import template_hash


def host_needs(resource: Resource) -> Iterator[Need]:
    """Yield the rights to the host.

    Everything that profile `baseline` forbids takes the right to the part of the host that it is
    about, and so do the host's user ids. Whoever changes the template, what chooses its images,
    or a command that runs in it (a hook, a check) is asked again: they say what is done with it.
    """
    if isinstance(resource, Build | BuildConfig) and asks_for_host_network(resource):
        action = Action("use", HostRight.NETWORK, resource.namespace)
        why = f"has annotation {HOST_NETWORK_ANNOTATION}, the machine's network for its builds"
        yield Need(action, why, stays=False)
    for template in templates_of(resource):
        chosen = f"{run_beside(resource)} {template.commands}"
        for found in (*violations(template, Profile.BASELINE), *host_users(template)):
            if found.right is not None:
                action = Action("use", found.right, template.namespace)
                yield Need(
                    action, _why(found), subject=f"{template_hash(template.template)} {chosen}"
                )


def _why(found: Violation) -> str:
    return f"has {found.path} ({found.message.removesuffix(' is not allowed')})"
