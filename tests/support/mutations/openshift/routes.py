"""Rules of Routes and Templates (route/v1, template/v1 types.go)."""

import re
from collections.abc import Iterator
from typing import Any

from tests.support.mutations.mutants import Document
from tests.support.mutations.openshift.shared import Table, part_of
from tests.support.mutations.rules import (
    BOOL,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    INT32,
    INT_OR_TEXT,
    LIST,
    OBJECT,
    TEXT,
    FieldRule,
    KindRules,
    between,
    empty_or,
    matches,
    needed,
    one_of,
)


def _route(document: Document) -> Iterator[str]:
    spec = part_of(document, "spec")
    tls = spec.get("tls")
    termination = _termination(tls)
    path, host = spec.get("path") or "", spec.get("host") or ""
    if path and termination == "passthrough":
        yield "spec.path"
    if spec.get("wildcardPolicy") == "Subdomain" and not host:
        yield "spec.wildcardPolicy"
    if tls is None:
        return
    if termination not in {"edge", "passthrough", "reencrypt"}:
        yield "spec.tls.termination"
        return
    files = ("certificate", "key", "caCertificate", "destinationCACertificate")
    forbidden = {"passthrough": files, "edge": files[-1:]}.get(termination, ())
    yield from (f"spec.tls.{name}" for name in forbidden if tls.get(name))
    policy = tls.get("insecureEdgeTerminationPolicy") or ""
    allowed = {"", "None", "Redirect"} | ({"Allow"} if termination != "passthrough" else set())
    if policy not in allowed:
        yield "spec.tls.insecureEdgeTerminationPolicy"


def _termination(tls: dict[str, Any] | None) -> str:
    if tls is None:
        return ""
    found: str = tls.get("termination") or ""
    if not found and not tls.get("destinationCACertificate"):
        return "edge"
    known = {"Edge": "edge", "Passthrough": "passthrough", "Reencrypt": "reencrypt"}
    return known.get(found, found)


def _target(prefix: str) -> Table:
    return {
        f"{prefix}.kind": TEXT & empty_or(one_of("Service")),
        f"{prefix}.name": needed(TEXT),
        f"{prefix}.weight": INT32 & between(0, 256),
    }


def _host_labels(host: str) -> bool:
    return all(re.fullmatch(DNS_LABEL, label) for label in host.split("."))


ROUTE = KindRules(
    {
        "spec": FieldRule((dict,), required=True),
        "spec.host": TEXT & empty_or(matches(DNS_SUBDOMAIN)) & empty_or(_host_labels),
        "spec.path": TEXT & empty_or(matches(r"/[^# ]*")),
        "spec.to": FieldRule((dict,), required=True),
        **_target("spec.to"),
        "spec.alternateBackends": LIST & (lambda value: len(value) <= 3),
        "spec.alternateBackends[]": OBJECT,
        **_target("spec.alternateBackends[]"),
        "spec.port": OBJECT,
        "spec.port.targetPort": needed(INT_OR_TEXT),
        "spec.tls": OBJECT,
        **{
            f"spec.tls.{name}": TEXT
            for name in ("termination", "certificate", "key", "insecureEdgeTerminationPolicy")
        },
        "spec.wildcardPolicy": TEXT & empty_or(one_of("None", "Subdomain")),
    },
    (_route,),
)

TEMPLATE = KindRules(
    {
        "message": TEXT,
        "labels": OBJECT,
        "labels{}": TEXT,
        "parameters": LIST,
        "parameters[]": OBJECT,
        "parameters[].name": needed(TEXT & matches(r"[a-zA-Z0-9_]+")),
        **{
            f"parameters[].{name}": TEXT
            for name in ("displayName", "description", "value", "generate", "from")
        },
        "parameters[].required": BOOL,
        "objects": LIST,
        "objects[]": OBJECT,
    }
)
