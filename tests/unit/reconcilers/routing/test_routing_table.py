"""Services and Routes: addresses, endpoints, rules, and the conditions that say what is served."""

import contextlib
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.route import Route
from upwell.policy.routing.reachability import unserved
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.reconcilers.routing.reconciler import HOST_SUFFIX
from upwell.router.interface import HttpRule, Plain, RouterDownError, RouterUnavailableError, Tls

KEY = ObjectKey("Deployment", "shop", "web")


def service(name: str = "web", namespace: str = "shop", **spec: Any) -> Service:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    return decode_as(
        Service,
        {
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
        },
    )


def route(name: str = "web", namespace: str = "shop", **spec: Any) -> Route:
    return decode_as(
        Route,
        {
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"to": {"kind": "Service", "name": "web"}, **spec},
        },
    )


def deployment(image: str = GOOD) -> Deployment:
    container = {"name": "app", "image": image, "ports": [{"name": "web", "containerPort": 8080}]}
    template = {
        "metadata": {"labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": [container]},
    }
    return decode_as(
        Deployment,
        {
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"replicas": 2, "template": template},
        },
    )


@pytest.fixture
def setup() -> RolloutSetup:
    return RolloutSetup()


async def route_again(setup: RolloutSetup) -> None:
    await setup.routing.reconcile(ROUTER_KEY)


async def admitted(setup: RolloutSetup, name: str = "web", namespace: str = "shop") -> Condition:
    stored = await setup.store.get(Route, namespace, name)
    (ingress,) = stored.status.ingress
    assert (ingress.router_name, ingress.host) == ("upwell", stored.spec.host)
    (condition,) = ingress.conditions
    assert condition.type == "Admitted"
    return condition


async def listening(setup: RolloutSetup) -> Condition:
    found = find((await setup.store.get(Service, "shop", "web")).status.conditions, "Ready")
    assert found is not None
    return found


