"""TLS of Routes by annotations of ingress-nginx, which other controllers do not know; pure.

Source: ingress-nginx, `docs/user-guide/nginx-configuration/annotations.md` and `user-guide/tls.md`.
"""

from collections.abc import Iterator

from upwell.api.route import Route
from upwell.api.validation.formats import subdomain_problem
from upwell.policy.cluster_routing.routers import IngressRouter

AUTHORITY_ANNOTATION = "route.openshift.io/destination-ca-certificate-secret"
"""Names the Secret with the authority of the workload's certificate: OpenShift's, of Ingresses."""
_CONTROLLER = "k8s.io/ingress-nginx"
_PREFIX = "nginx.ingress.kubernetes.io/"
_PASSTHROUGH, _REENCRYPT = "passthrough", "reencrypt"
_REDIRECT = f"{_PREFIX}force-ssl-redirect"
_PASSED = f"{_PREFIX}ssl-passthrough"
_PROTOCOL = f"{_PREFIX}backend-protocol"
_AUTHORITY = f"{_PREFIX}proxy-ssl-secret"
_VERIFY = f"{_PREFIX}proxy-ssl-verify"
_NAME = f"{_PREFIX}proxy-ssl-name"
_SEND_NAME = f"{_PREFIX}proxy-ssl-server-name"
ANNOTATIONS = (_REDIRECT, _PASSED, _PROTOCOL, _AUTHORITY, _VERIFY, _NAME, _SEND_NAME)
"""Those that a Route may ask for."""


def is_ingress_nginx(router: IngressRouter) -> bool:
    """Return True if a class is served by ingress-nginx."""
    return router.controller == _CONTROLLER


def annotations_of(route: Route) -> dict[str, str]:
    """Return the annotations by which ingress-nginx passes TLS through, or encrypts anew."""
    tls = route.spec.tls
    if tls is None or tls.termination not in {_PASSTHROUGH, _REENCRYPT}:
        return {}
    redirects = tls.insecure_edge_termination_policy == "Redirect"
    found = {_REDIRECT: "true"} if redirects else {}
    if tls.termination == _PASSTHROUGH:
        return {**found, _PASSED: "true"}
    return {
        **found,
        _PROTOCOL: "HTTPS",
        _AUTHORITY: f"{route.namespace}/{route.annotations.get(AUTHORITY_ANNOTATION, '')}",
        _VERIFY: "on",
        _NAME: f"{route.spec.to.name}.{route.namespace}.svc",
        _SEND_NAME: "on",
    }


def nginx_bars(route: Route) -> Iterator[str]:
    """Yield the fields for whose sake ingress-nginx does not serve a Route."""
    tls = route.spec.tls
    termination = tls.termination if tls is not None else ""
    if termination == _PASSTHROUGH and route.spec.wildcard_policy == "Subdomain":
        yield "spec.wildcardPolicy: ingress-nginx passes TLS through for a host, and for no domain"
    if tls is None or termination != _REENCRYPT:
        return
    step = (
        "make a Secret with the authority as `ca.crt`, and name it in the Route's annotation"
        f" {AUTHORITY_ANNOTATION}"
    )
    named = route.annotations.get(AUTHORITY_ANNOTATION, "")
    if tls.destination_ca_certificate:
        field = "spec.tls.destinationCACertificate"
        yield f"{field}: ingress-nginx takes it from a Secret, which Upwell may not write: {step}"
    elif not named:
        yield f"spec.tls.termination: {_REENCRYPT!r} takes the authority of the workload: {step}"
    elif problem := subdomain_problem(named):
        yield f"metadata.annotations[{AUTHORITY_ANNOTATION}]: {named!r} names no Secret: {problem}"


def nginx_left_out(route: Route) -> Iterator[str]:
    """Yield what nobody but the administrator of ingress-nginx can see to."""
    if route.spec.tls is not None and route.spec.tls.termination == _PASSTHROUGH:
        yield (
            f"spec.tls.termination: {_PASSTHROUGH!r} takes an ingress-nginx that was started with"
            " --enable-ssl-passthrough, which a cluster does not tell"
        )
