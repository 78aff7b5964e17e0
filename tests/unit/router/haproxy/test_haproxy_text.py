from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.router.haproxy.config import (
    RouterLimits,
    ServablePlan,
    TlsPlan,
    endpoint_name,
    http_proxy,
    plan,
)
from upwell.router.interface import (
    Backend,
    BackendServer,
    HttpRule,
    Listener,
    Plain,
    RoutingTable,
    Tls,
)

WEB = Backend("shop/web:http", (BackendServer("web-1", "10.0.0.2", 8080),))
RULE = HttpRule("shop", "shop.example", "/", (("shop/web:http", 1),))
LISTENER = Listener("svc", "127.0.0.5", 80, "shop/web:http")
TABLE = RoutingTable((WEB,), (RULE,), (LISTENER,))


def planned(table: RoutingTable = TABLE) -> ServablePlan:
    return plan(table, "127.0.0.1:8080", RouterLimits())


def with_rules(*rules: HttpRule) -> ServablePlan:
    return planned(replace(TABLE, rules=rules))


def lines(made: ServablePlan, start: str) -> Sequence[str]:
    return [line.strip() for line in made.render().splitlines() if line.strip().startswith(start)]


def test_endpoints_are_no_part_of_the_structure() -> None:
    moved = Backend(WEB.name, (BackendServer("web-2", "10.0.0.3", 8080, draining=True),))
    other = planned(replace(TABLE, backends=(moved,)))
    assert other.fingerprint() == planned().fingerprint()
    assert "server web-2 10.0.0.3:8080 disabled" in other.render()


@pytest.mark.parametrize(
    "changed",
    [
        replace(TABLE, rules=()),
        replace(TABLE, listeners=()),
        replace(TABLE, rules=(replace(RULE, path="/x"),)),
        replace(TABLE, listeners=(replace(LISTENER, port=81),)),
    ],
)
def test_rules_and_listeners_are(changed: RoutingTable) -> None:
    assert planned(changed).fingerprint() != planned().fingerprint()


def tls_lines(*rules: HttpRule, certificates: Sequence[str] = ("/c/a.pem",)) -> str:
    return replace(
        with_rules(*rules), tls=TlsPlan("127.0.0.1:7443", certificates, "/r/edge.sock")
    ).render()


def test_tls_that_ends_here_has_a_frontend_of_its_own() -> None:
    text = tls_lines(replace(RULE, tls=Tls(plain=Plain.REDIRECT)))
    assert "bind 127.0.0.1:7443 ssl crt /c/a.pem alpn h2,http/1.1" in text
    assert "redirect code 302 location https://%[var(txn.host)]:7443%[capture.req.uri]" in text
    assert "frontend upwell_tls\n" not in text
    assert text.count("use_backend http:shop:2Fweb:3Ahttp") == 2


def test_the_name_in_the_handshake_decides_what_is_passed_through() -> None:
    passed = HttpRule("raw", "raw.example", "/", RULE.backends, Tls(passthrough=True))
    text = tls_lines(replace(RULE, tls=Tls(plain=Plain.ALLOW)), passed)
    assert "tcp-request content set-var(txn.host) req.ssl_sni,lower" in text
    assert "server edge unix@/r/edge.sock send-proxy-v2" in text
    assert "bind unix@/r/edge.sock accept-proxy ssl crt /c/a.pem" in text
    alone = tls_lines(passed, certificates=())
    assert "frontend upwell_https" not in alone
    assert "upwell_edge" not in alone


def test_the_order_of_the_table_does_not_matter() -> None:
    other = HttpRule("other", "other.example", "/", RULE.backends)
    assert with_rules(RULE, other).fingerprint() == with_rules(other, RULE).fingerprint()


def test_the_narrowest_domain_has_a_name() -> None:
    hosts = ("*.shop.example", "*.eu.shop.example", "web.eu.shop.example")
    wide, narrow, exact = (replace(RULE, host=host) for host in hosts)
    made = lines(with_rules(replace(wide, path="/api"), narrow, exact), "use_backend")
    found = [word.strip("'") for line in made for word in line.split() if "shop.example" in word]
    assert list(dict.fromkeys(found)) == [host.lstrip("*") for host in reversed(hosts)]


def test_a_backend_that_nothing_uses_is_left_out() -> None:
    unused = Backend("unused", (BackendServer("x", "10.0.0.9", 1),))
    assert planned(replace(TABLE, backends=(WEB, unused))).fingerprint() == planned().fingerprint()


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_no_two_names_become_one(one: str, other: str) -> None:
    assert (http_proxy(one) == http_proxy(other)) == (one == other)


@given(st.text(alphabet=st.characters(codec="ascii"), min_size=1))
def test_an_endpoint_s_name_is_found_again(name: str) -> None:
    backend = Backend("b", (BackendServer(name, "10.0.0.2", 1),))
    table = RoutingTable((backend,), (replace(RULE, backends=(("b", 1),)),))
    [(_, server)] = planned(table).servers()
    assert endpoint_name(server) == name


@pytest.mark.parametrize("host", ["a b", "x\nfrontend y", "-x", "a{b", "*", "é.example", "a'b"])
def test_a_host_cannot_become_configuration(host: str) -> None:
    made = with_rules(replace(RULE, host=host))
    assert made.faults == {"shop": f"{host!r} is not a host name"}
    assert host not in made.render()


@pytest.mark.parametrize("path", ["x", "/a b", "/a\nb", '/a"b', "/a{b", "/a\\b", "/a#b"])
def test_a_path_cannot_become_configuration(path: str) -> None:
    made = with_rules(replace(RULE, path=path))
    assert made.faults == {"shop": f"{path!r} is not an absolute path"}


def test_the_router_s_own_port_is_taken() -> None:
    made = planned(replace(TABLE, listeners=(replace(LISTENER, address="127.0.0.1", port=8080),)))
    assert made.faults == {"svc": "the router itself has it already"}


def test_shares_are_cumulative_and_zero_gets_nothing() -> None:
    backends = tuple(Backend(name, ()) for name in "abc")
    rule = replace(RULE, backends=(("a", 1), ("b", 0), ("c", 3)))
    made = planned(RoutingTable(backends, (rule,)))
    used = lines(made, "use_backend")
    assert "lt 250000" in used[0]
    assert not any(line.startswith("use_backend http:b") for line in used)
    assert used[-1].startswith("use_backend http:c")
