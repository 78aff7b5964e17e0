"""Rights that whoever decides what a build builds needs, besides those of its author; pure.

An upload, a commit, a variable or an argument says what is done with all that the BuildConfig's
author has given to the build: so it takes the rights to the Secrets that the build's commands see,
to outputs elsewhere and to the machine. Bases of other namespaces are no matter of theirs: what is
built has them in it, whoever decides the rest.
"""

from collections.abc import Iterator

from upwell.api.builds.build import Build, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import Resource
from upwell.policy.access.host_rights import host_needs
from upwell.policy.access.namespaces import namespace_needs
from upwell.policy.access.needs import Need
from upwell.policy.access.own_registry import registry_needs
from upwell.policy.access.roles import Action
from upwell.policy.builds.objects import objects_read, objects_required
from upwell.policy.rollouts.pod_template import SECRET


def decides_content(request: BuildRequest) -> bool:
    """Return True if a request for a build says what is built, and not only that it is."""
    docker = request.docker_strategy_options
    arguments = docker.build_args if docker is not None else ()
    return bool(request.binary or request.revision or request.env or arguments)


def content_needs(resource: Resource, registry: str = "") -> Iterator[Need]:
    """Yield the rights; `registry` is the `host:port` of the embedded one."""
    if not isinstance(resource, Build | BuildConfig):
        return
    yield from host_needs(resource)
    yield from namespace_needs(resource)
    if registry:
        yield from registry_needs(resource, registry)
    for name in _seen_secrets(resource):
        action = Action("use", "secrets", resource.namespace, name)
        yield Need(action, f"says what is done with Secret {name} in its build", stays=False)


def _seen_secrets(build: Build | BuildConfig) -> list[str]:
    """Return the Secrets that the build's own commands see: a custom builder has the logins too."""
    seen = set(objects_read(build))
    if build.spec.strategy.custom_strategy is not None:
        seen.update(objects_required(build))
    return sorted(source.name for source in seen if source.kind == SECRET)
