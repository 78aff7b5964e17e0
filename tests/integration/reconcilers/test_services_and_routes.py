"""Services found by name from other containers, and Routes with TLS, weights and host ports."""

import contextlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.ports import free_port
from tests.support.rollouts.real_machine import HOST, RealRollouts, podman_home, real_rollouts
from tests.support.workload.http_servers import fetch
from tests.support.workload.tls_servers import fetch_by_tls, make_certificate
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.meta import Condition, Resource
from upwell.api.route import Route
from upwell.workload.interface import Instance, Runtime

__all__ = ["podman_home", "real_rollouts"]  # fixtures

FETCH = "busybox wget -q -O - -T 2 {}"


def serving(image: str, name: str, port: int = 8080, **container: Any) -> Deployment:
    script = f"mkdir /www && echo {name} > /www/index.html && exec httpd -f -p {port} -h /www"
    web = {
        "name": "web",
        "image": image,
        "command": ["/bin/busybox", "sh", "-c", script],
        "ports": [{"containerPort": port}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        **container,
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [web], "terminationGracePeriodSeconds": 0},
    }
    metadata = {"namespace": "shop", "name": name}
    return decode_as(Deployment, {"metadata": metadata, "spec": {"template": template}})


def service(name: str, namespace: str = "shop", **spec: Any) -> Service:
    document = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
    return decode_as(
        Service, {"metadata": {"namespace": namespace, "name": name}, "spec": document}
    )


def route(name: str, host: str, **spec: Any) -> Route:
    document = {"host": host, "to": {"kind": "Service", "name": name}, **spec}
    return decode_as(Route, {"metadata": {"namespace": "shop", "name": name}, "spec": document})


async def apply(real_rollouts: RealRollouts, *resources: Resource) -> None:
    for resource in resources:
        await real_rollouts.store.create(resource)


async def ready(runtime: Runtime, count: int) -> list[Instance]:
    async def found() -> list[Instance]:
        return list(await runtime.instances())

    return await eventually(found, lambda all_: sum(one.ready for one in all_) == count)


async def test_a_container_finds_services_by_name_whatever_their_ports(
    real_rollouts: RealRollouts,
) -> None:
    async with real_rollouts.serve() as runtime:
        image = str(real_rollouts.image)
        await apply(
            real_rollouts, serving(image, "client"), serving(image, "shop"), service("shop")
        )
        instances = await ready(runtime, 2)
        client = next(one.name for one in instances if one.owner.name == "client")

        async def ask(name: str) -> str:
            command = ("/bin/busybox", "sh", "-c", FETCH.format(f"http://{name}/") + " 2>&1")
            _, output = await runtime.execute(client, command)
            return output.decode().strip()

        for name in ("shop", "shop.shop", "shop.shop.svc", "shop.shop.svc.cluster.local"):
            await eventually(partial(ask, name), lambda text: text == "shop")

        # A Service that comes later, with the same port, is found by what runs already.
        await apply(real_rollouts, serving(image, "cart"), service("cart"))
        await eventually(lambda: ask("cart"), lambda text: text == "cart")
        address = (await real_rollouts.store.get(Service, "shop", "cart")).spec.cluster_ip
        assert await fetch(f"{address}", "cart") == (200, "cart")


async def test_a_host_port_leads_through_the_router(real_rollouts: RealRollouts) -> None:
    port = free_port()
    async with real_rollouts.serve():
        ports = [{"containerPort": 8080, "hostPort": port, "hostIP": "127.0.0.1"}]
        await apply(real_rollouts, serving(str(real_rollouts.image), "web", ports=ports))

        async def ask() -> str:
            with contextlib.suppress(aiohttp.ClientError):
                return (await fetch(f"127.0.0.1:{port}", "web"))[1]
            return ""

        await eventually(ask, lambda text: text == "web")


async def https(real_rollouts: RealRollouts, host: str, authority: Path | None = None) -> str:
    return await fetch_by_tls(real_rollouts.router._settings.https_address, host, authority)


