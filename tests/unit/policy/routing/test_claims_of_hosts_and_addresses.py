"""Hosts, addresses and ports: who has them, and what nobody may ask for."""

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route
from upwell.policy.access.authority import refusal
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants
from upwell.policy.routing.claims import Claim, is_inside, with_node_ports, withheld
from upwell.policy.routing.hosts import refused_hosts
from upwell.policy.routing.requested_addresses import requested_faults

NETWORK = IPv4Network("10.141.14.0/23")


def service(name: str = "web", namespace: str = "shop", **spec: Any) -> Service:
    metadata = {"namespace": namespace, "name": name}
    spec = {"ports": [{"port": 7080}], **spec}
    return decode_as(Service, {"metadata": metadata, "spec": spec})


def route(
    host: str, namespace: str = "shop", *, day: int = 1, served: str = "", **spec: Any
) -> Route:
    condition = {"type": "Admitted", "status": "True", "reason": "Admitted"}
    ingress = [{"host": served, "routerName": "upwell", "conditions": [condition]}]
    return decode_as(
        Route,
        {
            "metadata": {
                "namespace": namespace,
                "name": f"r{day}",
                "creationTimestamp": f"2026-01-{day:02}T00:00:00Z",
            },
            "spec": {"host": host, "to": {"name": "web"}, **spec},
            "status": {"ingress": ingress if served else []},
        },
    )


def ingress(*hosts: str) -> Ingress:
    metadata = {"namespace": "shop", "name": "web"}
    rules = [{"host": host} for host in hosts]
    return decode_as(Ingress, {"metadata": metadata, "spec": {"rules": rules}})


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "169.254.169.254"),
        *(
            "224.0.0.1",
            "255.255.255.255",
            "8.8.8.8",
            "fd00::1",
            "localhost",
            "0177.0.0.1",
            " ",
            "x",
        ),
        *("127.0.0.1\n", "127.77.0.1 "),
    ],
)
def test_addresses_that_no_service_may_ask_for(address: str) -> None:
    [fault] = requested_faults(service(clusterIP=address), None)
    assert fault.path == "spec.clusterIP"
    assert "leave it out" in fault.message


@pytest.mark.parametrize("address", ["10.141.14.9", "172.30.1.2", "None", "", "127.77.3.4"])
def test_addresses_that_a_service_may_ask_for(address: str) -> None:
    assert not list(requested_faults(service(clusterIP=address), None))


def test_an_address_does_not_change_and_an_old_one_is_not_held_against_it() -> None:
    given_address = service(clusterIP="10.141.14.9")
    assert not list(requested_faults(given_address, given_address))
    assert list(requested_faults(given_address, service(clusterIP="10.141.14.10")))
    assert list(requested_faults(given_address, service()))
    stored_earlier = service(clusterIP="::1")
    assert not list(requested_faults(stored_earlier, stored_earlier))


@given(st.ip_addresses().map(str))
def test_no_address_of_anybody_else_is_listened_at(address: str) -> None:
    inside = address.startswith(("10.141.14.", "10.141.15.", "127.77."))
    assert is_inside(address, NETWORK) == inside


@pytest.mark.parametrize(
    ("address", "own", "refused"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::1", "127.0.0.1", True),
        ("127.8.8.8", "localhost", True),
        ("192.0.2.2", "192.0.2.2", True),
        ("192.0.2.2", "[::]", True),
        ("192.0.2.2", "127.0.0.1", False),
        ("10.141.14.9", "127.0.0.1", False),
        ("10.141.14.9", "0.0.0.0", False),
        ("127.77.3.4", "127.0.0.1", False),
    ],
)
def test_nobody_listens_where_the_server_does(address: str, own: str, *, refused: bool) -> None:
    claim = Claim("listener", (address, 7080), service().key, "")
    faults, _ = withheld([claim], {}, [(own, 7080)], NETWORK)
    assert bool(faults) == refused
    elsewhere, _ = withheld([replace(claim, place=(address, 7081))], {}, [(own, 7080)], NETWORK)
    assert not elsewhere


