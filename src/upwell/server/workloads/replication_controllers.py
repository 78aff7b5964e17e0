"""ReplicationControllers: the revisions of DeploymentConfigs, as `oc` reads and writes them.

`oc rollout cancel` and `retry` write annotations of a revision's ReplicationController: these are
requests about the rollout, and are carried out as such. Nothing else of it can be written.
"""

import uuid
from typing import Any, NoReturn, cast

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.rollouts import RolloutActions
from upwell.api.apps import DeploymentConfig, RevisionRecord
from upwell.api.codec import encode
from upwell.api.meta import ObjectMeta
from upwell.api.revisions import ReplicationController, ReplicationControllerSpec, RevisionStatus
from upwell.policy.rollouts.history import (
    CONFIG_ANNOTATION,
    PHASE_ANNOTATION,
    VERSION_ANNOTATION,
    Phase,
    controller_name,
    is_cancelled,
    revision_labels,
    revision_template,
    wanted_revision,
)
from upwell.policy.rollouts.summary import desired_replicas, serving
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_object, read_patched
from upwell.server.objects.write_options import write_options
from upwell.server.workloads.revisions import RevisionReader
from upwell.store.interface import ConflictError

_IDENTITIES = uuid.UUID("f0f5c3f4-6f0e-4f0b-8f39-3f2e6f4e6a52")
_REASON = "openshift.io/deployment.status-reason"
_CANCELLED = "openshift.io/deployment.cancelled"
_REPLICAS = "kubectl.kubernetes.io/desired-replicas"
_PHASES = {Phase.PROGRESSING: "Running", Phase.COMPLETE: "Complete", Phase.FAILED: "Failed"}
_NEW = "New"
_ONLY = (
    "a ReplicationController shows a revision: its rollout can be cancelled and retried"
    " (`oc rollout cancel|retry`, `upwell rollout cancel|retry`), all else is changed in"
)

type Document = dict[str, Any]


def controllers_of(config: DeploymentConfig) -> list[ReplicationController]:
    """Return one for each revision that is remembered, newest first."""
    wanted = wanted_revision(config)
    return [
        _controller(config, record, wanted=record.hash == wanted)
        for record in config.status.revisions
    ]


def _controller(
    config: DeploymentConfig, record: RevisionRecord, *, wanted: bool
) -> ReplicationController:
    name, replicas = controller_name(config.name, record.revision), desired_replicas(config)
    own = revision_labels(config.name, record.revision)
    selector = config.spec.selector or record.template.metadata.labels
    shown = _replicas(config, record, wanted=wanted)
    return ReplicationController(
        api_version=ReplicationController.KIND.api_version,
        kind=ReplicationController.KIND.kind,
        metadata=ObjectMeta(
            name=name,
            namespace=config.namespace,
            uid=str(uuid.uuid5(_IDENTITIES, f"{config.uid}/{record.revision}")),
            creation_timestamp=record.created,
            resource_version=config.resource_version,
            generation=1,
            labels={**config.labels, CONFIG_ANNOTATION: config.name},
            annotations=_annotations(config, record, replicas),
            owner_references=(config.owner_reference(),),
        ),
        spec=ReplicationControllerSpec(
            replicas=replicas if wanted else shown.replicas,
            min_ready_seconds=config.spec.min_ready_seconds,
            selector={**selector, **own},
            template=revision_template(config.name, record),
        ),
        status=shown,
    )


def _replicas(config: DeploymentConfig, record: RevisionRecord, *, wanted: bool) -> RevisionStatus:
    """Return what runs of a revision: of the wanted one, and of the one that serves beside it."""
    status = config.status
    ready = min(status.ready_replicas, status.updated_replicas)
    available = min(status.available_replicas, status.updated_replicas)
    if wanted:
        return RevisionStatus(
            replicas=status.updated_replicas,
            ready_replicas=ready,
            available_replicas=available,
            observed_generation=1,
        )
    if record != serving(config):
        return RevisionStatus(observed_generation=1)
    return RevisionStatus(
        replicas=max(status.replicas - status.updated_replicas, 0),
        ready_replicas=status.ready_replicas - ready,
        available_replicas=status.available_replicas - available,
        observed_generation=1,
    )


def _annotations(config: DeploymentConfig, record: RevisionRecord, replicas: int) -> dict[str, str]:
    found = {
        CONFIG_ANNOTATION: config.name,
        VERSION_ANNOTATION: str(record.revision),
        PHASE_ANNOTATION: _PHASES.get(Phase(record.phase), _NEW) if record.phase else _NEW,
        _REPLICAS: str(replicas),
    }
    if reason := (record.message or record.cause).partition("\n")[0]:
        found[_REASON] = reason
    if is_cancelled(record):
        found[_CANCELLED] = "true"
    return found


class ReplicationControllerHandlers:
    """Answers what is not read: requests about a rollout, and everything that cannot be done."""

    def __init__(
        self,
        reader: RevisionReader[DeploymentConfig],
        rollouts: RolloutActions,
        limits: ServerLimits,
    ) -> None:
        self._reader = reader
        self._rollouts = rollouts
        self._limits = limits

    async def replace(self, request: Request, target: RequestTarget) -> Response:
        """Cancel or retry the rollout of a revision, as the annotations ask."""
        wanted = await read_object(request, self._limits)
        found = await self._get(target)
        return await self._carry_out(request, found, wanted)

    async def patch(self, request: Request, target: RequestTarget) -> Response:
        """Cancel or retry the rollout of a revision, as the patched annotations ask."""
        found = await self._get(target)
        wanted = await read_patched(request, self._limits, encode(found))
        return await self._carry_out(request, found, wanted)

    async def refuse(self, request: Request, target: RequestTarget) -> NoReturn:
        """Say where to go instead."""
        raise ApiError(
            405,
            f"{request.method} is not possible for replicationcontrollers: they show the revisions"
            " of DeploymentConfigs. Apply a DeploymentConfig or a Deployment",
            key=target.key,
        )

    async def _carry_out(
        self, request: Request, found: ReplicationController, wanted: Document
    ) -> Response:
        owner = found.metadata.owner_references[0].name
        old, new = encode(found), wanted
        asked = (new.get("metadata") or {}).get("resourceVersion")
        if asked and asked != found.resource_version:
            raise ConflictError(found.key)
        if new.get("spec") != old.get("spec"):
            raise ApiError(422, f"{_ONLY} DeploymentConfig {owner}", key=found.key)
        before = found.annotations
        after = (new.get("metadata") or {}).get("annotations") or {}
        place = (DeploymentConfig, found.namespace, owner)
        dry_run = write_options(request).dry_run
        if after.get(_CANCELLED) == "true" and _CANCELLED not in before:
            verb = self._rollouts.cancel
        elif after.get(PHASE_ANNOTATION) == _NEW and before[PHASE_ANNOTATION] != _NEW:
            verb = self._rollouts.retry
        else:
            return object_response(request, found)
        changed = await verb(*place, revision=int(before[VERSION_ANNOTATION]), dry_run=dry_run)
        config = cast("DeploymentConfig", changed)
        named = (one for one in controllers_of(config) if one.name == found.name)
        return object_response(request, next(named, found))

    async def _get(self, target: RequestTarget) -> ReplicationController:
        return await self._reader.get(ReplicationController, target.namespace, target.name)
