import ipaddress
import socket

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from upwell.outbound.addresses import IpAddress, parse_address, refused_range
from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy
from upwell.outbound.routes import NetworkRoute


def elsewhere(_: IpAddress) -> NetworkRoute:
    return NetworkRoute(interface="eth0")


POLICY = OutboundPolicy(route=elsewhere)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.255.0.9", "a loopback address"),
        ("::1", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("fd00:ec2::254", "the address of a metadata service"),
        ("100.100.100.200", "the address of a metadata service"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("::", "an unspecified address"),
        ("255.255.255.255", "a reserved address"),
        ("240.0.0.1", "a reserved address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::ffff:7f00:1", "a loopback address"),
        ("::127.0.0.1", "a loopback address"),
        ("64:ff9b::7f00:1", "a loopback address"),
        ("64:ff9b::a9fe:a9fe", "a link-local address"),
        ("64:ff9b:1::a9fe:a9fe", "a link-local address"),
        ("2002:7f00:1::", "a loopback address"),
        ("2002:a9fe:a9fe::1", "a link-local address"),
    ],
)
def test_special_addresses_are_refused_with_the_next_step(address: str, why: str) -> None:
    with pytest.raises(ForbiddenAddressError, match=rf" is {why}; .* below \[outbound\]"):
        POLICY.check(address, 80)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.5", "172.16.0.1", "fd12:3456::1", "8.8.8.8", "2606:4700::1111"],
)
def test_private_networks_and_the_internet_are_reached(address: str) -> None:
    POLICY.check(address, 5000)


@pytest.mark.parametrize(
    ("route", "why"),
    [
        (NetworkRoute(local=True, interface="lo"), "an address of this machine"),
        (NetworkRoute(interface="upwell7064cb00c"), "an address of an instance on this machine"),
    ],
)
@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"])
def test_what_is_on_this_machine_is_refused(address: str, route: NetworkRoute, why: str) -> None:
    def of(one: IpAddress) -> NetworkRoute:
        return route if str(one) == "10.1.2.3" else NetworkRoute(interface="eth0")

    with pytest.raises(ForbiddenAddressError, match=f"is {why};"):
        OutboundPolicy(route=of).check(address, 80)


def test_nothing_is_sent_while_the_kernel_does_not_tell_the_route() -> None:
    def silent(_: IpAddress) -> NetworkRoute:
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(ForbiddenAddressError, match="whose route the kernel does not tell"):
        OutboundPolicy(route=silent).check("10.0.0.1", 80)


def test_an_administrator_allows_by_address_network_and_name() -> None:
    policy = OutboundPolicy.of(["127.0.0.1:5005", "169.254.0.0/16", "*.corp:80"])
    policy.check("127.0.0.1", 5005)
    policy.check("::ffff:127.0.0.1", 5005)
    policy.check("169.254.169.254", 80)
    policy.check("127.0.0.9", 80, "hook.corp")
    with pytest.raises(ForbiddenAddressError, match=r"127.0.0.9 \(hook.corp\) .*hook.corp:81"):
        policy.check("127.0.0.9", 81, "hook.corp")
    with pytest.raises(ForbiddenAddressError):
        policy.check("127.0.0.1", 5006)
    policy.also(["127.0.0.1:5006"]).check("127.0.0.1", 5006)


def spellings(packed: int) -> list[str]:
    """Every way in which the system's resolver takes an IPv4 address."""
    a, b, c, d = packed.to_bytes(4)
    return [
        str(packed),
        hex(packed),
        f"0{packed:o}",
        f"{a}.{packed & 0xFFFFFF}",
        f"{a}.{b}.{packed & 0xFFFF}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"::ffff:{a}.{b}.{c}.{d}",
        f"0:0:0:0:0:FFFF:{a:02x}{b:02x}:{c:02x}{d:02x}",
    ]


refused_addresses = st.one_of(
    *(
        st.ip_addresses(network=network)
        for network in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "240.0.0.0/4")
    )
)


@given(refused_addresses, st.data())
def test_no_spelling_of_a_refused_address_gets_through(
    address: ipaddress.IPv4Address, data: st.DataObject
) -> None:
    text = data.draw(st.sampled_from(spellings(int(address))))
    found = socket.getaddrinfo(text, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    for *_, place in found:
        with pytest.raises(ForbiddenAddressError):
            POLICY.check(str(place[0]), 80)


@given(refused_addresses, st.sampled_from(["::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "::"]))
def test_no_ipv6_address_carries_a_refused_one(address: ipaddress.IPv4Address, prefix: str) -> None:
    carrier = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(address))
    with pytest.raises(ForbiddenAddressError):
        POLICY.check(str(carrier), 80)


@given(st.ip_addresses())
def test_a_judged_address_means_the_same_mapped(address: IpAddress) -> None:
    assume(isinstance(address, ipaddress.IPv4Address))
    mapped = parse_address(f"::ffff:{address}")
    assert mapped == address
    assert refused_range(mapped) == refused_range(address)
