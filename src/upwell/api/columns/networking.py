"""Columns of Services, Routes, Ingresses, their addresses and policies."""

from upwell.api.columns.documents import Document, items, label_selector, pairs, part
from upwell.api.meta import Column


def _external(service: Document) -> str:
    spec = part(service, "spec")
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or "")
    given = [str(one) for one in spec.get("externalIPs") or ()]
    if spec.get("type") == "LoadBalancer":
        places = part(service, "status").get("places") or ()
        given += [str(place).rpartition(":")[0] for place in places]
        return ",".join(dict.fromkeys(given)) or "<pending>"
    return ",".join(given)


def _cluster_ip(service: Document) -> str:
    spec = part(service, "spec")
    return "" if spec.get("type") == "ExternalName" else str(spec.get("clusterIP") or "")


def _ports(service: Document) -> str:
    return ",".join(
        f"{one.get('port')}{f':{node}' if (node := one.get('nodePort')) else ''}"
        f"/{one.get('protocol') or 'TCP'}"
        for one in items(service, "spec", "ports")
    )


SERVICE = (
    Column("TYPE", "spec.type"),
    Column("CLUSTER-IP", "spec.clusterIP", text=_cluster_ip),
    Column("EXTERNAL-IP", "spec.externalIPs[*]", text=_external),
    Column("PORT(S)", "spec.ports[*].port", text=_ports),
    Column(
        "SELECTOR",
        "spec.selector",
        wide=True,
        text=lambda service: pairs(part(service, "spec", "selector")),
    ),
)


def _route_host(route: Document) -> str:
    """Return the host, or why no router serves it, as OpenShift prints it."""
    host = str(part(route, "spec").get("host") or "")
    routers = items(route, "status", "ingress")
    admitted: list[str] = []
    refused: list[str] = []
    for router in routers:
        for one in items(router, "conditions"):
            if one.get("type") == "Admitted" and one.get("status") == "True":
                admitted.append(str(router.get("host") or host))
            elif one.get("type") == "Admitted" and one.get("status") == "False":
                refused.append(str(one.get("reason")))
    if not routers:
        return host
    if not admitted:
        return refused[-1] if refused else "Pending"
    if refused:
        return f"{admitted[0]} ... {len(refused)} rejected"
    more = len(admitted) - 1
    return f"{admitted[0]} ... {more} more" if more else admitted[0]


def _backends(route: Document) -> str:
    """Return the Services of a Route, each with its part of the requests unless it has all."""
    spec = route["spec"]
    backends = [spec["to"], *(spec.get("alternateBackends") or ())]
    if len(backends) == 1 and backends[0]["weight"]:
        return str(backends[0]["name"])
    total = sum(one["weight"] for one in backends) or 1
    return ",".join(f"{one['name']}({one['weight'] * 100 // total}%)" for one in backends)


def _route_port(route: Document) -> str:
    return str(part(route, "spec", "port").get("targetPort") or "<all>")


def _termination(route: Document) -> str:
    tls = part(route, "spec", "tls")
    termination, insecure = tls.get("termination"), tls.get("insecureEdgeTerminationPolicy")
    if insecure:
        return f"{termination or 'default'}/{insecure}"
    return str(termination or "")


ROUTE = (
    Column("HOST/PORT", "spec.host", text=_route_host, empty=""),
    Column("PATH", "spec.path", empty=""),
    Column("SERVICES", "spec.to.name", text=_backends, empty=""),
    Column("PORT", "spec.port.targetPort", text=_route_port),
    Column("TERMINATION", "spec.tls.termination", text=_termination, empty=""),
    Column("WILDCARD", "spec.wildcardPolicy", empty=""),
    Column("ADMITTED", "status.ingress[*].conditions[*].status", wide=True),
    Column("AGE", "metadata.creationTimestamp", wide=True),
)


def _rule_hosts(ingress: Document) -> str:
    return ",".join(str(one.get("host") or "*") for one in items(ingress, "spec", "rules")) or "*"


def _rule_ports(ingress: Document) -> str:
    return "80, 443" if items(ingress, "spec", "tls") else "80"


INGRESS = (
    Column("CLASS", "spec.ingressClassName"),
    Column("HOSTS", "spec.rules[*].host", text=_rule_hosts),
    Column("ADDRESS", "status.loadBalancer.ingress[*].hostname", empty=""),
    Column("PORTS", "spec.tls[*].secretName", text=_rule_ports),
    Column("SERVED", "status.conditions[*].status", wide=True),
)


def _endpoints(endpoints: Document) -> str:
    return ",".join(
        f"{address['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    )


ENDPOINTS = (Column("ENDPOINTS", "subsets[*].addresses[*].ip", text=_endpoints),)
ENDPOINT_SLICE = (
    Column("ADDRESSTYPE", "addressType"),
    Column("PORTS", "ports[*].port"),
    Column("ENDPOINTS", "endpoints[*].addresses[*]"),
)
NETWORK_POLICY = (
    Column(
        "POD-SELECTOR",
        "spec.podSelector.matchLabels",
        text=lambda policy: label_selector(part(policy, "spec", "podSelector")),
    ),
)
