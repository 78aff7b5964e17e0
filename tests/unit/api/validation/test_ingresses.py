"""Faults of an Ingress, as Kubernetes says them."""

from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.networking.ingress import Ingress
from upwell.api.validation.objects import validate

SERVICE = {"name": "web", "port": {"number": 80}}
PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": SERVICE}}
METADATA = {"name": "web", "namespace": "shop"}


def faults(**spec: Any) -> dict[str, str]:
    ingress = decode_as(Ingress, {"metadata": METADATA, "spec": spec})
    return {fault.path: str(fault.cause) for fault in validate(ingress)}


def of_path(**changes: Any) -> dict[str, str]:
    kept = {name: value for name, value in (PATH | changes).items() if value is not None}
    return faults(rules=[{"host": "shop.test", "http": {"paths": [kept]}}])


@pytest.mark.parametrize(
    "spec",
    [
        {"rules": [{"host": "shop.test", "http": {"paths": [PATH]}}]},
        {"rules": [{"host": "*.shop.test", "http": {"paths": [PATH]}}]},
        {"rules": [{"host": "shop.test"}], "tls": [{"secretName": "cert"}]},
        {"defaultBackend": {"service": {"name": "web", "port": {"name": "http"}}}},
    ],
)
def test_what_kubernetes_takes_is_taken(spec: dict[str, Any]) -> None:
    assert faults(**spec) == {}


@pytest.mark.parametrize("host", ["*", "a.*.b", "Shop.test", "shop\n.test", "a b", "-a.test"])
def test_a_host_is_a_name(host: str) -> None:
    assert faults(rules=[{"host": host}]) == {"spec.rules[0].host": "FieldValueInvalid"}


@pytest.mark.parametrize(
    ("changes", "field", "cause"),
    [
        ({"pathType": None}, "pathType", "FieldValueRequired"),
        ({"pathType": "Regex"}, "pathType", "FieldValueNotSupported"),
        ({"path": "x"}, "path", "FieldValueInvalid"),
        ({"path": None}, "path", "FieldValueInvalid"),
        ({"path": "/a b"}, "path", "FieldValueInvalid"),
        ({"path": "/a\nb"}, "path", "FieldValueInvalid"),
        ({"backend": {}}, "backend", "FieldValueRequired"),
        ({"backend": {"service": {"name": "", "port": {"number": 1}}}}, "backend.service.name", ""),
        ({"backend": {"service": {"name": "web"}}}, "backend", "FieldValueRequired"),
        (
            {"backend": {"service": {**SERVICE, "name": "Web"}}},
            "backend.service.name",
            "FieldValueInvalid",
        ),
        (
            {"backend": {"service": {"name": "web", "port": {"name": "a b"}}}},
            "backend.service.port.name",
            "FieldValueInvalid",
        ),
        ({"backend": {"resource": {"kind": "A"}}}, "backend.resource.name", "FieldValueRequired"),
        (
            {"backend": {"resource": {"kind": "A", "name": "a/b"}}},
            "backend.resource.name",
            "FieldValueInvalid",
        ),
    ],
)
def test_a_fault_has_its_path(changes: dict[str, Any], field: str, cause: str) -> None:
    found = of_path(**changes)
    assert list(found) == [f"spec.rules[0].http.paths[0].{field}"]
    assert not cause or list(found.values()) == [cause]


@pytest.mark.parametrize("name", ["Nginx", "a b", ""])
def test_a_class_is_a_name(name: str) -> None:
    found = faults(ingressClassName=name, rules=[{"host": "shop.test"}])
    assert found == {"spec.ingressClassName": "FieldValueInvalid"}


def test_a_secret_is_a_name() -> None:
    found = faults(rules=[{"host": "shop.test"}], tls=[{"secretName": "My cert"}])
    assert found == {"spec.tls[0].secretName": "FieldValueInvalid"}
