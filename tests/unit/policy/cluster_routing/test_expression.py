"""Routes as an Ingress and as HTTPRoutes, and what these cannot express."""

from typing import Any

import pytest
from tests.support.cluster.routes import (
    HTTP,
    HTTPS,
    INGRESS_NGINX,
    TLS,
    gateway,
    route,
    service,
)

from upwell.api.core import Service
from upwell.api.route import Route
from upwell.policy.cluster_routing.expression import (
    Expressed,
    express,
    includes,
    taken_fields,
    wanted_annotations,
)
from upwell.policy.cluster_routing.ingress_nginx import AUTHORITY_ANNOTATION
from upwell.policy.cluster_routing.routers import GatewayRouter, IngressRouter

ANY = IngressRouter("any")
NGINX = IngressRouter("nginx", INGRESS_NGINX)
PREFIX = "nginx.ingress.kubernetes.io/"
EDGE = {"termination": "edge"}
SERVICES = {one.name: one for one in (service("web"), service("next"))}


def ingress(declared: Route, router: IngressRouter = ANY) -> Expressed:
    return express(declared, router, SERVICES.get)


def http_routes(declared: Route, *listeners: dict[str, Any]) -> Expressed:
    return express(declared, GatewayRouter(gateway("public", *listeners)), SERVICES.get)


def test_a_route_is_an_ingress_that_belongs_to_it() -> None:
    found = ingress(route(path="/api", port={"targetPort": 8080}, metadata={"labels": {"a": "b"}}))

    [document] = found.documents
    assert document["metadata"] == {
        "name": "web",
        "namespace": "shop",
        "labels": {"a": "b"},
        "ownerReferences": [
            {
                "apiVersion": "route.openshift.io/v1",
                "kind": "Route",
                "name": "web",
                "uid": "uid-web",
                "controller": True,
            }
        ],
    }
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    path = {"path": "/api", "pathType": "Prefix", "backend": backend}
    assert document["spec"] == {
        "ingressClassName": "any",
        "rules": [{"host": "web.shop.example", "http": {"paths": [path]}}],
    }
    assert found.left_out == ()


def test_tls_at_the_edge_is_the_controllers_and_plain_http_is_its_to_say() -> None:
    found = ingress(route(tls={**EDGE, "insecureEdgeTerminationPolicy": "Redirect"}))

    assert found.documents[0]["spec"]["tls"] == [{"hosts": ["web.shop.example"]}]
    [left_out] = found.left_out
    assert left_out.startswith("spec.tls.insecureEdgeTerminationPolicy: Redirect")


def test_a_certificate_is_that_of_a_secret_which_the_route_names() -> None:
    named = route(tls={**EDGE, "externalCertificate": {"name": "web-tls"}})

    [document] = ingress(named).documents
    wanted = [{"hosts": ["web.shop.example"], "secretName": "web-tls"}]
    assert document["spec"]["tls"] == wanted
    assert http_routes(named).bars[0].startswith("spec.tls.externalCertificate: the certificate is")
    [bar] = ingress(route(tls={**EDGE, "externalCertificate": {}})).bars
    assert bar.startswith("spec.tls.externalCertificate.name: required")


def test_what_somebody_else_has_set_otherwise_is_named_with_their_manager() -> None:
    rules: dict[str, Any] = {"f:spec": {"f:rules": {}}}
    entries = (
        {"manager": "upwell", "operation": "Update", "fieldsV1": {"f:spec": {"f:tls": {}}}},
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": rules},
    )
    there = route().with_metadata(managed_fields=entries)

    assert taken_fields(there, {"rules": [1], "tls": [1]}, document(rules=[2], tls=[2])) == [
        "spec.rules, which field manager kubectl-edit has set"
    ]
    assert taken_fields(there, {"rules": [2]}, document(rules=[2])) == []


def document(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations or {}}, "spec": spec}


