from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.defaults.effects import effectless_fields

_PLACE = "spec.template.spec."


def told(kind: str, **spec: Any) -> dict[str, str]:
    document = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    return dict(effectless_fields(apply_defaults(decode(document))))


def in_pod(**pod: Any) -> dict[str, str]:
    return told("Deployment", template={"spec": {"containers": [{"name": "a"}], **pod}})


@pytest.mark.parametrize(
    "pod",
    [
        {},
        {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"},
        {"nodeSelector": {}, "tolerations": [], "affinity": {}, "hostname": ""},
        {"enableServiceLinks": True, "shareProcessNamespace": False},
        {"serviceAccount": "bot", "serviceAccountName": "bot"},
        # As `kubectl run -i` writes it.
        {"containers": [{"name": "a", "stdin": True, "stdinOnce": True}]},
    ],
)
def test_what_asks_for_nothing_is_not_told(pod: dict[str, Any]) -> None:
    assert in_pod(**pod) == {}


@pytest.mark.parametrize(
    ("field", "value", "instead"),
    [
        ("dnsPolicy", "None", "names are resolved"),
        ("nodeSelector", {"disk": "ssd"}, "one machine"),
        ("serviceAccount", "bot", "serviceAccountName"),
        ("enableServiceLinks", [1], "Services"),
        ("colour", "red", ""),
    ],
)
def test_what_is_meant_is_told_with_what_holds(field: str, value: Any, instead: str) -> None:
    found = in_pod(**{field: value})
    assert list(found) == [_PLACE + field]
    assert instead in found[_PLACE + field]


def test_defaults_that_are_stored_are_no_news() -> None:
    assert told("StatefulSet", serviceName="web") == {}
    assert told("DaemonSet") == {}
    assert told("StatefulSet", updateStrategy={"type": "OnDelete"}) != {}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}
    plain = decode({**service, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})
    assert dict(effectless_fields(apply_defaults(plain))) == {}
    sticky = decode({**service, "spec": {"sessionAffinity": "ClientIP"}})
    assert set(dict(effectless_fields(sticky))) == {"spec.sessionAffinity"}
