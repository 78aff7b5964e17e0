"""Compose projects that share a namespace: none changes or deletes what it has not made."""

from collections.abc import Iterable

from upwell.cli.core.documents import LoadedManifest
from upwell.cli.core.errors import CommandError, Exit
from upwell.policy.adoption.names import PROJECT_LABEL
from upwell.store.interface import ApiClient, NotFoundError
from upwell.store.kubernetes_errors import StoreForbiddenError


async def refuse_other_projects(client: ApiClient, manifests: Iterable[LoadedManifest]) -> None:
    """Raise CommandError with the objects that exist and do not belong to the Compose project.

    They are another's, or nobody's: what was adopted, added or applied from elsewhere.

    Raises StoreError.
    """
    others: list[str] = []
    for manifest in manifests:
        wanted = manifest.resource
        if (project := wanted.labels.get(PROJECT_LABEL)) is None:
            continue
        try:
            there = await client.get(type(wanted), wanted.namespace, wanted.name)
        except (NotFoundError, StoreForbiddenError):
            continue
        owner = there.labels.get(PROJECT_LABEL)
        if owner is None:
            others.append(
                f"{there.key} was not made by the Compose project {project}:"
                f" `upwell label {type(there).KIND.plural}/{there.name} -n {there.namespace}"
                f" {PROJECT_LABEL}={project}` gives it to the project"
            )
        elif owner != project:
            others.append(f"{there.key} belongs to the Compose project {owner}, not to {project}")
    if others:
        raise CommandError(
            "nothing was changed:\n  "
            + "\n  ".join(others)
            + "\ngive each project a namespace of its own (-n), or `name:` in the file the same"
            " project",
            Exit.USAGE,
        )
