"""Sections of facts that `describe` shows for each kind; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import encode
from upwell.api.core import GRANTS_ANNOTATION, Event, ResourceQuota, Secret, ServiceAccount
from upwell.api.image import ImageStream, NamedTagEventList
from upwell.api.image_policies.policy import ImagePolicyResource
from upwell.api.meta import Condition, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.pod import ContainerState, Pod
from upwell.api.promotion import Promotion, Release
from upwell.api.route import Route
from upwell.api.values.author import AUTHOR_ANNOTATION
from upwell.api.values.base_changes import BuildRebase
from upwell.cli.core.output import MISSING, aligned, format_age, shortened
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.explain.freshness import Snapshot, short
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.rollouts.summary import desired_replicas, rollout_of
from upwell.policy.rollouts.triggers import followers_of, hold_text

type Rows = Sequence[Sequence[str]]

_HISTORY = 5
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Section:
    """A titled table, or with an empty title the facts at the head."""

    title: str
    rows: Rows


@dataclass(frozen=True, slots=True)
class DescriptionContext:
    """Objects and facts beside the described object itself."""

    snapshot: Snapshot
    events: Sequence[Event]
    instances: Sequence[Mapping[str, Any]]
    """Running instances of a workload, from the server's runtime."""
    now: datetime

    def age(self, time: datetime | None) -> str:
        """Return the age of `time`."""
        return format_age(time, self.now)