def test_a_port_is_kept_by_who_had_it_and_else_by_the_oldest() -> None:
    place = ("0.0.0.0", 30080)
    old, new = service("old", "a"), service("new", "b")
    claims = [Claim("a", place, old.key, "2026-01-01"), Claim("b", place, new.key, "2026-01-02")]
    faults, holders = withheld(claims, {}, (), NETWORK)
    assert set(faults) == {"b"}
    assert "belongs to Service a/old" in faults["b"]
    assert holders == {place: old.key}

    faults, holders = withheld(claims, {place: new.key}, (), NETWORK)
    assert set(faults) == {"a"}
    assert holders == {place: new.key}


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("192.0.2.2", "0.0.0.0", True),
        ("::", "192.0.2.2", True),
        ("0.0.0.0", "::", True),
        ("192.0.2.2", "192.0.2.3", False),
        ("0.0.0.0", "10.141.14.9", False),
        ("10.141.14.9", "0.0.0.0", False),
    ],
)
def test_a_port_at_all_addresses_is_that_of_each(first: str, second: str, *, refused: bool) -> None:
    old, new = service("old", "a"), service("new", "b")
    claims = [
        Claim("a", (first, 53), old.key, "2026-01-01"),
        Claim("b", (second, 53), new.key, "2026-01-02"),
    ]
    faults, _ = withheld(claims, {}, (), NETWORK)
    assert set(faults) == ({"b"} if refused else set())
    assert all("belongs to Service a/old" in one for one in faults.values())
    assert not withheld([claims[0], replace(claims[1], place=(second, 54))], {}, (), NETWORK)[0]

    own = [claims[0], replace(claims[1], owner=old.key)]
    assert not withheld(own, {}, (), NETWORK)[0]
    both = {one.place: one.owner for one in claims}
    assert withheld(claims, both, (), NETWORK) == ({}, both), "what both had is taken from nobody"


def test_node_ports_are_given_out_once() -> None:
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}, {"name": "c", "port": 3}]
    ports[2]["nodePort"] = 30002
    found = with_node_ports(service(type="NodePort", ports=ports), {30000, 30002})
    assert [port.node_port for port in found.spec.ports] == [30001, 30003, 30002]
    assert with_node_ports(found, ()) is found
    internal = service(ports=ports)
    assert with_node_ports(internal, ()) is internal


def refused(*routes: Route) -> dict[str, str]:
    return {str(key): one.reason for key, one in refused_hosts(routes).items()}


def test_a_host_belongs_to_who_had_it_first() -> None:
    older, newer = route("web.test", "a"), route("WEB.test", "b", day=2)
    assert refused(older, newer) == {"Route b/r2": "HostAlreadyClaimed"}
    # An older Route that is changed takes nothing from the one that is served.
    served = route("web.test", "b", day=2, served="web.test")
    assert refused(older, served) == {"Route a/r1": "HostAlreadyClaimed"}
    moved = route("web.test", "a", served="other.test")
    assert refused(moved, served) == {"Route a/r1": "HostAlreadyClaimed"}


def test_paths_of_a_host_belong_to_its_namespace() -> None:
    whole = route("web.test", "a")
    assert not refused(whole, route("web.test", "a", day=2, path="/api"))
    foreign = route("web.test", "b", day=2, path="/api")
    assert refused(whole, foreign) == {"Route b/r2": "HostAlreadyClaimed"}
    twice = route("web.test", "a", day=2, path="/")
    assert refused(whole, twice) == {"Route a/r2": "HostAlreadyClaimed"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("*.shop.test", "web.shop.test"),
        ("*.shop.test", "a.b.shop.test"),
        ("web.shop.test", "*.shop.test"),
        ("*.shop.test", "*.web.shop.test"),
        ("*.web.shop.test", "*.shop.test"),
    ],
)
def test_a_domain_belongs_to_one_namespace(first: str, second: str) -> None:
    assert refused(route(first, "a"), route(second, "b", day=2)) == {
        "Route b/r2": "HostAlreadyClaimed"
    }
    assert not refused(route(first, "a"), route(second, "a", day=2))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("*.shop.test", "WEB.Shop.Test"),
        ("Web.Shop.test", "*.SHOP.test"),
        ("*.test.example", "*.a.b.test.example"),
    ],
)
@pytest.mark.parametrize("policy", ["None", "Subdomain"])
def test_no_spelling_of_a_domain_takes_it(first: str, second: str, policy: str) -> None:
    def wanted(host: str, namespace: str, day: int) -> Route:
        if policy == "Subdomain" and host.startswith("*."):
            host = host.replace("*", "any")
            return route(host, namespace, day=day, wildcardPolicy="Subdomain")
        return route(host, namespace, day=day)

    assert set(refused(wanted(first, "a", 1), wanted(second, "b", 2))) == {"Route b/r2"}


