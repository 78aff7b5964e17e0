"""Columns of the kinds that are kept as they are written: any field may hold anything."""

from collections.abc import Iterator

from upwell.api.columns.documents import Document, access_modes, items, part, texts
from upwell.api.meta import Column

_UNKNOWN, _UNSET = "<unknown>", "<unset>"
_SHOWN_METRICS = 2
_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_CLASS_OF_VOLUME = "volume.beta.kubernetes.io/storage-class"


def _cell(document: Document, field: str, empty: str) -> str:
    found = document.get(field)
    return empty if found is None else str(found)


def _reference(autoscaler: Document) -> str:
    target = part(autoscaler, "spec", "scaleTargetRef")
    return f"{target.get('kind') or ''}/{target.get('name') or ''}"


def _metrics(autoscaler: Document) -> str:
    """Say what an autoscaler aims at; nothing is measured for it here."""
    spec = part(autoscaler, "spec")
    found = [_metric(one) for one in items(spec, "metrics")]
    if not found and (share := spec.get("targetCPUUtilizationPercentage")) is not None:
        found = [f"cpu: {_UNKNOWN}/{share}%"]  # as autoscaling/v1 writes it
    text = ", ".join(found[:_SHOWN_METRICS])
    more = len(found) - _SHOWN_METRICS
    return f"{text} + {more} more..." if more > 0 else text


def _metric(metric: Document) -> str:
    kind = str(metric.get("type") or "")
    source = part(metric, f"{kind[:1].lower()}{kind[1:]}")
    target = part(source, "target")
    average = target.get("averageValue")
    match kind:
        case "Resource" | "ContainerResource":
            share = target.get("averageUtilization")
            aim = average if average is not None else "<auto>" if share is None else f"{share}%"
            return f"{source.get('name') or ''}: {_UNKNOWN}/{aim}"
        case "Pods":
            return f"{_UNKNOWN}/{average}"
        case "Object" | "External":
            aim = f"{target.get('value')}" if average is None else f"{average} (avg)"
            return f"{_UNKNOWN}/{aim}"
        case _:
            return "<unknown type>"


def _replicas(autoscaler: Document) -> str:
    return _cell(part(autoscaler, "status"), "currentReplicas", "0")


AUTOSCALER = (
    Column("REFERENCE", "spec.scaleTargetRef.name", text=_reference),
    Column("TARGETS", "spec.metrics", text=_metrics),
    Column("MINPODS", "spec.minReplicas", empty=_UNSET),
    Column("MAXPODS", "spec.maxReplicas", empty="0"),
    Column("REPLICAS", "status.currentReplicas", text=_replicas),
)
DISRUPTION_BUDGET = (
    Column("MIN AVAILABLE", "spec.minAvailable", empty="N/A"),
    Column("MAX UNAVAILABLE", "spec.maxUnavailable", empty="N/A"),
    Column("ALLOWED DISRUPTIONS", "status.disruptionsAllowed", empty="0"),
)
PRIORITY_CLASS = (
    Column("VALUE", "value", empty="0"),
    Column("GLOBAL-DEFAULT", "globalDefault", empty="false"),
    Column("PREEMPTIONPOLICY", "preemptionPolicy", wide=True),
)


def _class_name(storage_class: Document) -> str:
    metadata = part(storage_class, "metadata")
    annotations = part(metadata, "annotations")
    is_default = any(annotations.get(name) == "true" for name in _DEFAULT_CLASS)
    return f"{metadata.get('name')} (default)" if is_default else str(metadata.get("name"))


STORAGE_CLASS = (
    Column("NAME", "metadata.name", text=_class_name),
    Column("PROVISIONER", "provisioner"),
    Column("RECLAIMPOLICY", "reclaimPolicy", empty="Delete"),
    Column("VOLUMEBINDINGMODE", "volumeBindingMode", empty="Immediate"),
    Column("ALLOWVOLUMEEXPANSION", "allowVolumeExpansion", empty="false"),
)


def _claim(volume: Document) -> str:
    claim = part(volume, "spec", "claimRef")
    return f"{claim.get('namespace') or ''}/{claim.get('name') or ''}" if claim else ""


def _class_of_volume(volume: Document) -> str:
    annotations = part(volume, "metadata", "annotations")
    spec = part(volume, "spec")
    return str(annotations.get(_CLASS_OF_VOLUME) or spec.get("storageClassName") or "")


PERSISTENT_VOLUME = (
    Column("CAPACITY", "spec.capacity.storage", empty="0"),
    Column(
        "ACCESS MODES",
        "spec.accessModes[*]",
        text=lambda volume: access_modes(texts(part(volume, "spec"), "accessModes")),
        empty="",
    ),
    Column("RECLAIM POLICY", "spec.persistentVolumeReclaimPolicy", empty=""),
    Column("STATUS", "status.phase", empty=""),
    Column("CLAIM", "spec.claimRef.name", text=_claim, empty=""),
    Column("STORAGECLASS", "spec.storageClassName", text=_class_of_volume, empty=""),
    Column("VOLUMEATTRIBUTESCLASS", "spec.volumeAttributesClassName", empty=_UNSET),
    Column("REASON", "status.reason", empty=""),
    Column("VOLUMEMODE", "spec.volumeMode", wide=True, empty=_UNSET),
)


def _role(binding: Document) -> str:
    """Name a binding's role; OpenShift's own form says its kind by a namespace."""
    role = part(binding, "roleRef")
    kind = role.get("kind") or ("Role" if role.get("namespace") else "ClusterRole")
    return f"{kind}/{role.get('name') or ''}"


def _subjects(binding: Document, kind: str) -> Iterator[str]:
    for one in items(binding, "subjects"):
        if one.get("kind") == kind:
            name = str(one.get("name") or "")
            yield f"{one.get('namespace') or ''}/{name}" if kind == "ServiceAccount" else name


def _subjects_column(title: str, kind: str) -> Column:
    return Column(
        title,
        "subjects[*].name",
        wide=True,
        text=lambda binding: ", ".join(_subjects(binding, kind)),
        empty="",
    )


ROLE = (Column("CREATED AT", "metadata.creationTimestamp"),)
ROLE_BINDING = (
    Column("ROLE", "roleRef.name", text=_role),
    _subjects_column("USERS", "User"),
    _subjects_column("GROUPS", "Group"),
    _subjects_column("SERVICEACCOUNTS", "ServiceAccount"),
)
GROUP = (
    Column("USERS", "users[*]", text=lambda group: ", ".join(texts(group, "users")), empty=""),
)
_NOTHING = "<no value>"
SECURITY_CONTEXT_CONSTRAINTS = (
    Column("PRIV", "allowPrivilegedContainer", empty=_NOTHING),
    Column("CAPS", "allowedCapabilities", empty=_NOTHING),
    Column("SELINUX", "seLinuxContext.type", empty=_NOTHING),
    Column("RUNASUSER", "runAsUser.type", empty=_NOTHING),
    Column("FSGROUP", "fsGroup.type", empty=_NOTHING),
    Column("SUPGROUP", "supplementalGroups.type", empty=_NOTHING),
    Column("PRIORITY", "priority", empty=_NOTHING),
    Column("READONLYROOTFS", "readOnlyRootFilesystem", empty=_NOTHING),
    Column("VOLUMES", "volumes", empty=_NOTHING),
)