def render(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the sections as lines; empty ones are left out."""
    for section in sections:
        if not section.rows:
            continue
        indent = ""
        if section.title:
            yield ""
            yield f"{section.title}:"
            indent = "  "
        for line in aligned(section.rows):
            yield f"{indent}{line}"


def describe(resource: Resource, context: DescriptionContext) -> list[Section]:
    """Return the sections of an object."""
    sections = [Section("", list(_head(resource, context)))]
    match resource:
        case ImageStream():
            sections += _image_stream(resource, context)
        case BuildConfig():
            sections += _build_config(resource, context)
        case Build():
            sections += _build(resource, context)
        case Secret():
            sections.append(Section("Data", _secret_rows(resource)))
        case _ if isinstance(resource, WORKLOADS):
            sections += _workload(resource, context)
        case ResourceQuota():
            sections.append(Section("Limits", _quota_rows(resource)))
        case ServiceAccount():
            sections.append(Section("", list(_account_rows(resource))))
        case _:
            sections.append(Section("Spec", list(_flat(encode(resource).get("spec", {})))))
    if isinstance(resource, Pod):
        sections += _pod(resource, context)
    if isinstance(resource, ImagePolicyResource):
        sections.append(Section("Findings", list(_findings(resource, context))))
    if isinstance(resource, Pipeline | Release | Promotion):
        status = encode(resource).get("status", {})
        shown = {key: value for key, value in status.items() if key != "conditions"}
        sections.append(Section("Status", list(_flat(shown))))
    sections.append(Section("Conditions", list(_conditions(resource, context))))
    sections.append(Section("Events", list(_events(context))))
    return sections


def _head(resource: Resource, context: DescriptionContext) -> Iterator[Sequence[str]]:
    meta = resource.metadata
    yield "Name:", resource.name
    if resource.namespace:
        yield "Namespace:", resource.namespace
    yield "Kind:", f"{resource.KIND.kind} ({resource.KIND.api_version})"
    yield "Age:", context.age(meta.creation_timestamp)
    if resource.is_deleting:
        yield "Deleting:", f"since {context.age(meta.deletion_timestamp)}"
    if resource.labels:
        yield "Labels:", ", ".join(f"{key}={value}" for key, value in resource.labels.items())


def _image_stream(stream: ImageStream, context: DescriptionContext) -> Iterator[Section]:
    declared = {tag.name: tag for tag in effective_tags(stream)}
    rows = [("TAG", "DIGEST", "AGE", "FROM", "FIRST SEEN", "LAST CHECK", "NEXT CHECK")]
    names = dict.fromkeys([*declared, *(tag.tag for tag in stream.status.tags)])
    for name in names:
        history = stream.status.tag(name) or NamedTagEventList(tag=name)
        tag, state, latest = declared.get(name), history.import_state, history.latest
        source = f"{tag.from_.kind} {tag.from_.name}" if tag and tag.from_ else "pushed"
        following = state.next_check_time if state else None
        rows.append(
            (
                name,
                short(latest.image) if latest else "no image yet",
                context.age(latest.created) if latest else MISSING,
                source,
                context.age(state.first_seen) if state else MISSING,
                context.age(state.last_check_time) if state else MISSING,
                f"in {format_age(context.now, following)}" if following else MISSING,
            )
        )
    yield Section("Tags", rows if names else [])
    states = [(h.tag, h.import_state) for h in stream.status.tags if h.import_state is not None]
    yield Section(
        "Selected", [(tag, s.selected, s.selection_reason) for tag, s in states if s.selected]
    )
    yield Section(
        "Passed over",
        [
            (tag, short(s.ignored.digest), context.age(s.ignored.seen), s.ignored.message)
            for tag, s in states
            if s.ignored is not None
        ],
    )
    yield Section("Repository", list(_repository(stream, context)))
    history_rows = [
        (history.tag, short(event.image), context.age(event.created), event.docker_image_reference)
        for history in stream.status.tags
        for event in history.items[:_HISTORY]
    ]
    yield Section("History", history_rows)
    failed = [
        (history.tag, condition.reason, condition.message)
        for history in stream.status.tags
        for condition in history.conditions
        if not condition.is_true
    ]
    yield Section("Faults", failed)


def _repository(stream: ImageStream, context: DescriptionContext) -> Iterator[Sequence[str]]:
    state = stream.status.repository
    if state is None:
        return
    following = state.next_check_time
    yield "From:", state.source
    yield "Imported:", f"{len(state.tags)} tags"
    if state.additional_tags:
        yield "Beyond the limit:", f"{len(state.additional_tags)} tags"
    yield "Last check:", context.age(state.last_check_time)
    yield "Next check:", f"in {format_age(context.now, following)}" if following else MISSING


def _build_config(config: BuildConfig, context: DescriptionContext) -> Iterator[Section]:
    spec = config.spec
    rows = [
        ("Strategy:", spec.strategy.type or MISSING),
        ("From:", _reference(spec.strategy.base)),
        ("Source:", _source(config)),
        ("Output:", _reference(spec.output.to)),
        ("Run policy:", str(spec.run_policy or MISSING)),
        ("Freshness:", str(context.snapshot.config_freshness(config))),
    ]
    yield Section("Build", rows)
    triggers = [("TYPE", "FOLLOWS", "NOW", "LAST BUILT WITH", "STATE")]
    for image in context.snapshot.built_from(config):
        state = "paused" if image.paused else "due" if image.changed else "up to date"
        now, built = (short(text) if text else MISSING for text in (image.now, image.built))
        triggers.append(("ImageChange", image.name, now, built, state))
    others = [trigger.type for trigger in spec.triggers if trigger.type != "ImageChange"]
    triggers += [(kind, MISSING, MISSING, MISSING, "automatic") for kind in others]
    yield Section("Triggers", triggers if len(triggers) > 1 else [])
    builds = context.snapshot.builds(config.key)[:_HISTORY]
    yield Section(
        "Builds",
        [
            (
                build.name,
                str(build.status.phase),
                context.age(build.metadata.creation_timestamp),
                build.status.reason or "",
            )
            for build in builds
        ],
    )


def _build(build: Build, context: DescriptionContext) -> Iterator[Section]:
    status = build.status
    duration = f"{status.duration / _NANOSECONDS:.1f}s" if status.duration else MISSING
    rows = [
        ("Phase:", str(status.phase)),
        ("Reason:", status.reason or MISSING),
        ("Message:", status.message or MISSING),
        ("Started:", context.age(status.start_timestamp)),
        ("Duration:", duration),
        ("Source:", _source(build)),
        ("Commit:", build.revision.commit or MISSING),
        ("Output:", _reference(build.spec.output.to)),
    ]
    if status.output is not None and status.output.to is not None:
        rows.append(("Digest:", status.output.to.image_digest))
    if status.inputs:
        rows.append(("Inputs:", status.inputs))
    if status.rebase is not None:
        rows.append(("Rebased:", _rebased(status.rebase)))
    if status.renewed:
        rows.append(("Newer images:", f"{status.renewed} times before it began"))
    if status.attempts > 1:
        rows.append(("Attempts:", str(status.attempts)))
    if status.retry_time is not None:
        rows.append(("Next try:", f"in {format_age(context.now, status.retry_time)}"))
    yield Section("Build", rows)
    yield Section("Causes", [(text,) for text in _causes(build)])
    images = [
        (image.name, image.reference, "base" if image.final else "build only")
        for image in status.images
    ]
    yield Section("Images", images or [(i.from_.name, i.image) for i in build.spec.image_inputs])
    yield Section(
        "Stages", [(s.name, f"{s.duration_milliseconds / 1000:.1f}s") for s in status.stages]
    )
    yield Section("End of the log", [(line,) for line in (status.log_snippet or "").splitlines()])


def _rebased(rebase: BuildRebase) -> str:
    return f"the image of build {rebase.build}" if rebase.rebased else f"no: {rebase.message}"


def _causes(build: Build) -> Iterator[str]:
    for cause in build.spec.triggered_by:
        change = cause.image_change_build
        if change is None:
            yield cause.message
            continue
        name = change.from_ref.name if change.from_ref else "an image"
        old = f" from {short(change.previous_image_id)}" if change.previous_image_id else ""
        yield f"{cause.message}: {name}{old} to {short(change.image_id)}"


def _workload(workload: Workload, context: DescriptionContext) -> Iterator[Section]:
    status = workload.status
    held, rollout = hold_text(workload), rollout_of(as_rolled_out(workload))
    freshness = context.snapshot.workload_freshness(workload)
    if freshness.waits_for in {rollout.text, f"held: {held}"}:
        freshness = replace(freshness, waits_for="")
    rows = [
        ("Replicas:", f"{desired_replicas(workload)} wanted, {status.ready_replicas} ready"),
        ("Rollout:", shortened(rollout.text)),
        ("Freshness:", shortened(str(freshness))),
    ]
    if held:
        rows.append(("Hold:", held))
    yield Section("Workload", rows)
    followers = followers_of(workload)
    triggers = [("CONTAINER", "FOLLOWS", "MODE")]
    triggers += [(f.slot[0], f"{f.source}", str(f.mode)) for f in followers.entries]
    yield Section("Triggers", triggers if followers.entries else [])
    yield Section("Trigger faults", [(fault,) for fault in followers.faults])
    revisions = [("REVISION", "PHASE", "AGE", "CAUSE", "IMAGES")]
    revisions += [
        (
            str(r.revision),
            r.phase or MISSING,
            context.age(r.created),
            r.cause or MISSING,
            ", ".join(f"{name}={short(image)}" for name, image in r.images.items()),
        )
        for r in status.revisions
    ]
    yield Section("Revisions", revisions if status.revisions else [])
    keys = ("name", "state", "ready", "restarts", "address", "message")
    instances = [tuple(key.upper() for key in keys)]
    instances += [tuple(_text(item.get(key)) for key in keys) for item in context.instances]
    yield Section("Instances", instances if context.instances else [])


def _pod(pod: Pod, context: DescriptionContext) -> Iterator[Section]:
    rows = [("CONTAINER", "READY", "STATE", "SINCE", "RESTARTS", "LAST STATE")]
    for one in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        state, since = _container_state(one.state, context)
        last, ended = _container_state(one.last_state, context)
        before = f"{last}, {ended}" if one.last_state.terminated else MISSING
        restarts = str(one.restart_count)
        rows.append((one.name, _text(one.ready), state, since, restarts, before))
    yield Section("Containers", rows if len(rows) > 1 else [])


def _container_state(state: ContainerState, context: DescriptionContext) -> tuple[str, str]:
    """Return a state in words, and since when it is so."""
    if state.running is not None:
        return "Running", context.age(state.running.started_at)
    if (ended := state.terminated) is not None:
        return f"{ended.reason or 'Terminated'} (exit code {ended.exit_code})", context.age(
            ended.finished_at
        )
    return (state.waiting.reason if state.waiting is not None else MISSING), MISSING


def _conditions(resource: Resource, context: DescriptionContext) -> Iterator[Sequence[str]]:
    first_types: dict[str, str] = {}
    for condition in _all_conditions(resource):
        first = first_types.setdefault(condition.message, condition.type)
        as_before = condition.message and first != condition.type
        yield (
            condition.type,
            condition.status,
            condition.reason,
            context.age(condition.last_transition_time),
            f"as {first}" if as_before else shortened(condition.message),
        )


def _all_conditions(resource: Resource) -> Iterator[Condition]:
    if isinstance(resource, Route):
        for ingress in resource.status.ingress:
            yield from ingress.conditions
    found: object = getattr(getattr(resource, "status", None), "conditions", ())
    for condition in found if isinstance(found, tuple) else ():
        if isinstance(condition, Condition):
            yield condition


def _events(context: DescriptionContext) -> Iterator[Sequence[str]]:
    def seen(event: Event) -> datetime:
        return event.last_timestamp or event.metadata.creation_timestamp or context.now

    def order(event: Event) -> tuple[datetime, int, str]:
        # Times are whole seconds; a later write has a greater version, a number without zeros.
        version = event.resource_version
        return seen(event), len(version), version

    for event in sorted(context.events, key=order):
        times = f" (x{event.count})" if event.count > 1 else ""
        message = f"{shortened(event.message)}{times}"
        yield context.age(seen(event)), event.type, event.reason, message


def _quota_rows(quota: ResourceQuota) -> Rows:
    used = quota.status.used
    rows = [(name, str(used.get(name, MISSING)), str(n)) for name, n in quota.spec.hard.items()]
    return [("RESOURCE", "USED", "HARD"), *rows] if rows else []


def _account_rows(account: ServiceAccount) -> Iterator[Sequence[str]]:
    yield "Grants:", account.annotations.get(GRANTS_ANNOTATION) or "none: it may do nothing"
    yield "Given by:", account.annotations.get(AUTHOR_ANNOTATION) or MISSING


def _findings(policy: ImagePolicyResource, context: DescriptionContext) -> Iterator[Sequence[str]]:
    """Yield the images that the policy keeps out, or would if it did more than warn."""
    findings = policy.status.findings
    if findings:
        yield "IMAGE", "AT", "NAMESPACE", "SINCE", "WHY"
    for one in findings:
        why = f"{one.reason}: {shortened(one.message)}"
        since = context.age(one.since)
        yield shortened(one.image), one.at, one.namespace or MISSING, since, why


def _secret_rows(secret: Secret) -> Rows:
    """Return the keys and sizes; the values stay secret."""
    return [(key, f"{len(value)} bytes") for key, value in secret.decoded().items()]


def _reference(reference: Any) -> str:
    if reference is None or not reference.name:
        return MISSING
    where = f"{reference.namespace}/" if reference.namespace else ""
    return f"{reference.kind} {where}{reference.name}"


def _source(owner: BuildConfig | Build) -> str:
    source = owner.spec.source
    folder = f", folder {source.context_dir}" if source.context_dir else ""
    if source.git is not None:
        at = f" at {source.git.ref}" if source.git.ref else ""
        return f"{source.git.uri}{at}{folder}"
    return (source.type or MISSING) + folder


def _flat(value: object, path: str = "") -> Iterator[Sequence[str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for at, item in enumerate(value):
            yield from _flat(item, f"{path}[{at}]")
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list) else _text(value)
        yield f"{path}:", shown


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value in (None, "") else str(value)
