"""Runs the lifecycle hooks of a rollout: each to one recorded end, whatever is killed meanwhile.

A hook's instance has a name that follows from the revision and the moment. It is found again
by another process, and removed only when its result is in the store.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime

from upwell.api.apps import HookResult, LifecycleHook, RevisionRecord
from upwell.api.image import ImageStream, TagReference
from upwell.api.meta import ObjectMeta, ObjectReference, Resource
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.hooks import (
    HOOK_CONTAINER,
    HookEnd,
    RetryAt,
    hook_image,
    hook_template,
    hooks_of,
    judge,
)
from upwell.policy.rollouts.instance import RevisionTemplate, build_task, instance_name
from upwell.policy.rollouts.rollout import HookMoment, restart_after_loss
from upwell.reconcilers.authority import Authority, MissingRightError
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store
from upwell.workload.instance_spec import InstanceSpec
from upwell.workload.interface import Instance, Runtime, State

type LoadRevision = Callable[[Resource, RevisionRecord], Awaitable[RevisionTemplate]]
"""Reads what a revision's instances need: Secrets, ConfigMaps, logins."""


class Hooks:
    """Runs the hooks of DeploymentConfigs."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        load: LoadRevision,
        clock: Callable[[], datetime],
        authority: Authority,
    ) -> None:
        self._authority = authority
        self._store = store
        self._runtime = runtime
        self._load = load
        self._clock = clock

    async def run(
        self,
        workload: Resource,
        record: RevisionRecord,
        moment: HookMoment,
        instances: Sequence[Instance],
    ) -> HookResult | RetryAt | None:
        """Take the hook one step further; return its result once it has one.

        None while it runs; a RetryAt while it waits for its next run. Raises WorkloadError,
        TemplateError or StoreError.
        """
        hook = hooks_of(workload)[moment]
        if hook.exec_new_pod is not None:
            name = hook_instance(workload, record, moment)
            found = next((one for one in instances if one.name == name), None)
            end = await self._execute(workload, record, moment, found)
            if end is None:
                return None
            verdict = judge(hook, end, self._clock())
            if isinstance(verdict, RetryAt):
                return await self._retry(workload, record, moment, verdict)
            if end.succeeded:
                await self._tag(workload, record, hook)
            return verdict
        await self._tag(workload, record, hook)
        return HookResult(phase="Complete", ended=self._clock())

    async def clear(self, instances: Iterable[Instance], keep: Collection[str]) -> None:
        """Remove the hooks' instances except those called as in `keep`."""
        for instance in instances:
            if instance.name not in keep:
                await self._runtime.stop(instance.name, 0)

    async def _execute(
        self,
        workload: Resource,
        record: RevisionRecord,
        moment: HookMoment,
        found: Instance | None,
    ) -> HookEnd | None:
        """Start the hook, or return how it ended; None while it runs."""
        if found is not None and found.state is State.LOST:
            if self._clock() < restart_after_loss(found.started_at, found.losses):
                return None
            found = None  # nobody knows how it ended: it runs again
        if found is None or found.state is State.CREATED:
            await self._runtime.start(await self._spec(workload, record, moment))
            return None
        if found.state is not State.EXITED:
            return None
        return HookEnd(found.started_at, found.succeeded, found.restarts, found.message)

    async def _retry(
        self, workload: Resource, record: RevisionRecord, moment: HookMoment, retry: RetryAt
    ) -> RetryAt | None:
        if self._clock() < retry.at:
            return retry
        await self._runtime.start(await self._spec(workload, record, moment))
        return None

    async def _spec(
        self, workload: Resource, record: RevisionRecord, moment: HookMoment
    ) -> InstanceSpec:
        await require_rights(self._authority, workload)
        hook = hooks_of(workload)[moment].exec_new_pod
        assert hook is not None  # noqa: S101 - the caller has looked
        environment = {
            "OPENSHIFT_DEPLOYMENT_NAME": f"{workload.name}-{record.revision}",
            "OPENSHIFT_DEPLOYMENT_NAMESPACE": workload.namespace,
        }
        template = hook_template(record.template, hook, environment)
        image = hook_image(record, hook.container_name)
        revision = await self._load(
            workload,
            record.model_copy(update={"template": template, "images": {HOOK_CONTAINER: image}}),
        )
        return build_task(revision, hook_instance(workload, record, moment), moment.value)

    async def _tag(self, workload: Resource, record: RevisionRecord, hook: LifecycleHook) -> None:
        await give_tags(self._store, self._authority, workload, record, hook)


async def give_tags(
    store: Store,
    authority: Authority,
    workload: Resource,
    record: RevisionRecord,
    hook: LifecycleHook,
) -> None:
    """Give the images of a revision the tags that a hook names.

    Raises MissingRightError, TemplateError or StoreError.
    """
    if hook.tag_images:
        await require_rights(authority, workload)
    for action in hook.tag_images:
        image = hook_image(record, action.container_name)
        named = StreamTag.of(action.to, workload.namespace)
        name, tag = named.stream_name, named.tag
        source = ObjectReference(kind="DockerImage", name=image)
        entry = TagReference(name=tag, from_=source)
        try:
            stream = await store.get(ImageStream, name.namespace, name.name)
        except NotFoundError:
            meta = ObjectMeta(namespace=name.namespace, name=name.name)
            try:
                stream = await store.create(ImageStream(metadata=meta))
            except AlreadyExistsError:
                stream = await store.get(ImageStream, name.namespace, name.name)
        others = tuple(one for one in stream.spec.tags if one.name != tag)
        if any(one.name == tag and one.from_ == source for one in stream.spec.tags):
            continue
        spec = stream.spec.model_copy(update={"tags": (*others, entry)})
        await store.update(stream.model_copy(update={"spec": spec}))


async def require_rights(authority: Authority, workload: Resource) -> None:
    """Raise MissingRightError unless the workload's author has the rights that it takes still."""
    if why := await authority.refusal(workload):
        raise MissingRightError(why)


def hook_instance(workload: Resource, record: RevisionRecord, moment: HookMoment) -> str:
    """Return the name of a hook's instance."""
    return f"{instance_name(workload, record.hash, moment.value)}-{record.revision}"


def retry_message(moment: HookMoment, retry: RetryAt) -> str:
    """Say that a hook is tried again, in OpenShift's words."""
    return f"{moment} hook failed; Retrying hook pod (retry #{retry.number})"


def with_hook(record: RevisionRecord, moment: HookMoment, result: HookResult) -> RevisionRecord:
    """Return the record with the result of one of its hooks."""
    return record.model_copy(update={"hooks": {**record.hooks, moment.value: result}})