async def plain(real_rollouts: RealRollouts, host: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session:
        address = f"http://{real_rollouts.router.http_address}/"
        async with session.get(address, headers={"Host": host}, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", "")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str, Path]:
    """A certificate and its key for own.example, and the file that a client trusts."""
    made = make_certificate(tmp_path, "own.example")
    return made.chain.read_text(), made.key.read_text(), made.chain


async def test_tls_ends_at_the_router_with_an_own_or_a_generated_certificate(
    real_rollouts: RealRollouts, certificate: tuple[str, str, Path]
) -> None:
    chain, key, trusted = certificate
    edge = {"termination": "edge"}
    own = {**edge, "certificate": chain, "key": key}
    async with real_rollouts.serve():
        image = str(real_rollouts.image)
        await apply(
            real_rollouts,
            *(serving(image, "web"), service("web")),
            route("web", "made.example", tls={**edge, "insecureEdgeTerminationPolicy": "Redirect"}),
        )
        await eventually(lambda: https(real_rollouts, "made.example"), lambda text: text == "web")
        port = (real_rollouts.router._settings.https_address).rpartition(":")[2]
        assert await plain(real_rollouts, "made.example") == (302, f"https://made.example:{port}/")

        second = route("web", "own.example", tls=own).with_metadata(name="own")
        allowed = route(
            "web", "both.example", tls={**edge, "insecureEdgeTerminationPolicy": "Allow"}
        )
        await apply(real_rollouts, second, allowed.with_metadata(name="both"))
        await eventually(
            lambda: https(real_rollouts, "own.example", trusted), lambda text: text == "web"
        )
        assert (await plain(real_rollouts, "own.example"))[0] == 503
        await eventually(
            lambda: plain(real_rollouts, "both.example"), lambda found: found[0] == 200
        )
        assert await https(real_rollouts, "made.example") == "web"
        stored = await real_rollouts.store.get(Route, "shop", "own")
        assert key not in repr(stored)


async def test_a_bad_certificate_concerns_its_own_route_alone(
    real_rollouts: RealRollouts, certificate: tuple[str, str, Path], tmp_path: Path
) -> None:
    chain, key, _ = certificate
    edge = {"termination": "edge"}
    other = make_certificate(tmp_path, "other.example").key.read_text()
    async with real_rollouts.serve():
        await apply(
            real_rollouts,
            *(serving(str(real_rollouts.image), "web"), service("web")),
            route("web", "made.example", tls=edge),
            route(
                "web", "swapped.example", tls={**edge, "certificate": chain, "key": other}
            ).with_metadata(name="swapped"),
            route(
                "web", "junk.example", tls={**edge, "certificate": "junk", "key": key}
            ).with_metadata(name="junk"),
        )
        await eventually(lambda: https(real_rollouts, "made.example"), lambda text: text == "web")
        for name in ("swapped", "junk"):
            told = await eventually(
                partial(admitted, real_rollouts, name), lambda found: bool(found.message)
            )
            assert (told.status, told.reason) == ("False", "NotServed")
            assert "tls.certificate with tls.key cannot be used" in told.message
            assert "PRIVATE" not in told.message


async def admitted(real_rollouts: RealRollouts, name: str) -> Condition:
    ingress = (await real_rollouts.store.get(Route, "shop", name)).status.ingress
    none = Condition(type="Admitted", status="Unknown")
    return next((one for each in ingress for one in each.conditions), none)


async def test_tls_is_passed_through_beside_tls_that_ends_here(
    real_rollouts: RealRollouts, certificate: tuple[str, str, Path]
) -> None:
    edge = {"termination": "edge", "certificate": certificate[0], "key": certificate[1]}
    async with real_rollouts.serve():
        image = str(real_rollouts.image)
        await apply(
            real_rollouts,
            *(serving(image, "web"), service("web")),
            *(serving(image, "raw"), service("raw")),
            route("web", "own.example", tls=edge),
            route("raw", "raw.example", tls={"termination": "passthrough"}),
        )
        await eventually(
            lambda: https(real_rollouts, "own.example", certificate[2]), lambda text: text == "web"
        )
        # The endpoint gets the handshake itself, and this one speaks plain HTTP: it says so.
        answer = await https(real_rollouts, "raw.example")
        assert "failed" in answer


async def test_weights_share_the_requests(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve() as runtime:
        image = str(real_rollouts.image)
        weighted = route(
            "blue",
            HOST,
            to={"kind": "Service", "name": "blue", "weight": 3},
            alternateBackends=[{"kind": "Service", "name": "green", "weight": 1}],
        )
        for name in ("blue", "green"):
            await apply(real_rollouts, serving(image, name), service(name))
        await apply(real_rollouts, weighted)
        await ready(runtime, 2)

        async def asked() -> Counter[str]:
            answers: Counter[str] = Counter()
            async with aiohttp.ClientSession() as session:
                for _ in range(200):
                    address = f"http://{real_rollouts.router.http_address}/"
                    async with session.get(address, headers={"Host": HOST}) as answer:
                        answers[(await answer.text()).strip()] += 1
            return answers

        found = await eventually(asked, lambda answers: set(answers) == {"blue", "green"})
        assert 100 <= found["blue"] <= 190
