"""Columns of Namespaces, what they hold for workloads, their limits, Events and Templates."""

from upwell.api.columns.documents import Document, access_modes, count_of, first_line, items, part
from upwell.api.meta import Column, ColumnType

_DESCRIPTION = 80


def _namespace_phase(namespace: Document) -> str:
    return "Terminating" if part(namespace, "metadata").get("deletionTimestamp") else "Active"


NAMESPACE = (Column("STATUS", "status.phase", text=_namespace_phase),)
SECRET = (Column("TYPE", "type"), Column("DATA", "data", text=count_of("data")))
CONFIG_MAP = (Column("DATA", "data", text=count_of("data", "binaryData")),)

SERVICE_ACCOUNT = (
    Column("SECRETS", "secrets[*].name", text=count_of("secrets")),
    Column(
        "GRANTS",
        r"metadata.annotations.upwell\.dev/grants",
        notable=lambda account: "upwell.dev/grants" in account.annotations,
    ),
)


def _used(quota: Document, *, limits: bool) -> str:
    used, hard = part(quota, "status", "used"), part(quota, "spec", "hard")
    return ", ".join(
        f"{name}: {used.get(name, '0')}/{hard[name]}"
        for name in sorted(hard)
        if name.startswith("limits.") is limits
    )


RESOURCE_QUOTA = (
    Column("REQUEST", "spec.hard", text=lambda quota: _used(quota, limits=False)),
    Column("LIMIT", "spec.hard", text=lambda quota: _used(quota, limits=True), empty=""),
)
LIMIT_RANGE = (Column("CREATED AT", "metadata.creationTimestamp"),)


def _involved(event: Document) -> str:
    about = part(event, "involvedObject")
    return f"{str(about.get('kind') or '').lower()}/{about.get('name')}"


def _last_seen(event: Document) -> str:
    return str(event.get("lastTimestamp") or event.get("firstTimestamp") or "")


EVENT = (
    Column("LAST SEEN", "lastTimestamp", ColumnType.DATE, text=_last_seen, empty="<unknown>"),
    Column("TYPE", "type", empty=""),
    Column("REASON", "reason", empty=""),
    Column("OBJECT", "involvedObject.name", text=_involved),
    Column("MESSAGE", "message", empty=""),
    Column("SOURCE", "source.component", wide=True),
    Column("FIRST SEEN", "firstTimestamp", ColumnType.DATE, wide=True),
    Column("COUNT", "count", ColumnType.INTEGER, wide=True),
    Column("NAME", "metadata.name", wide=True),
)


def _modes(claim: Document) -> str:
    found = part(claim, "status").get("accessModes") or part(claim, "spec").get("accessModes")
    return access_modes(map(str, found or ()))


CLAIM = (
    Column("STATUS", "status.phase"),
    Column("VOLUME", "spec.volumeName", empty=""),
    Column("CAPACITY", "status.capacity.storage", empty=""),
    Column("ACCESS MODES", "status.accessModes[*]", text=_modes, empty=""),
    Column("STORAGECLASS", "spec.storageClassName", empty=""),
    Column("VOLUMEATTRIBUTESCLASS", "spec.volumeAttributesClassName", empty="<unset>"),
    Column("VOLUMEMODE", "spec.volumeMode", wide=True),
)


def _description(template: Document) -> str:
    text = str(part(template, "metadata", "annotations").get("description") or "")
    return first_line(text, _DESCRIPTION)


def _parameters(template: Document) -> str:
    """Say how many parameters there are, and how many of them have no value yet."""
    found = items(template, "parameters")
    unset = [one for one in found if not one.get("value")]
    generated = sum(bool(one.get("generate")) for one in unset)
    if blank := len(unset) - generated:
        return f"{len(found)} ({blank} blank)"
    return f"{len(found)} ({generated} generated)" if generated else f"{len(found)} (all set)"


TEMPLATE = (
    Column("DESCRIPTION", "metadata.annotations.description", text=_description, empty=""),
    Column("PARAMETERS", "parameters[*].name", text=_parameters),
    Column("OBJECTS", "objects[*].kind", text=count_of("objects")),
)