async def test_ready_instances_that_the_selector_matches_are_endpoints(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(service("other", selector={"app": "other"}))
    await setup.apply(service("everything", selector={}))
    await setup.apply(deployment())
    await setup.settle(KEY)

    endpoints = {one.name: one.endpoints for one in setup.router.table.backends}
    assert endpoints["shop:other:80"] == endpoints["shop:everything:80"] == ()
    assert [one.port for one in endpoints["shop:web:80"]] == [8080, 8080]
    assert [one.name for one in endpoints["shop:web:80"]] == setup.runtime.names()

    setup.runtime.end(setup.runtime.names()[0])
    await route_again(setup)
    assert setup.router.targets() == {setup.runtime.names()[1]}


async def test_a_service_selects_what_has_all_of_its_labels(setup: RolloutSetup) -> None:
    await setup.apply(service("front", selector={"tier": "front", "app": "web"}))
    await setup.apply(service("back", selector={"tier": "back", "app": "web"}))
    await setup.apply(deployment())
    await setup.settle(KEY)

    endpoints = {one.name: one.endpoints for one in setup.router.table.backends}
    assert [one.name for one in endpoints["shop:front:80"]] == setup.runtime.names()
    assert endpoints["shop:back:80"] == ()
    assert setup.traffic.is_live(KEY, setup.runtime.names()[0])


async def test_what_no_service_selects_in_full_needs_no_traffic(setup: RolloutSetup) -> None:
    await setup.apply(service("back", selector={"tier": "back", "app": "web"}))
    await setup.apply(deployment())
    await setup.settle(KEY)

    assert setup.router.targets() == set()
    assert setup.traffic.is_live(KEY, setup.runtime.names()[0])


async def test_a_service_of_another_namespace_selects_nothing_here(setup: RolloutSetup) -> None:
    await setup.apply(service(namespace="else"))
    await setup.apply(deployment())
    await setup.settle(KEY)

    assert setup.router.targets() == set()


async def test_a_service_gets_an_address_and_keeps_it(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(service("headless", clusterIP="None"))
    await route_again(setup)

    address = (await setup.store.get(Service, "shop", "web")).spec.cluster_ip
    assert address is not None
    assert address.startswith("127.77.")
    assert [(one.address, one.port) for one in setup.router.table.listeners] == [(address, 80)]
    assert (await listening(setup)).is_true

    await route_again(setup)
    assert (await setup.store.get(Service, "shop", "web")).spec.cluster_ip == address


async def test_a_port_in_use_is_shown_and_tried_again(setup: RolloutSetup) -> None:
    await setup.apply(service())
    setup.router.failures = {"shop:web:80": "address already in use"}

    waits = [(await setup.routing.reconcile(ROUTER_KEY)).requeue_after or 0 for _ in range(9)]

    condition = await listening(setup)
    assert (condition.status, condition.reason) == ("False", "ListenerFailed")
    assert ":80: address already in use" in condition.message
    assert 0.5 <= waits[0] <= 1, "soon"
    assert 30 <= waits[-1] <= 60, "less and less often"
    setup.router.failures = {}
    await route_again(setup)
    assert (await listening(setup)).is_true


async def test_a_route_without_a_host_gets_one(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(route())
    await route_again(setup)

    host = f"web.shop.{HOST_SUFFIX}"
    assert (await setup.store.get(Route, "shop", "web")).spec.host == host
    assert setup.router.table.rules == (HttpRule("shop:web", host, "", (("shop:web:80", 100),)),)
    assert (await admitted(setup)).is_true


async def test_requests_are_shared_by_weight(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(service("next"))
    to = {"kind": "Service", "name": "web", "weight": 90}
    other = {"kind": "Service", "name": "next", "weight": 10}
    await setup.apply(route(host="a.test", to=to, alternateBackends=[other]))
    await route_again(setup)

    assert setup.router.table.rules[0].backends == (("shop:web:80", 90), ("shop:next:80", 10))


@pytest.mark.parametrize("port", ["http", "web", 80])
async def test_a_route_names_its_port_by_name_target_or_number(
    setup: RolloutSetup, port: int | str
) -> None:
    ports = [
        {"name": "admin", "port": 81, "targetPort": 9000},
        {"name": "http", "port": 80, "targetPort": "web"},
    ]
    await setup.apply(service(ports=ports))
    await setup.apply(route(host="a.test", port={"targetPort": port}))
    await route_again(setup)

    assert setup.router.table.rules[0].backends == (("shop:web:80", 100),)


async def test_the_older_route_keeps_the_host(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(service(namespace="else"))
    await setup.apply(route("zebra", host="a.test"))
    setup.clock.advance(60)
    await setup.apply(route("ant", host="a.test"))
    setup.clock.advance(60)
    await setup.apply(route("ant", namespace="else", host="a.test", path="/else"))
    await setup.apply(route("path", host="a.test", path="/more"))
    await route_again(setup)

    for name, namespace in (("ant", "shop"), ("ant", "else")):
        condition = await admitted(setup, name, namespace)
        assert (condition.status, condition.reason) == ("False", "HostAlreadyClaimed")
        assert "Route shop/zebra" in condition.message
    assert [one.name for one in setup.router.table.rules] == ["shop:path", "shop:zebra"]

    await setup.store.delete(Route, "shop", "zebra")
    await route_again(setup)
    assert "shop:ant" in [one.name for one in setup.router.table.rules]
    assert (await admitted(setup, "ant")).is_true


async def test_a_route_to_nothing_says_what_is_missing(setup: RolloutSetup) -> None:
    await setup.apply(route(host="a.test"))
    await setup.apply(service("next"))
    wrong: dict[str, Any] = {
        "to": {"kind": "Service", "name": "next"},
        "port": {"targetPort": "metrics"},
    }
    await setup.apply(route("port", host="b.test", **wrong))
    await route_again(setup)

    assert (await admitted(setup)).reason == "ServiceNotFound"
    assert (await admitted(setup, "port")).reason == "PortNotFound"
    assert "'metrics'" in (await admitted(setup, "port")).message
    assert setup.router.table.rules == ()


async def test_a_rule_that_the_router_refuses_is_not_admitted(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(route(host="a.test"))
    setup.router.failures = {"shop:web": "the path has a wrong character"}
    await route_again(setup)

    condition = await admitted(setup)
    assert (condition.status, condition.reason) == ("False", "NotServed")
    assert "wrong character" in condition.message


async def test_a_router_that_takes_no_table_is_reported_on_everything_that_it_serves(
    setup: RolloutSetup,
) -> None:
    await setup.apply(service())
    await setup.apply(route(host="a.test"))
    await setup.apply(route("faulty", host="b.test", to={"name": "nothing"}))
    setup.router.refusal = RouterUnavailableError("haproxy: not found; apt install haproxy")
    with pytest.raises(RouterUnavailableError):  # the queue tries again, with backoff
        await route_again(setup)

    for condition in (await admitted(setup), await listening(setup)):
        assert (condition.status, condition.reason) == ("False", "RouterUnavailable")
        assert "apt install haproxy" in condition.message
        assert "tried again" in condition.message
    assert (await admitted(setup, "faulty")).reason == "ServiceNotFound"
    told = [str(one) for one in unserved([*(await setup.store.list(Route)).items])]
    assert told[1].startswith("Route shop/web is not served: haproxy: not found")

    setup.router.refusal = None
    await route_again(setup)
    assert (await admitted(setup)).is_true
    assert (await listening(setup)).is_true
    assert not list(unserved((await setup.store.list(Service)).items))


@pytest.mark.parametrize("down", [True, False])
async def test_only_a_router_that_is_down_lets_rollouts_go_on_without_it(
    setup: RolloutSetup, *, down: bool
) -> None:
    await setup.apply(service())
    await setup.apply(deployment())
    await setup.settle(KEY)
    error = RouterDownError if down else RouterUnavailableError
    setup.router.refusal = error("haproxy said no")
    old = setup.runtime.names()
    current = await setup.store.get(Deployment, "shop", "web")
    await setup.store.update(current.model_copy(update={"spec": deployment(BETTER).spec}))
    with contextlib.suppress(AssertionError):  # it may go on asking the router
        await setup.settle(KEY, limit=60)

    gone = not set(old) & set(setup.runtime.names())
    assert gone is down, "what the router may still send requests to is not stopped"


async def test_ports_that_no_router_of_tcp_serves_are_named(setup: RolloutSetup) -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53},
        {"port": 5060, "protocol": "SCTP"},
    ]
    await setup.apply(service(ports=ports))
    await route_again(setup)
    condition = await listening(setup)
    assert (condition.status, condition.reason) == ("False", "ProtocolNotServed")
    assert "port dns (53/UDP), port (5060/SCTP) are not served" in condition.message
    assert [one.port for one in setup.router.table.listeners] == [53]


async def test_a_table_that_is_in_force_is_written_about_once(setup: RolloutSetup) -> None:
    await setup.apply(service())
    await setup.apply(route())
    await route_again(setup)
    before = (await setup.store.list(Route)).resource_version

    await route_again(setup)

    assert (await setup.store.list(Route)).resource_version == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tls": {"termination": "reencrypt"}}, "needs tls.destinationCACertificate"),
        ({"tls": {"termination": "offload"}}, "'offload' is not served"),
        (
            {"tls": {"termination": "edge", "insecureEdgeTerminationPolicy": "Maybe"}},
            "'Maybe' is none of",
        ),
        ({"path": "/shop", "tls": {"termination": "passthrough"}}, "spec.path cannot be seen"),
        ({"tls": {"termination": "edge", "certificate": "PEM"}}, "belong together"),
        (
            {"tls": {"termination": "passthrough", "insecureEdgeTerminationPolicy": "Allow"}},
            "no meaning for passthrough",
        ),
    ],
)
async def test_tls_that_cannot_be_served_says_why(
    setup: RolloutSetup, more: dict[str, Any], told: str
) -> None:
    await setup.apply(service())
    await setup.apply(route(host="shop.example", **more))
    await route_again(setup)

    condition = await admitted(setup)
    assert (condition.status, condition.reason) == ("False", "InvalidTLS")
    assert told in condition.message


async def test_what_is_encrypted_again_names_whom_it_trusts(setup: RolloutSetup) -> None:
    tls = {"termination": "reencrypt", "destinationCACertificate": "AUTHORITY\n"}
    await setup.apply(service())
    await setup.apply(route(host="shop.example", tls=tls))
    await route_again(setup)

    [rule] = setup.router.table.rules
    assert rule.tls == Tls(destination_authority="AUTHORITY")
    assert (await admitted(setup)).is_true


async def test_an_own_certificate_reaches_the_router_with_its_chain(setup: RolloutSetup) -> None:
    tls = {
        "termination": "edge",
        "certificate": "CERT\n",
        "key": "KEY\n",
        "caCertificate": "CHAIN\n",
        "insecureEdgeTerminationPolicy": "Redirect",
    }
    await setup.apply(service())
    await setup.apply(route(host="shop.example", tls=tls))
    await route_again(setup)

    [rule] = setup.router.table.rules
    assert rule.tls == Tls(certificate="CERT\nCHAIN\nKEY\n", plain=Plain.REDIRECT)
    assert "KEY" not in repr(rule)


async def test_ports_of_the_machine_lead_to_what_is_ready(setup: RolloutSetup) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080}]
    await setup.apply(service(type="NodePort", ports=ports))
    container = {
        "name": "app",
        "image": GOOD,
        "ports": [
            {"name": "web", "containerPort": 8080, "hostPort": 8088, "hostIP": "127.0.0.1"},
            {"name": "other", "containerPort": 8081, "hostPort": 8088, "hostIP": "192.0.2.1"},
            {"name": "third", "containerPort": 8082, "hostPort": 8089},
        ],
    }
    spec = {
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    }
    await setup.apply(
        decode_as(Deployment, {"metadata": {"namespace": "shop", "name": "web"}, "spec": spec})
    )
    await setup.settle(KEY)

    listeners = {
        one.name: (one.address, one.port, one.http) for one in setup.router.table.listeners
    }
    assert listeners["shop:web:80:node"] == ("0.0.0.0", 30080, True)
    assert listeners["shop:Deployment:web:127.0.0.1:8088"] == ("127.0.0.1", 8088, False)
    assert listeners["shop:Deployment:web:192.0.2.1:8088"] == ("192.0.2.1", 8088, False)
    backends = {one.name: [e.port for e in one.endpoints] for one in setup.router.table.backends}
    assert backends["shop:Deployment:web:127.0.0.1:8088"] == [8080]
    assert backends["shop:Deployment:web:192.0.2.1:8088"] == [8081]
    assert backends["shop:Deployment:web:8089"] == [8082]

    setup.router.failures = dict.fromkeys(
        ("shop:web:80:node", "shop:Deployment:web:127.0.0.1:8088"), "Address already in use"
    )
    await route_again(setup)
    kinds = (Deployment, Service)
    objects = [await setup.store.get(kind, "shop", "web") for kind in kinds]
    assert [str(one) for one in unserved(objects)] == [
        "Deployment shop/web: host port 8088 is not served: Address already in use",
        "Service shop/web is not served: nodePort 30080: Address already in use",
    ]
    setup.router.failures = {}
    await route_again(setup)
    assert not list(unserved([await setup.store.get(kind, "shop", "web") for kind in kinds]))


