"""Makes `kubernetes_messages.json` anew from the Go types of Kubernetes' API.

    python -m tests.support.protobuf.messages VENDOR

VENDOR holds `k8s.io/api` and `k8s.io/apimachinery`. The struct tags of the types say what the
generated.proto beside them leaves out: JSON names, what is inlined, what is a pointer.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

TABLE = ROOT / "src/upwell/server/http/kubernetes_messages.json"

_KINDS = {
    "core/v1": (
        *("ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "PersistentVolume"),
        *("PersistentVolumeClaim", "Pod", "PodTemplate", "ReplicationController"),
        *("ResourceQuota", "Secret", "Service", "ServiceAccount"),
    ),
    "apps/v1": ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    "authentication/v1": ("SelfSubjectReview", "TokenRequest", "TokenReview"),
    "authorization/v1": (
        *("LocalSubjectAccessReview", "SelfSubjectAccessReview"),
        *("SelfSubjectRulesReview", "SubjectAccessReview"),
    ),
    "autoscaling/v1": ("HorizontalPodAutoscaler", "Scale"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "batch/v1": ("CronJob", "Job"),
    "discovery/v1": ("EndpointSlice",),
    "networking/v1": ("Ingress", "IngressClass", "NetworkPolicy"),
    "policy/v1": ("Eviction", "PodDisruptionBudget"),
    "rbac/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "scheduling/v1": ("PriorityClass",),
    "storage/v1": ("StorageClass",),
    "meta/v1": ("DeleteOptions",),
}
_GROUPS = {
    "core": "",
    "meta": "",
    **{
        name: f"{name}.k8s.io"
        for name in (
            *("authentication", "authorization", "discovery", "networking", "rbac"),
            *("scheduling", "storage"),
        )
    },
    "rbac": "rbac.authorization.k8s.io",
}
_SPECIAL = {
    "intstr.IntOrString": "IntOrString",
    "resource.Quantity": "Quantity",
    "metav1.Time": "Time",
    "metav1.MicroTime": "MicroTime",
    "metav1.Duration": "text",
    "metav1.FieldsV1": "raw",
    "runtime.RawExtension": "raw",
    "types.UID": "text",
    "[]byte": "bytes",
    "string": "text",
    "bool": "bool",
    "int32": "int",
    "int64": "int",
    "float64": "double",
    "metav1.IncludeObjectPolicy": "text",
}
_PACKAGES = {
    "v1": "core/v1",
    "corev1": "core/v1",
    "apiv1": "core/v1",
    "api": "core/v1",
    "metav1": "meta/v1",
    "authenticationv1": "authentication/v1",
}
_LEFT_OUT = {"status", "managedFields"}
"""Fields that the server alone writes."""

_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"^type (\w+) ([\w.\[\]*]+)$", re.MULTILINE)
_FIELD = re.compile(
    r'^\t(?:(\w+)\s+)?([\w.*\[\]]+)\s+`json:"([^"]*)"[^`]*protobuf:"\w+,(\d+)', re.MULTILINE
)

type Fields = dict[str, tuple[str, str]]


class Definitions:
    """The types of a vendored API."""

    def __init__(self, vendor: Path) -> None:
        self._vendor = vendor
        self._texts: dict[str, str] = {}
        self.messages: dict[str, Fields] = {}

    def add(self, package: str, name: str) -> str:
        """Add a message and those that it is made of; return its name."""
        full = f"{package}.{name}"
        if full not in self.messages:
            self.messages[full] = {}
            structs = dict(_STRUCT.findall(self._text(package)))
            self.messages[full] = dict(self._fields(package, structs[name]))
        return full

    def _fields(self, package: str, body: str) -> Iterator[tuple[str, tuple[str, str]]]:
        for _, go_type, tag, number in _FIELD.findall(body):
            json_name, *options = tag.split(",")
            if json_name in _LEFT_OUT:
                continue
            keeps_zero = go_type.startswith("*") or "omitempty" not in options
            holds = self._holds(package, go_type.removeprefix("*"))
            yield number, (json_name, holds + ("!" if keeps_zero else ""))

    def _holds(self, package: str, go_type: str) -> str:
        if (special := _SPECIAL.get(go_type)) is not None:
            return special
        if go_type.startswith("[]"):
            return f"[]{self._holds(package, go_type[2:].removeprefix('*'))}"
        if found := re.fullmatch(r"map\[\w+\](.+)", go_type):
            return f"{{}}{self._holds(package, found[1])}"
        alias, _, name = go_type.rpartition(".")
        package = _PACKAGES[alias] if alias else package
        if package == "meta/v1" and f"metav1.{name}" in _SPECIAL:
            return _SPECIAL[f"metav1.{name}"]
        named = dict(_NAMED.findall(self._text(package)))
        if name in named:
            inner = self._holds(package, named[name])
            # A list or map with a name of its own is a message of one field, `items`.
            return f"items:{inner}" if name in {"ExtraValue", "Verbs"} else inner
        return self.add(package, name)

    def _text(self, package: str) -> str:
        if package not in self._texts:
            folder = "apimachinery/pkg/apis" if package == "meta/v1" else "api"
            path = self._vendor / "k8s.io" / folder / package
            files = [path / "types.go"]
            self._texts[package] = "\n".join(file.read_text() for file in files)
        return self._texts[package]


def table(vendor: Path) -> dict[str, object]:
    """Return kinds with their messages, and messages with their fields, by number."""
    definitions = Definitions(vendor)
    kinds: dict[str, str] = {}
    for package, names in _KINDS.items():
        folder, version = package.split("/")
        group = _GROUPS.get(folder, folder)
        for name in names:
            place = f"{group}/{version}" if group else version
            kinds[f"{place}/{name}"] = definitions.add(package, name)
    return {"kinds": kinds, "messages": dict(sorted(definitions.messages.items()))}


def main() -> None:
    """Write the table, a line for each message."""
    made = table(Path(sys.argv[1]))
    lines = []
    for part, entries in made.items():
        assert isinstance(entries, dict)
        inside = ",\n".join(f"{json.dumps(key)}: {json.dumps(one)}" for key, one in entries.items())
        lines.append(f"{json.dumps(part)}: {{\n{inside}\n}}")
    TABLE.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