def test_annotations_go_with_what_asked_for_them_and_those_of_others_stay() -> None:
    passed, issuer = f"{PREFIX}ssl-passthrough", "cert-manager.io/issuer"
    redirect = f"{PREFIX}force-ssl-redirect"

    def noted(manager: str, *names: str) -> dict[str, Any]:
        fields: dict[str, Any] = {f"f:{name}": {} for name in names}
        return {"manager": manager, "fieldsV1": {"f:metadata": {"f:annotations": fields}}}

    there = route(
        metadata={"annotations": {passed: "true", redirect: "false", issuer: "acme"}}
    ).with_metadata(managed_fields=(noted("upwell", passed), noted("kubectl", redirect, issuer)))

    assert wanted_annotations(there, document()) == {redirect: "false", issuer: "acme"}
    assert wanted_annotations(there, document({passed: "true"})) == dict(there.annotations)
    assert taken_fields(there, {}, document({redirect: "true", passed: "false"})) == [
        f"metadata.annotations[{redirect}], which field manager kubectl has set"
    ]


def test_a_domain_is_a_wildcard_of_both() -> None:
    declared = route(wildcardPolicy="Subdomain")

    assert ingress(declared).documents[0]["spec"]["rules"][0]["host"] == "*.shop.example"
    assert http_routes(declared).documents[0]["spec"]["hostnames"] == ["*.shop.example"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"tls": {"termination": "passthrough"}}, "spec.tls.termination"),
        ({"tls": {"termination": "reencrypt"}}, "spec.tls.termination"),
        ({"tls": {**EDGE, "certificate": "PEM", "key": "PEM"}}, "spec.tls.certificate"),
        ({"host": ""}, "spec.host"),
        ({"to": {"kind": "Service", "name": "absent"}}, "spec.to"),
        ({"port": {"targetPort": "absent"}}, "spec.port"),
    ],
)
def test_what_neither_expresses_keeps_a_route_from_being_served(
    spec: dict[str, Any], field: str
) -> None:
    for found in (ingress(route(**spec)), http_routes(route(**spec))):
        assert found.documents == ()
        assert [bar.partition(":")[0] for bar in found.bars] == [field]


def test_ingress_nginx_passes_tls_through_where_it_was_started_so() -> None:
    tls = {"termination": "passthrough", "insecureEdgeTerminationPolicy": "Redirect"}
    found = ingress(route(tls=tls), NGINX)

    [made] = found.documents
    assert made["metadata"]["annotations"] == {
        f"{PREFIX}force-ssl-redirect": "true",
        f"{PREFIX}ssl-passthrough": "true",
    }
    assert "tls" not in made["spec"]
    [left_out] = found.left_out
    assert "--enable-ssl-passthrough" in left_out
    [bar] = ingress(route(tls=tls, wildcardPolicy="Subdomain"), NGINX).bars
    assert bar.startswith("spec.wildcardPolicy:")
    plain = ingress(route(tls={"termination": "passthrough"}), NGINX)
    assert [one.partition(":")[0] for one in plain.left_out] == [
        "spec.tls.termination",
        "spec.tls.insecureEdgeTerminationPolicy",
    ]
    assert "annotations" not in ingress(route(tls=EDGE), NGINX).documents[0]["metadata"]


def test_ingress_nginx_encrypts_anew_and_checks_the_workload_by_a_secret() -> None:
    tls = {"termination": "reencrypt", "externalCertificate": {"name": "web-tls"}}

    def named(secret: str, **more: str) -> Expressed:
        metadata = {"annotations": {AUTHORITY_ANNOTATION: secret}}
        return ingress(route(tls={**tls, **more}, metadata=metadata), NGINX)

    [made] = named("web-authority").documents
    assert made["metadata"]["annotations"] == {
        f"{PREFIX}backend-protocol": "HTTPS",
        f"{PREFIX}proxy-ssl-secret": "shop/web-authority",
        f"{PREFIX}proxy-ssl-verify": "on",
        f"{PREFIX}proxy-ssl-name": "web.shop.svc",
        f"{PREFIX}proxy-ssl-server-name": "on",
    }
    assert made["spec"]["tls"] == [{"hosts": ["web.shop.example"], "secretName": "web-tls"}]
    unsaid = "spec.tls.termination: 'reencrypt' takes the authority of the workload: make a Secret"
    for found, said in (
        (ingress(route(tls=tls), NGINX), unsaid),
        (named("bank/authority"), f"metadata.annotations[{AUTHORITY_ANNOTATION}]: 'bank/"),
        (named("a", destinationCACertificate="PEM"), "spec.tls.destinationCACertificate:"),
    ):
        [bar] = found.bars
        assert bar.startswith(said)