@pytest.mark.parametrize(
    ("port", "http"),
    [
        ({"name": "http"}, True),
        ({"name": "http-api"}, True),
        ({"name": "httpd"}, False),
        ({"appProtocol": "http"}, True),
        ({"name": "http", "appProtocol": "https"}, False),
        ({}, False),
    ],
)
async def test_what_says_that_it_speaks_http_is_spoken_to_in_http(
    setup: RolloutSetup, port: dict[str, str], *, http: bool
) -> None:
    await setup.apply(service(ports=[{"port": 80, "targetPort": 8080, **port}]))
    await route_again(setup)

    assert [one.http for one in setup.router.table.listeners] == [http]


async def test_names_stand_for_services_and_headless_ones_for_their_instances(
    setup: RolloutSetup,
) -> None:
    await setup.apply(service())
    await setup.apply(service("each", clusterIP="None"))
    await setup.apply(deployment())
    await setup.settle(KEY)

    address = (await setup.store.get(Service, "shop", "web")).spec.cluster_ip
    names = [(one.name, one.address) for one in setup.runtime.published]
    assert ("web", address) in names
    instances = [one.address for one in await setup.runtime.instances()]
    assert [found for name, found in names if name == "each"] == instances


async def test_services_move_to_addresses_that_instances_reach() -> None:
    setup = RolloutSetup()
    await setup.apply(service())
    await route_again(setup)
    before = (await setup.store.get(Service, "shop", "web")).spec.cluster_ip or ""
    assert before.startswith("127.77.")

    setup.services = IPv4Network("10.200.2.0/23")
    setup.restart()
    await route_again(setup)
    moved = (await setup.store.get(Service, "shop", "web")).spec.cluster_ip
    assert moved is not None
    assert IPv4Address(moved) in setup.services

    own = service("own", clusterIP="192.0.2.7")
    await setup.apply(own)
    await route_again(setup)
    assert (await setup.store.get(Service, "shop", "own")).spec.cluster_ip == "192.0.2.7"


