"""Connections that are let through: namespaces, NetworkPolicies, Services."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.meta import ObjectKey
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.api.pod import Pod
from upwell.firewall.interface import Access, Bridge, FirewallTable
from upwell.machine.clock import now
from upwell.policy.firewall import table as firewall_table
from upwell.policy.firewall.openings import MAX_LOOKS
from upwell.policy.firewall.table import (
    FirewallDecision,
    FirewallRules,
    FirewallState,
    NetworkIsolation,
    decide,
)
from upwell.policy.routing.claims import Place
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

BRIDGE = Bridge("br0", IPv4Network("10.9.8.0/23"), IPv4Network("10.9.10.0/23"))
WEB, DB, OTHER = "10.9.8.2", "10.9.8.3", "10.9.8.4"
OUTSIDE = "203.0.113.9"
TCP, UDP, SCTP = 6, 17, 132
FILTERED = [one for one in NetworkIsolation if one is not NetworkIsolation.OFF]
SERVICE = ("10.9.10.1", 80)


def deployment(name: str, namespace: str) -> Deployment:
    ports = [
        {"name": "web", "containerPort": 8080},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
    ]
    pod = {"containers": [{"name": "app", "image": "registry.test/app", "ports": ports}]}
    spec = {"template": {"metadata": {"labels": {"app": name}}, "spec": pod}}
    return decode_as(Deployment, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})


def instance(name: str, namespace: str, address: str, **more: Any) -> Instance:
    return Instance(
        name=f"{name}-{address}",
        owner=Owner("Deployment", namespace, name),
        revision="first",
        state=State.RUNNING,
        ready=True,
        ready_since=now(),
        started_at=now(),
        address=address,
        images={},
        addresses=(address,),
        labels={"app": name},
        **more,
    )


def service(name: str = "db", namespace: str = "shop", address: str = SERVICE[0]) -> Service:
    spec = {
        "clusterIP": address,
        "selector": {"app": name},
        "ports": [{"port": 80, "targetPort": 8080}],
    }
    return decode_as(Service, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})


def policy(namespace: str = "shop", **spec: Any) -> NetworkPolicy:
    metadata = {"namespace": namespace, "name": "p"}
    return decode_as(NetworkPolicy, {"metadata": metadata, "spec": spec})


def decided(
    *policies: NetworkPolicy,
    isolation: NetworkIsolation = NetworkIsolation.SERVICES,
    services: Sequence[Service] = (),
    instances: Sequence[Instance] | None = None,
    places: Mapping[Place, ObjectKey] | None = None,
    pods: Sequence[Pod] = (),
) -> FirewallDecision:
    """Decide of web and db in namespace shop, and other in namespace else."""
    workloads = [
        deployment("web", "shop"),
        deployment("db", "shop"),
        deployment("other", "else"),
    ]
    known = services or [service()]
    state = FirewallState(
        bridge=BRIDGE,
        rules=FirewallRules(isolation),
        services=known,
        places={SERVICE: known[0].key} if places is None else places,
        policies=policies,
        namespaces={"shop": {}, "else": {"team": "blue"}},
        workloads={one.key: one for one in workloads},
        instances=instances
        or [
            instance("web", "shop", WEB),
            instance("db", "shop", DB),
            instance("other", "else", OTHER),
        ],
        pods={one.key: one for one in pods},
    )
    return decide(state)


def allows(access: Access | None, address: str, port: int, protocol: int = TCP) -> bool:
    """Return True if a table with such access lets a packet through: None stands for all."""
    return access is None or any(
        IPv4Address(address) in one.network
        and one.protocol in {0, protocol}
        and one.first <= port <= one.last
        for one in access
    )


def connects(
    table: FirewallTable, source: str, to: str, port: int = 8080, protocol: int = TCP
) -> bool:
    """Return True if the table lets an instance connect to another, or to an address outside."""
    if not allows(table.egress.get(source), to, port, protocol):
        return False
    if to not in table.known:
        return True
    if to in table.ingress:
        return allows(table.ingress[to], source, port, protocol)
    return table.open


def reaches(table: FirewallTable, source: str, place: tuple[str, int] = SERVICE) -> bool:
    """Return True if the table lets an instance connect to a Service."""
    return (
        place in table.services
        and allows(table.egress.get(source), *place)
        and allows(table.services[place], source, place[1])
    )


@pytest.mark.parametrize("isolation", FILTERED)
def test_without_policies_the_setting_decides(isolation: NetworkIsolation) -> None:
    table = decided(isolation=isolation).table
    assert connects(table, WEB, DB)
    assert connects(table, WEB, DB, 53, UDP)
    assert reaches(table, WEB)
    assert connects(table, WEB, OUTSIDE)
    assert connects(table, OTHER, DB) == (isolation is NetworkIsolation.OPEN)
    assert reaches(table, OTHER) == (isolation is not NetworkIsolation.CLOSED)


@pytest.mark.parametrize("isolation", FILTERED)
def test_a_policy_without_rules_closes_what_it_selects(isolation: NetworkIsolation) -> None:
    table = decided(policy(podSelector={"matchLabels": {"app": "db"}}), isolation=isolation).table
    for source in (WEB, OTHER, OUTSIDE):
        assert not allows(table.ingress[DB], source, 8080)
        assert not reaches(table, source)
    assert connects(table, DB, WEB)


@pytest.mark.parametrize(("role", "is_open"), [("", True), ("pod", True), ("pre", False)])
def test_a_published_port_is_open_to_all_whatever_policies_say(role: str, *, is_open: bool) -> None:
    ports = [{"containerPort": 514, "protocol": "UDP", "hostPort": 5140}]
    container = {"name": "app", "image": "a", "ports": ports}
    metadata = {"namespace": "shop", "name": "logs", "labels": {"app": "logs"}}
    pod = decode_as(Pod, {"metadata": metadata, "spec": {"containers": [container]}})
    started = instance("logs", "shop", DB, role=role)
    table = decided(
        policy(podSelector={}),
        instances=[replace(started, owner=Owner("Pod", "shop", "logs"))],
        pods=[pod],
    ).table
    assert allows(table.ingress[DB], OUTSIDE, 514, UDP) == is_open
    assert not allows(table.ingress[DB], OUTSIDE, 514)


@pytest.mark.parametrize(("labels", "is_open"), [({"app": "task"}, False), ({"app": "x"}, True)])
def test_a_stored_pod_is_selected_by_the_labels_that_it_has_now(
    labels: dict[str, str], *, is_open: bool
) -> None:
    container = {"name": "app", "image": "a", "ports": [{"name": "web", "containerPort": 8080}]}
    metadata = {"namespace": "shop", "name": "task", "labels": labels}
    pod = decode_as(Pod, {"metadata": metadata, "spec": {"containers": [container]}})
    started = replace(instance("task", "shop", DB), owner=Owner("Pod", "shop", "task"))
    other = service("any")
    selector = {"selector": labels}
    chosen = other.model_copy(update={"spec": other.spec.model_copy(update=selector)})
    table = decided(
        policy(podSelector={"matchLabels": {"app": "task"}}),
        services=[chosen],
        instances=[started, instance("web", "shop", WEB)],
        pods=[pod],
    ).table
    assert connects(table, WEB, DB) == is_open
    assert reaches(table, WEB) == is_open  # nor by way of the Service


PEERS = [
    ({"podSelector": {"matchLabels": {"app": "web"}}}, {WEB}),
    ({"podSelector": {}}, {WEB, DB}),
    ({"namespaceSelector": {}}, {WEB, DB, OTHER}),
    ({"namespaceSelector": {"matchLabels": {"team": "blue"}}}, {OTHER}),
    ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "else"}}}, {OTHER}),
    ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "other"}}}, {OTHER}),
    ({"podSelector": {"matchLabels": {"app": "other"}}}, set()),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, {WEB, DB}),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}, set()),
    (
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}},
        {DB},
    ),
    (
        {"podSelector": {"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}},
        {WEB, DB},
    ),
    ({"ipBlock": {"cidr": "203.0.113.0/24"}}, {OUTSIDE}),
    ({"ipBlock": {"cidr": "0.0.0.0/0"}}, {WEB, DB, OTHER, OUTSIDE}),
    ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.9.0.0/16"]}}, {OUTSIDE}),
    ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["203.0.113.9/32"]}}, {WEB, DB, OTHER}),
]


@pytest.mark.parametrize(("peer", "meant"), PEERS)
def test_peers_are_let_in_and_out(peer: dict[str, Any], meant: set[str]) -> None:
    chosen = {"matchLabels": {"app": "db"}}
    table = decided(policy(podSelector=chosen, ingress=[{"from": [peer]}])).table
    found = {one for one in (WEB, DB, OTHER, OUTSIDE) if allows(table.ingress[DB], one, 8080)}
    assert found == meant
    assert {one for one in (WEB, DB, OTHER) if reaches(table, one)} == meant - {OUTSIDE}

    table = decided(
        policy(podSelector=chosen, policyTypes=["Egress"], egress=[{"to": [peer]}])
    ).table
    out = {one for one in (WEB, DB, OTHER, OUTSIDE) if allows(table.egress[DB], one, 8080)}
    assert out == meant
    assert allows(table.ingress[DB], WEB, 8080)  # nothing is said on that direction


def test_a_service_is_let_out_to_by_what_is_behind_it() -> None:
    chosen = {"matchLabels": {"app": "web"}}
    for to, port, meant in (
        ({"podSelector": {"matchLabels": {"app": "db"}}}, 8080, True),
        ({"podSelector": {"matchLabels": {"app": "db"}}}, 80, False),
        ({"podSelector": {"matchLabels": {"app": "web"}}}, 8080, False),
        # Its own address is nobody's: a network that holds it opens nothing behind it.
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.9.8.0/23"]}}, 80, False),
        ({"ipBlock": {"cidr": "10.9.10.0/24"}}, 80, False),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, 8080, True),
    ):
        way = {"to": [to], "ports": [{"port": port}]}
        table = decided(policy(podSelector=chosen, policyTypes=["Egress"], egress=[way])).table
        assert reaches(table, WEB) is meant, (to, port)


@pytest.mark.parametrize(
    ("ports", "meant"),
    [
        ([{"port": 8080}], {(TCP, 8080)}),
        ([{"port": "web"}], {(TCP, 8080)}),
        ([{"port": "dns", "protocol": "UDP"}], {(UDP, 53)}),
        ([{"port": "dns"}], set()),
        ([{"port": "unknown"}], set()),
        ([{"protocol": "UDP"}], {(UDP, 53), (UDP, 8080)}),
        ([{"port": 50, "endPort": 60, "protocol": "UDP"}], {(UDP, 53)}),
        ([{"port": 53}, {"port": 53, "protocol": "SCTP"}], {(TCP, 53), (SCTP, 53)}),
        ([], {(p, n) for p in (TCP, UDP, SCTP) for n in (53, 8080)}),
    ],
)
def test_ports_by_number_range_and_name(
    ports: list[dict[str, Any]], meant: set[tuple[int, int]]
) -> None:
    tried = [(protocol, port) for protocol in (TCP, UDP, SCTP) for port in (53, 8080)]
    table = decided(policy(podSelector={}, ingress=[{"ports": ports}])).table
    assert {one for one in tried if connects(table, WEB, DB, one[1], one[0])} == meant
    out = policy(podSelector={}, policyTypes=["Egress"], egress=[{"ports": ports}])
    table = decided(out).table
    assert {one for one in tried if connects(table, WEB, DB, one[1], one[0])} == meant


def test_a_service_of_instances_that_differ_is_open_to_whom_all_are() -> None:
    both = [
        instance("db", "shop", DB),
        instance("db", "shop", "10.9.8.9"),
        instance("web", "shop", WEB),
        instance("other", "else", OTHER),
    ]
    first = policy(podSelector={}, ingress=[{"from": [{"namespaceSelector": {}}]}])
    assert reaches(decided(first, instances=both).table, OTHER)
    small = {"from": [{"ipBlock": {"cidr": "10.9.8.0/30"}}]}
    table = decided(policy(podSelector={}, ingress=[small]), instances=both).table
    assert reaches(table, WEB)
    assert not reaches(table, OTHER)


def test_init_containers_are_of_their_instance() -> None:
    starting = instance("web", "shop", WEB)
    two = [
        Instance(**{**vars_of(starting), "address": "", "addresses": (WEB, "10.9.8.7")}),
        instance("db", "shop", DB),
    ]
    table = decided(instances=two).table
    assert connects(table, "10.9.8.7", DB)
    assert "10.9.8.7" in table.known


def vars_of(one: Instance) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


@pytest.mark.parametrize("isolation", FILTERED)
@pytest.mark.parametrize("selected", ["other", "nothing"])
def test_who_asks_for_the_address_of_another_service_opens_nothing(
    isolation: NetworkIsolation, selected: str
) -> None:
    held, asking = service(), service(selected, "else")
    closed = policy(podSelector={"matchLabels": {"app": "db"}})
    for services in ([held, asking], [asking, held]):
        places = {SERVICE: held.key}
        table = decided(closed, isolation=isolation, services=services, places=places).table
        for source in (WEB, OTHER):
            assert not reaches(table, source)
        # Neither is it closed to whom its policies let in.
        inviting = policy(podSelector={}, ingress=[{"from": [{"podSelector": {}}]}])
        table = decided(inviting, isolation=isolation, services=services, places=places).table
        assert reaches(table, WEB)
        assert not reaches(table, OTHER)
        # Nor may what is let out to the one behind it connect to the one that has it.
        chosen = {"matchLabels": {"app": "web"}}
        to = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "other"}}}
        out = policy(podSelector=chosen, policyTypes=["Egress"], egress=[{"to": [to]}])
        table = decided(out, isolation=isolation, services=services, places=places).table
        assert not reaches(table, WEB)


def test_a_place_that_nobody_has_is_closed() -> None:
    assert not reaches(decided(places={}).table, WEB)
    strange = ObjectKey("Deployment", "else", "other")
    assert not reaches(decided(places={SERVICE: strange}).table, WEB)


def test_ports_of_the_machine_are_open_where_the_router_listens() -> None:
    asking = ObjectKey("Deployment", "else", "other")
    places = {("0.0.0.0", 30080): asking, ("192.0.2.7", 81): asking, ("::", 82): asking}
    spec = service().spec.model_copy(update={"type": "NodePort"})
    ports = (spec.ports[0].model_copy(update={"node_port": 30081}),)
    refused = service().model_copy(update={"spec": spec.model_copy(update={"ports": ports})})
    table = decided(services=[refused], places={SERVICE: refused.key, **places}).table
    assert table.machine == {("0.0.0.0", 30080), ("192.0.2.7", 81)}


def test_what_is_not_honoured_is_told() -> None:
    block = {"from": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}
    decision = decided(policy(podSelector={}, ingress=[block]))
    [[fault]] = decision.faults.values()
    assert "2001:db8::/32" in fault
    assert not connects(decision.table, WEB, DB)


def blocks(number: int, count: int) -> list[dict[str, Any]]:
    places = (f"{20 + number}.{n // 62_500}.{n // 250 % 250}.{n % 250}" for n in range(count))
    return [{"ipBlock": {"cidr": f"{place}/32"}} for place in places]


def of_shop(count: int) -> list[Instance]:
    return [instance("web", "shop", f"10.9.{n // 250}.{n % 250 + 1}") for n in range(count)]


def test_instances_that_are_treated_alike_share_what_is_let_in() -> None:
    many = [policy(podSelector={}, ingress=[{"from": blocks(n, 1000)}]) for n in range(20)]
    table = decided(*many, instances=of_shop(400)).table
    assert len({id(access) for access in table.ingress.values()}) == 1
    assert {len(access) for access in table.ingress.values()} == {20_000}


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_namespace_that_asks_for_too_much_is_closed_and_told(
    monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.setattr(firewall_table, "MAX_EXPANDED", 550)
    peers = "from" if direction == "ingress" else "to"
    many = []
    for number in range(8):
        rules: dict[str, Any] = {direction: [{peers: blocks(number, 100)}]}
        one = policy(podSelector={}, **rules, policyTypes=[direction.title()])
        many.append(one.with_metadata(name=f"p{number}"))
    other = policy("else", podSelector={}, ingress=[{"from": blocks(1, 1)}])
    found = decided(*many, other, instances=[*of_shop(50), instance("other", "else", OTHER)])
    table = found.table
    accesses = table.ingress if direction == "ingress" else table.egress
    assert len(accesses["10.9.0.1"]) == 500
    assert "more openings than a namespace has" in found.faults[many[-1].key][0]
    assert len(table.ingress[OTHER]) == 1, "another namespace has what it asks for"
    assert other.key not in found.faults


def test_instances_that_all_differ_take_no_more_than_a_namespace_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firewall_table, "MAX_JOINED", 9000)
    alike = [policy(podSelector={}, ingress=[{"from": blocks(n, 100)}]) for n in range(8)]
    own = [
        policy(podSelector={"matchLabels": {"own": str(n)}}, ingress=[{"from": blocks(30, 1)}])
        for n in range(40)
    ]
    instances = [replace(one, labels={"own": str(n)}) for n, one in enumerate(of_shop(40))]
    found = decided(*alike, *own, instances=instances)
    assert 8000 < sum(map(len, found.table.ingress.values())) <= 9000
    assert "closed" in found.faults[alike[0].key][0]


def test_selectors_that_look_for_too_long_close_what_they_might_select() -> None:
    rules = [{"key": f"k{n}", "operator": "DoesNotExist"} for n in range(10_000)]
    many = [
        policy(podSelector={"matchExpressions": [*rules, {"key": f"n{n}", "operator": "Exists"}]})
        for n in range(MAX_LOOKS // (10_000 * 50) + 2)
    ]
    found = decided(*many, instances=of_shop(50))
    assert set(found.table.ingress.values()) == {frozenset()}
    assert found.faults


def test_a_block_has_many_exceptions() -> None:
    excepted = [f"10.{n // 250}.{n % 250}.7/32" for n in range(5000)]
    block = {"cidr": "10.0.0.0/8", "except": [*excepted, "10.200.0.0/16", "10.200.3.0/24"]}
    table = decided(policy(podSelector={}, ingress=[{"from": [{"ipBlock": block}]}])).table
    access = table.ingress[DB]
    for address, is_open in {
        "10.0.0.7": False,
        "10.0.0.6": True,
        "10.0.0.8": True,
        "10.19.249.7": False,
        "10.200.3.1": False,
        "10.201.0.0": True,
        "10.255.255.255": True,
        "11.0.0.0": False,
    }.items():
        assert allows(access, address, 1) is is_open, address


def test_ten_thousand_policies_take_no_time_to_speak_of() -> None:
    many = [
        policy(
            podSelector={"matchLabels": {"app": "db"}},
            ingress=[{"from": [{"ipBlock": {"cidr": f"20.{n // 256}.{n % 256}.0/24"}}]}],
        )
        for n in range(10_000)
    ]
    began = time.process_time()
    table = decided(*many).table
    assert time.process_time() - began < 3
    assert len(table.ingress[DB]) == 10_000
