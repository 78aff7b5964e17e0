"""The text of a ruleset: no elements that overlap, and nothing of a name in it."""

from dataclasses import replace
from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from upwell.firewall.interface import Access, Bridge, FirewallTable, Opening
from upwell.firewall.ruleset import _by_port, render

BRIDGE = Bridge("br0", IPv4Network("10.9.8.0/23"), IPv4Network("10.9.10.0/23"))

networks = st.builds(
    lambda last, length: IPv4Network((0x0A000000 + last, length), strict=False),
    st.integers(0, 63),
    st.integers(26, 32),
)
openings = st.builds(
    lambda network, protocol, ends: Opening(network, protocol, min(ends), max(ends)),
    networks,
    st.sampled_from([6, 17]),
    st.tuples(st.integers(0, 12), st.integers(0, 12)),
)


def points(text: str) -> set[tuple[int, int, int]]:
    network, protocol, ports = text.split(" . ")
    first, _, last = ports.partition("-")
    return {
        (int(address), int(protocol), port)
        for address in IPv4Network(network)
        for port in range(int(first), int(last or first) + 1)
    }


@given(st.frozensets(openings, max_size=6))
def test_elements_say_what_the_openings_say_and_overlap_nowhere(access: Access) -> None:
    found: set[tuple[int, int, int]] = set()
    for text in _by_port(access):
        here = points(text)
        assert not here & found
        found |= here
    assert found == {
        (int(address), one.protocol, port)
        for one in access
        for address in one.network
        for port in range(one.first, one.last + 1)
    }


def test_instances_that_are_treated_alike_share_a_chain() -> None:
    access = frozenset({Opening(IPv4Network("10.9.8.2/32"))})
    addresses = [f"10.9.8.{n}" for n in range(2, 200)]
    text = render("upwell-a", FirewallTable(BRIDGE, dict.fromkeys(addresses, access)))
    assert text.count("chain in_") == 1
    assert text.count("goto in_0") == len(addresses)


def test_too_many_elements_let_nobody_in() -> None:
    access = frozenset(
        Opening(IPv4Network((0x14000000 + 2 * n, 32)), 6, n % 60_000, n % 60_000)
        for n in range(70_000)
    )
    text = render("upwell-a", FirewallTable(BRIDGE, {"10.9.8.2": access}))
    assert "in_0_ports" not in text
    assert "    drop\n" in text.partition("chain in_0 {")[2].partition("}")[0]


def test_metadata_is_open_only_where_that_is_set() -> None:
    assert "169.254.0.0/16" in render("upwell-a", FirewallTable(BRIDGE))
    assert "169.254.0.0/16" not in render("upwell-a", FirewallTable(BRIDGE, metadata=True))


def chain(text: str, name: str) -> list[str]:
    body = text.partition(f"chain {name} {{\n")[2].partition("  }")[0]
    return [line.strip() for line in body.splitlines()]


def test_names_are_asked_for_where_policies_allow_it_and_of_resolvers_alone() -> None:
    bridge = replace(BRIDGE, resolvers=frozenset({"169.254.169.253", "192.0.2.53"}))
    held = FirewallTable(bridge, egress={"10.9.8.2": frozenset()})
    text = render("upwell-a", held)
    assert chain(text, "outgoing") == [
        "ip daddr { 169.254.0.0/16, 100.100.100.200 } jump metadata",
        "ip saddr != @known drop",
        "ip saddr vmap @egress",
    ]
    *resolvers, last = chain(text, "metadata")
    assert last == "drop"
    assert [line.split()[2] for line in resolvers] == ["169.254.169.253", "192.0.2.53"]
    assert all(line.endswith("th dport 53 return") for line in resolvers)
    assert chain(render("upwell-a", replace(held, metadata=True)), "outgoing") == [
        "ip saddr != @known drop",
        "ip saddr vmap @egress",
    ]


def test_who_is_not_known_yet_is_held_back_where_some_are() -> None:
    held = FirewallTable(BRIDGE, egress={"10.9.8.2": frozenset()}, known=frozenset({"10.9.8.2"}))
    assert render("upwell-a", held).count("ip saddr != @known drop") == 2
    assert "!= @known" not in render("upwell-a", FirewallTable(BRIDGE))