@pytest.mark.parametrize("address", ["::1", "127.0.0.1", "0.0.0.0", "192.0.2.7", "169.254.169.254"])
async def test_nobody_listens_at_an_address_that_is_not_of_services(address: str) -> None:
    setup = RolloutSetup()
    await setup.apply(service(clusterIP=address, type="NodePort"))
    await route_again(setup)
    assert {one.address for one in setup.router.table.listeners} == {"0.0.0.0"}  # the node port
    assert {one.name for one in setup.runtime.published} == set()
    told = await listening(setup)
    assert (told.status, told.reason) == ("False", "ListenerFailed")
    assert "remove spec.clusterIP" in told.message
    assert (await setup.routing.reconcile(ROUTER_KEY)).requeue_after in {None, 60}

    stored = await setup.store.get(Service, "shop", "web")
    spec = stored.spec.model_copy(update={"cluster_ip": None})
    await setup.store.update(stored.model_copy(update={"spec": spec}))
    await route_again(setup)
    assert (await listening(setup)).is_true


async def test_a_node_port_is_kept_by_who_has_it(setup: RolloutSetup) -> None:
    def wanting(name: str, port: int) -> Service:
        return service(name, type="NodePort", ports=[{"port": 80, "nodePort": port}])

    await setup.apply(wanting("early", 30080))
    await setup.apply(wanting("web", 30081))
    await route_again(setup)
    early = await setup.store.get(Service, "shop", "early")
    # The older one asks for what the other has: now, and of a server that starts anew.
    await setup.store.update(early.model_copy(update={"spec": wanting("early", 30081).spec}))
    for _ in range(2):
        await route_again(setup)
        assert (await listening(setup)).is_true
        nodes = [one.name for one in setup.router.table.listeners if one.port == 30081]
        assert nodes == ["shop:web:80:node"]
        setup.restart()