def test_a_gateway_passes_tls_through_at_a_listener_for_that() -> None:
    tls = {"termination": "passthrough"}
    declared = route(tls=tls, port={"targetPort": "http"})
    [made] = http_routes(declared, HTTP, HTTPS, TLS).documents

    assert (made["apiVersion"], made["kind"]) == ("gateway.networking.k8s.io/v1", "TLSRoute")
    assert attached(made) == ["through"]
    backends = [{"name": "web", "port": 80, "weight": 100}]
    assert made["spec"]["hostnames"] == ["web.shop.example"]
    assert made["spec"]["rules"] == [{"backendRefs": backends}]
    [bar] = http_routes(route(tls=tls), HTTP, HTTPS).bars
    assert "no listener for TLS with mode Passthrough" in bar
    redirected = http_routes(
        route(tls={**tls, "insecureEdgeTerminationPolicy": "Redirect"}), HTTP, TLS
    )
    assert [one["kind"] for one in redirected.documents] == ["TLSRoute", "HTTPRoute"]
    [bar] = http_routes(route(tls={"termination": "reencrypt"}), HTTP, HTTPS, TLS).bars
    assert "BackendTLSPolicy" in bar


def test_shares_are_weights_of_an_http_route_and_no_part_of_an_ingress() -> None:
    declared = route(
        to={"kind": "Service", "name": "web", "weight": 90},
        alternateBackends=[{"kind": "Service", "name": "next", "weight": 10}],
        port={"targetPort": "http"},
    )

    [bar] = ingress(declared).bars
    assert bar.startswith("spec.alternateBackends:")
    [document] = http_routes(declared).documents
    assert document["spec"]["rules"][0]["backendRefs"] == [
        {"name": "web", "port": 80, "weight": 90},
        {"name": "next", "port": 80, "weight": 10},
    ]


def attached(document: dict[str, Any]) -> list[str]:
    return [one["sectionName"] for one in document["spec"]["parentRefs"]]


def test_a_route_attaches_to_the_listeners_that_its_tls_means() -> None:
    assert [attached(one) for one in http_routes(route()).documents] == [["web"]]
    assert [attached(one) for one in http_routes(route(tls=EDGE)).documents] == [["secure"]]
    allowed = route(tls={**EDGE, "insecureEdgeTerminationPolicy": "Allow"})
    assert [attached(one) for one in http_routes(allowed).documents] == [["secure", "web"]]


def test_a_redirect_is_a_second_http_route() -> None:
    declared = route(tls={**EDGE, "insecureEdgeTerminationPolicy": "Redirect"})
    secure, plain = http_routes(declared).documents

    assert (attached(secure), attached(plain)) == (["secure"], ["web"])
    assert plain["metadata"]["name"] == "web-redirect"
    assert plain["spec"]["rules"][0]["filters"] == [
        {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 302}}
    ]
    assert "backendRefs" not in plain["spec"]["rules"][0]


def test_listeners_that_are_not_there_are_named() -> None:
    assert "no listener for HTTPS" in http_routes(route(tls=EDGE), HTTP).bars[0]
    assert "no listener for plain HTTP" in http_routes(route(), HTTPS).bars[0]
    through = {**HTTPS, "tls": {"mode": "Passthrough"}}
    assert "no listener for HTTPS" in http_routes(route(tls=EDGE), through).bars[0]


def test_settings_of_openshifts_router_are_named_and_left_out() -> None:
    annotations = {"haproxy.router.openshift.io/timeout": "5s", "other": "x"}
    found = http_routes(route(metadata={"annotations": annotations}))

    assert len(found.documents) == 1
    assert found.left_out == ("metadata.annotations[haproxy.router.openshift.io/timeout]",)


def test_every_reason_is_given_at_once() -> None:
    declared = route(
        host="", tls={"termination": "passthrough"}, alternateBackends=[{"name": "no"}]
    )

    fields = [bar.partition(":")[0] for bar in ingress(declared).bars]
    assert fields == ["spec.host", "spec.to", "spec.alternateBackends", "spec.tls.termination"]


def test_a_service_without_ports_is_said() -> None:
    bare = Service.model_validate({"metadata": {"name": "web", "namespace": "shop"}})

    assert "no TCP port" in express(route(), ANY, lambda _: bare).bars[0]


def test_what_others_add_is_no_difference() -> None:
    assert includes({"a": [{"b": 1, "c": 2}], "d": 3}, {"a": [{"b": 1}]})
    assert not includes({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}]})
    assert not includes({"a": 1}, {"a": 2})
    assert not includes({}, {"a": None})