@example([("www.", "shop.test", "b"), ("*.www.", "shop.test", "a"), ("*.", "shop.test", "b")])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["*.", "www.", "*.www.", "a.www.", ""]),
            st.sampled_from(["shop.test", "Shop.test", "eu.shop.test", "bank.test"]),
            st.sampled_from("ab"),
        ),
        max_size=8,
    )
)
def test_a_name_is_served_by_one_namespace(wanted: list[tuple[str, str, str]]) -> None:
    routes = [
        route(f"{first}{domain}", namespace, day=day)
        for day, (first, domain, namespace) in enumerate(wanted, 1)
    ]
    lost = refused_hosts(routes)
    served = [one for one in routes if one.key not in lost]
    owners: dict[str, set[str]] = {}
    for name in ("shop.test", "www.shop.test", "a.www.shop.test", "x.eu.shop.test", "bank.test"):
        for one in served:
            host = one.spec.host.lower()
            if name == host or (host.startswith("*.") and name.endswith(host[1:])):
                owners.setdefault(name, set()).add(one.namespace)
    assert all(len(found) == 1 for found in owners.values())
    assert not routes or routes[0] in served


def test_domains_beside_each_other_are_different_ones() -> None:
    assert not refused(route("*.shop.test", "a"), route("shop.test", "b", day=2))
    assert not refused(route("*.shop.test", "a"), route("*.workshop.test", "b", day=2))


@pytest.mark.parametrize("host", ["*.com", "*.co.uk", "*.github.io", "*.localhost", "*.lan"])
def test_nobody_has_a_public_suffix(host: str) -> None:
    wanted = route(host)
    [fault] = requested_faults(wanted, None)
    assert fault.path == "spec.host"
    assert not list(requested_faults(wanted, wanted))
    assert refused(wanted) == {"Route shop/r1": "HostNotAllowed"}
    subdomain = route(host.replace("*", "www"), wildcardPolicy="Subdomain")
    assert refused(subdomain) == {"Route shop/r1": "HostNotAllowed"}
    assert not refused(route(host.replace("*", "www")))


@pytest.mark.parametrize(
    ("wanted", "right"),
    [
        (service(type="NodePort", ports=[{"port": 80, "nodePort": 443}]), "hostports"),
        (service(type="NodePort", ports=[{"port": 80, "nodePort": 32768}]), "hostports"),
        (service(type="NodePort", ports=[{"port": 80, "nodePort": 30443}]), ""),
        (service(type="NodePort", ports=[{"port": 80}]), ""),
        (route("*.shop.test"), "wildcardhosts"),
        (route("www.shop.test", wildcardPolicy="Subdomain"), "wildcardhosts"),
        (route("www.shop.test", wildcardPolicy="None"), ""),
        (ingress("www.shop.test"), ""),
        (ingress("www.shop.test", "*.shop.test"), "wildcardhosts"),
    ],
)
def test_ports_of_the_machine_and_domains_take_a_right(wanted: Resource, right: str) -> None:
    why = refusal(wanted, None, GrantedRights(parse_grants("deployer@shop"))) or ""
    assert bool(why) == bool(right)
    assert (f"use {right} in namespace shop" in why) == bool(right)
    assert refusal(wanted, None, GrantedRights(parse_grants("admin@shop"))) is None
    assert refusal(wanted, wanted, GrantedRights(parse_grants("deployer@shop"))) is None
