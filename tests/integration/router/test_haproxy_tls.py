"""A real HAProxy that speaks TLS to clients, and again to endpoints."""

import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.workload.http_servers import fetch, named_endpoint
from tests.support.workload.tls_servers import (
    OwnCertificate,
    fetch_by_tls,
    make_certificate,
    tls_site,
)

from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.router.interface import Backend, BackendServer, HttpRule, Plain, RoutingTable, Tls

BACKENDS = (("b", 1),)


@pytest.fixture
def own(tmp_path: Path) -> OwnCertificate:
    return make_certificate(tmp_path, "own.example")


@pytest.fixture
async def router(own: OwnCertificate, folder: Path) -> AsyncIterator[HaproxyRouter]:
    async def certify(hosts: Sequence[str]) -> str:
        assert hosts
        return pair(own)

    http, https = (f"127.0.0.1:{free_port()}" for _ in range(2))
    router = HaproxyRouter(HaproxySettings(folder, http, https, make_certificate=certify))
    yield router
    await router.stop()


def pair(certificate: OwnCertificate) -> str:
    return certificate.chain.read_text() + certificate.key.read_text()


def rule(name: str, tls: Tls) -> HttpRule:
    return HttpRule(name, f"{name}.example", "", BACKENDS, tls)


def table(*rules: HttpRule, endpoints: Sequence[BackendServer] = ()) -> RoutingTable:
    return RoutingTable((Backend("b", tuple(endpoints)),), rules)


async def ask(router: HaproxyRouter, name: str) -> str:
    return await fetch_by_tls(router._settings.https_address, f"{name}.example")


async def test_endpoints_are_spoken_to_by_tls_if_the_authority_has_signed_for_them(
    router: HaproxyRouter, own: OwnCertificate, tmp_path: Path
) -> None:
    stranger = make_certificate(tmp_path, "stranger.example").chain.read_text()
    trusts = Tls(destination_authority=own.chain.read_text(), plain=Plain.ALLOW)
    rules = (rule("trusts", trusts), rule("doubts", Tls(destination_authority=stranger)))
    async with tls_site(own, "secret") as port:
        one = BackendServer("one", "127.0.0.1", port)
        assert await router.apply(table(*rules, endpoints=[one])) == {}
        assert await ask(router, "trusts") == "secret"
        assert await fetch(router.http_address, "trusts.example") == (200, "secret")
        assert "50" in await ask(router, "doubts")

        # Another endpoint comes and the first one goes, while HAProxy runs.
        async with tls_site(own, "newer") as second:
            endpoints = [replace(one, draining=True), BackendServer("two", "127.0.0.1", second)]
            worker = await router._cli.workers()
            assert await router.apply(table(*rules, endpoints=endpoints)) == {}
            assert await ask(router, "trusts") == "newer"
            assert await router._cli.workers() == worker, "nothing was reloaded"
            assert await router.sessions("b") == {"one": 0, "two": 0}


async def test_a_bad_certificate_concerns_its_own_rule_alone(
    router: HaproxyRouter, own: OwnCertificate, tmp_path: Path
) -> None:
    stranger = make_certificate(tmp_path, "stranger.example")
    swapped = own.chain.read_text() + stranger.key.read_text()
    rules = (
        rule("good", Tls(certificate=pair(own))),
        rule("swapped", Tls(certificate=swapped)),
        rule("junk", Tls(certificate="junk")),
        rule("nobody", Tls(destination_authority="junk")),
    )
    async with named_endpoint("plain") as one:
        faults = await router.apply(table(*rules, endpoints=[one.endpoint]))
        assert await ask(router, "good") == "plain"
    assert faults.keys() == {"swapped", "junk", "nobody"}
    assert "tls.certificate with tls.key cannot be used" in faults["swapped"]
    assert "tls.destinationCACertificate cannot be used" in faults["nobody"]
    assert not any("PRIVATE" in fault for fault in faults.values())


async def test_a_taken_https_port_is_named(router: HaproxyRouter) -> None:
    address = router._settings.https_address
    async with named_endpoint("plain") as one:
        wanted = table(rule("web", Tls()), endpoints=[one.endpoint])
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            squatter.listen()
            faults = await router.apply(wanted)
            assert "Address already in use by process" in faults["web"]
            assert "; stop what listens there" in faults["web"]
            assert "--router-https" in faults["web"]
        assert await router.apply(wanted) == {}
        assert await ask(router, "web") == "plain"