async def test_an_address_is_kept_by_who_has_it_through_a_new_server(setup: RolloutSetup) -> None:
    def at(name: str, port: int) -> Service:
        others = {"name": "other", "port": 99, "protocol": "UDP"}  # served by no router
        return service(name, clusterIP="127.77.9.9", ports=[{"port": port, "name": "it"}, others])

    await setup.apply(at("early", 80))
    await setup.apply(at("web", 81))
    await route_again(setup)
    early = await setup.store.get(Service, "shop", "early")
    assert early.status.places == ("127.77.9.9:80",)
    await setup.store.update(early.model_copy(update={"spec": at("early", 81).spec}))
    for _ in range(2):
        setup.restart()
        await route_again(setup)
        place = ("127.77.9.9", 81)
        listening_there = [
            one.name for one in setup.router.table.listeners if (one.address, one.port) == place
        ]
        assert listening_there == ["shop:web:81"]
    early = await setup.store.get(Service, "shop", "early")
    assert early.status.places == ()


async def test_a_host_port_is_kept_by_who_has_it_through_a_new_server(
    setup: RolloutSetup,
) -> None:
    def at(name: str, port: int) -> Deployment:
        ports = [{"containerPort": 8080, "hostPort": port, "hostIP": "127.0.0.1"}]
        containers = [{"name": "app", "image": GOOD, "ports": ports}]
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
        metadata = {"namespace": "shop", "name": name}
        return decode_as(Deployment, {"metadata": metadata, "spec": {"template": template}})

    await setup.apply(at("early", 8081))
    await setup.apply(at("web", 8082))
    await route_again(setup)
    early = await setup.store.get(Deployment, "shop", "early")
    await setup.store.update(early.model_copy(update={"spec": at("early", 8082).spec}))
    setup.restart()
    await route_again(setup)
    [listener] = [one for one in setup.router.table.listeners if one.port == 8082]
    assert listener.name == "shop:Deployment:web:127.0.0.1:8082"


