"""Volumes of a Pod by their source: one at most, with what it needs."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import (
    label_problem,
    no_backsteps_problem,
    qualified_name_problem,
    subdomain_problem,
    volume_path_problem,
)
from upwell.api.validation.pods.environment import file_field, resource_reference
from upwell.api.validation.shapes import (
    Check,
    anything,
    flag,
    forbidden_together,
    integer,
    listed,
    mapped,
    one_of,
    quantity,
    record,
    text,
)
from upwell.api.values.faults import Fault

_MODE = integer(0, 0o777)
_SHORTEST_TOKEN, _LONGEST_TOKEN = 600, 2**32
_KEYS = listed(
    record(
        {"key": text(), "path": text(volume_path_problem), "mode": _MODE}, required=("key", "path")
    )
)
_SEVERAL = "may not specify more than 1 volume type"
UNSUPPORTED = (
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
)
"""Sources that one machine does not have; nobody looks at their fields."""


def _one_field(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    found = [name for name in ("fieldRef", "resourceFieldRef") if value.get(name) is not None]
    if not found:
        yield Fault.required(path, "one of fieldRef and resourceFieldRef is required")
    elif len(found) > 1:
        why = "fieldRef and resourceFieldRef can not be specified simultaneously"
        yield Fault.invalid(path, "resource", why)


_DOWNWARD = {
    "items": listed(
        record(
            {
                "path": text(volume_path_problem),
                "mode": _MODE,
                "fieldRef": file_field,
                "resourceFieldRef": resource_reference("containerName"),
            },
            _one_field,
            required=("path",),
        )
    )
}
_KEYS_OF = {"name": text(), "items": _KEYS, "optional": flag}
_PROJECTIONS: dict[str, Check] = {
    "secret": record(_KEYS_OF, required=("name",)),
    "configMap": record(_KEYS_OF, required=("name",)),
    "downwardAPI": record(_DOWNWARD),
    "serviceAccountToken": record(
        {
            "path": text(volume_path_problem),
            "audience": text(),
            "expirationSeconds": integer(_SHORTEST_TOKEN, _LONGEST_TOKEN),
        },
        required=("path",),
    ),
    "clusterTrustBundle": record({"path": text(volume_path_problem)}, required=("path",)),
}


def _own_paths(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Check that no two files of a projected volume have one path."""
    taken = set()
    for at, source in enumerate(value.get("sources") or ()):
        for name in ("secret", "configMap", "downwardAPI"):
            for number, item in enumerate((source.get(name) or {}).get("items") or ()):
                if (place := item.get("path")) in taken:
                    where = f"{path}.sources[{at}].{name}.items[{number}].path"
                    yield Fault.invalid(where, place, "conflicting duplicate paths")
                taken.add(place)


def _amounts(value: object, path: str) -> Iterator[Fault]:
    """Check what a claim asks for: storage, at least."""
    yield from mapped(quantity, qualified_name_problem)(value, path)
    yield from record({}, required=("storage",))(value, path)


claim_spec = record(
    {
        "accessModes": listed(
            one_of(
                "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod", empty=False
            )
        ),
        "resources": record(
            {"requests": _amounts, "limits": mapped(quantity, qualified_name_problem)},
            required=("requests",),
        ),
        "storageClassName": text(subdomain_problem),
        "volumeMode": one_of("Filesystem", "Block"),
        "volumeName": text(),
    },
    required=("accessModes", "resources"),
)
"""The spec of a PersistentVolumeClaim, of a template for one too."""

sources: dict[str, Check] = {
    "emptyDir": record({"medium": text(), "sizeLimit": quantity}),
    "hostPath": record(
        {
            "path": text(no_backsteps_problem),
            "type": one_of(
                "DirectoryOrCreate",
                "Directory",
                "FileOrCreate",
                "File",
                "Socket",
                "CharDevice",
                "BlockDevice",
            ),
        },
        required=("path",),
    ),
    "secret": record(
        {"secretName": text(), "items": _KEYS, "optional": flag, "defaultMode": _MODE},
        required=("secretName",),
    ),
    "configMap": record({**_KEYS_OF, "defaultMode": _MODE}, required=("name",)),
    "downwardAPI": record({**_DOWNWARD, "defaultMode": _MODE}),
    "projected": record(
        {
            "sources": listed(
                record(_PROJECTIONS, forbidden_together(*_PROJECTIONS, because=_SEVERAL))
            ),
            "defaultMode": _MODE,
        },
        _own_paths,
    ),
    "persistentVolumeClaim": record(
        {"claimName": text(), "readOnly": flag}, required=("claimName",)
    ),
    **dict.fromkeys(UNSUPPORTED, anything),
}

volumes = listed(
    record(
        {"name": text(label_problem), **sources},
        forbidden_together(*sources, because=_SEVERAL),
        required=("name",),
    ),
    unique="name",
)
"""`volumes` of a Pod; one without a source is an emptyDir."""
