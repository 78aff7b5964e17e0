"""Columns of workloads, their revisions, Jobs and CronJobs."""

from upwell.api.columns.documents import (
    Document,
    containers,
    items,
    label_selector,
    number,
    pairs,
    part,
    selector_at,
)
from upwell.api.meta import Column, ColumnType

_TEMPLATE = ("spec", "template", "spec")
_HOLD = Column("HOLD", "status.hold", notable=lambda workload: workload.status.hold is not None)


def _ready(workload: Document) -> str:
    replicas = part(workload, "spec").get("replicas")
    return f"{number(workload, 'status', 'readyReplicas')}/{1 if replicas is None else replicas}"


_READY = Column("READY", "status.readyReplicas", text=_ready)
_UP_TO_DATE = Column("UP-TO-DATE", "status.updatedReplicas", ColumnType.INTEGER)
_AVAILABLE = Column("AVAILABLE", "status.availableReplicas", ColumnType.INTEGER)
_READY_COUNT = Column("READY", "status.readyReplicas", ColumnType.INTEGER)

DEPLOYMENT = (
    *(_READY, _UP_TO_DATE, _AVAILABLE, _HOLD),
    *containers(*_TEMPLATE),
    selector_at("spec", "selector"),
)
STATEFUL_SET = (_READY, _HOLD, *containers(*_TEMPLATE))


def _node_selector(workload: Document) -> str:
    return pairs(part(workload, *_TEMPLATE, "nodeSelector"))


DAEMON_SET = (
    Column("DESIRED", "status.desiredNumberScheduled", ColumnType.INTEGER),
    Column("CURRENT", "status.currentNumberScheduled", ColumnType.INTEGER),
    Column("READY", "status.numberReady", ColumnType.INTEGER),
    Column("UP-TO-DATE", "status.updatedNumberScheduled", ColumnType.INTEGER),
    Column("AVAILABLE", "status.numberAvailable", ColumnType.INTEGER),
    Column("NODE SELECTOR", "spec.template.spec.nodeSelector", text=_node_selector),
    _HOLD,
    *containers(*_TEMPLATE),
    selector_at("spec", "selector"),
)


def _triggers(config: Document) -> str:
    """Return what starts a rollout, as OpenShift prints it: `config,image(web:latest)`."""
    names = {str(one.get("name")) for one in items(config, *_TEMPLATE, "containers")}
    texts: set[str] = set()
    for trigger in items(config, "spec", "triggers"):
        if trigger.get("type") == "ConfigChange":
            texts.add("config")
        elif trigger.get("type") == "ImageChange":
            params = part(trigger, "imageChangeParams")
            if params.get("automatic"):
                texts.add(_image_trigger(params, names))
        else:
            texts.add(str(trigger.get("type")))
    return ",".join(sorted(texts))


def _image_trigger(params: Document, names: set[str]) -> str:
    followers = sorted(map(str, params.get("containerNames") or ()))
    is_plain = len(names) == 1 or names >= set(followers)
    source = part(params, "from")
    kind = source.get("kind") or "ImageStreamTag"
    prefix = "" if is_plain else f"{','.join(followers)}:"
    word = "image" if kind == "ImageStreamTag" else kind
    return f"{word}({prefix}{source.get('name')})"


def _desired(config: Document) -> str:
    spec = part(config, "spec")
    return f"{spec.get('replicas', 0)}{' (during test)' if spec.get('test') else ''}"


DEPLOYMENT_CONFIG = (
    Column("REVISION", "status.latestVersion", ColumnType.INTEGER),
    Column("DESIRED", "spec.replicas", text=_desired),
    Column("CURRENT", "status.updatedReplicas", ColumnType.INTEGER),
    Column("TRIGGERED BY", "spec.triggers[*].type", text=_triggers, empty=""),
    _HOLD,
    Column("READY", "status.readyReplicas", ColumnType.INTEGER, wide=True),
    *containers(*_TEMPLATE),
    Column("AGE", "metadata.creationTimestamp", ColumnType.DATE, wide=True),
)
_REVISION = (
    Column("DESIRED", "spec.replicas", ColumnType.INTEGER),
    Column("CURRENT", "status.replicas", ColumnType.INTEGER),
    _READY_COUNT,
    *containers(*_TEMPLATE),
)
REPLICA_SET = (*_REVISION, selector_at("spec", "selector"))
REPLICATION_CONTROLLER = (
    *_REVISION,
    Column(
        "SELECTOR", "spec.selector", wide=True, text=lambda rc: pairs(part(rc, "spec", "selector"))
    ),
)


def _job_state(job: Document) -> str:
    """Say how a Job has ended, or why it does not run, or that it does."""
    found = {one.get("type"): one for one in items(job, "status", "conditions")}
    for ended in ("Complete", "Failed"):
        if found.get(ended, {}).get("status") == "True":
            return ended
    return str(found.get("Started", {}).get("reason") or "Pending")


def _completions(job: Document) -> str:
    succeeded = number(job, "status", "succeeded")
    wanted = part(job, "spec").get("completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallel = number(job, "spec", "parallelism")
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


JOB = (
    Column("STATUS", "status.conditions[*].type", text=_job_state),
    Column("COMPLETIONS", "status.succeeded", text=_completions),
    Column("DURATION", "status.startTime", ColumnType.SPAN, until="status.completionTime"),
    Column("FAILED", "status.failed", ColumnType.INTEGER, wide=True),
    *containers(*_TEMPLATE),
    selector_at("spec", "selector"),
)


def _active(cron_job: Document) -> str:
    return str(len(items(cron_job, "status", "active")))


_RUN_TEMPLATE = ("spec", "jobTemplate", "spec", "template", "spec")
CRON_JOB = (
    Column("SCHEDULE", "spec.schedule"),
    Column("TIMEZONE", "spec.timeZone"),
    Column("SUSPEND", "spec.suspend", ColumnType.BOOLEAN),
    Column("ACTIVE", "status.active", text=_active),
    Column("LAST SCHEDULE", "status.lastScheduleTime", ColumnType.DATE),
    *containers(*_RUN_TEMPLATE),
    Column(
        "SELECTOR",
        "spec.jobTemplate.spec.selector",
        wide=True,
        text=lambda job: label_selector(part(job, "spec", "jobTemplate", "spec", "selector")),
    ),
)