async def test_a_published_port_belongs_to_who_runs(setup: RolloutSetup) -> None:
    def at(name: str, protocol: str, image: str = GOOD) -> Deployment:
        ports = [{"containerPort": 5353, "hostPort": 53, "protocol": protocol}]
        containers = [{"name": "app", "image": image, "ports": ports}]
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
        metadata = {"namespace": "shop", "name": name}
        return decode_as(Deployment, {"metadata": metadata, "spec": {"template": template}})

    await setup.apply(at("early", "UDP", BETTER))
    await setup.apply(at("tcp", "TCP"))
    await setup.apply(at("web", "UDP"))
    await setup.settle(KEY)
    await route_again(setup)
    objects = [await setup.store.get(Deployment, "shop", one) for one in ("early", "tcp", "web")]
    [fault] = map(str, unserved(objects))
    assert fault == (
        "Deployment shop/early: host port 53/UDP is not served: 0.0.0.0:53 belongs to Deployment"
        " shop/web; choose another"
    )


async def test_the_servers_own_ports_are_nobody_elses() -> None:
    setup = RolloutSetup()
    setup.reserved = (("127.0.0.1", 30700),)
    setup.restart()
    await setup.apply(service(type="NodePort", ports=[{"port": 30700, "nodePort": 30700}]))
    await route_again(setup)
    assert [one.name for one in setup.router.table.listeners] == ["shop:web:30700"]
    assert "belongs to this server" in (await listening(setup)).message


async def apply_all(setup: RolloutSetup, *resources: Resource) -> None:
    for resource in resources:
        await setup.apply(resource)


async def no_endpoints(setup: RolloutSetup, kind: type[Service] | type[Route]) -> str:
    """Return the fault of the Service or Route; empty: it has none."""
    await route_again(setup)
    stored = await setup.store.get(kind, "shop", "web")
    found = list(unserved([stored]))
    assert {one.reason for one in found} <= {"NoEndpoints"}
    return "".join(one.message for one in found)


async def test_a_service_that_selects_nothing_is_a_fault_after_a_while(setup: RolloutSetup) -> None:
    await apply_all(setup, service(), route())
    assert await no_endpoints(setup, Service) == ""
    result = await setup.routing.reconcile(ROUTER_KEY)
    assert result.requeue_after == 60

    setup.clock.advance(59)
    assert await no_endpoints(setup, Service) == ""
    setup.clock.advance(1)
    for kind in (Service, Route):
        told = await no_endpoints(setup, kind)
        assert "app=web" in told
        assert "correct spec.selector, or apply the workload" in told

    setup.restart()  # the fault stays, though its time was not written down
    assert "app=web" in await no_endpoints(setup, Service)

    await apply_all(setup, deployment())
    await setup.settle(KEY)
    for kind in (Service, Route):
        assert await no_endpoints(setup, kind) == ""


async def test_the_order_of_an_apply_and_an_ordinary_rollout_raise_nothing(
    setup: RolloutSetup,
) -> None:
    await apply_all(setup, service(), route())
    await route_again(setup)
    setup.clock.advance(50)
    await apply_all(setup, deployment())
    await setup.settle(KEY)
    setup.clock.advance(300)
    await route_again(setup)
    stored = await setup.store.get(Service, "shop", "web")
    assert find(stored.status.conditions, "EndpointsAvailable") is None


async def test_a_workload_that_is_scaled_to_zero_is_no_fault(setup: RolloutSetup) -> None:
    nothing = deployment()
    nothing = nothing.model_copy(update={"spec": nothing.spec.model_copy(update={"replicas": 0})})
    await apply_all(setup, service(), route(), nothing)
    await setup.settle(KEY)
    for _ in range(2):
        assert await no_endpoints(setup, Service) == ""
        setup.clock.advance(300)


async def test_a_service_whose_instances_all_ended_is_a_fault_and_names_the_workload(
    setup: RolloutSetup,
) -> None:
    await apply_all(setup, service(), route(), deployment())
    await setup.settle(KEY)
    for name in setup.runtime.names():
        setup.runtime.end(name, "container app exited 3", 3)
    assert await no_endpoints(setup, Route) == ""
    setup.clock.advance(61)
    assert "deployment/web is ready" in await no_endpoints(setup, Route)
