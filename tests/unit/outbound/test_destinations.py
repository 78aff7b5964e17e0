from ipaddress import ip_address

import pytest

from upwell.outbound.destinations import AllowedDestination


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.0/8", "10.1.2.3", 443),
        ("127.0.0.1:5005", "127.0.0.1", 5005),
        ("127.0.0.1", "127.0.0.1", 1),
        ("::1", "::1", 80),
        ("[::1]:80", "::1", 80),
        ("fd00::/8", "fd12::1", 80),
        ("localhost:80", "127.0.0.1", 80),
        ("localhost", "::1", 80),
    ],
)
def test_an_address_is_allowed(text: str, address: str, port: int) -> None:
    assert AllowedDestination.parse(text).allows_address(ip_address(address), port)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.0/8", "11.1.2.3", 443),
        ("127.0.0.1:5005", "127.0.0.1", 5006),
        ("127.0.0.1:5005", "127.0.0.2", 5005),
        ("[::1]:80", "::1", 81),
        ("git.corp:22", "127.0.0.1", 22),
        ("0.0.0.0/0", "::1", 22),
    ],
)
def test_others_are_not(text: str, address: str, port: int) -> None:
    assert not AllowedDestination.parse(text).allows_address(ip_address(address), port)


@pytest.mark.parametrize(
    ("text", "host", "port", "allowed"),
    [
        ("git.corp:22", "git.corp", 22, True),
        ("git.corp:22", "GIT.Corp.", 22, True),
        ("git.corp:22", "git.corp", 80, False),
        ("git.corp", "git.corp", 80, True),
        ("git.corp", "evil-git.corp", 80, False),
        ("git.corp", "git.corp.evil.example", 80, False),
        ("*.corp", "git.corp", 80, True),
        ("*.corp", "a.git.corp", 80, True),
        ("*.corp", "corp", 80, False),
        ("*.corp", "evilcorp", 80, False),
        ("10.0.0.0/8", "10.0.0.1", 80, False),
    ],
)
def test_a_name_is_allowed_whole(text: str, host: str, port: int, *, allowed: bool) -> None:
    assert AllowedDestination.parse(text).allows_name(host, port) is allowed


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":", ":80", "host:", "host:0", "host:65536", "host:8o", "10.0.0.1/8", "127.1"),
        *("0x7f000001", "2130706433", "a.0x7f", "017700000001", "http://host", "a b", "[::1", "*"),
        *("*.", "host/path", "::1/129", "-x", "user@host", "[host]:80", "256.1.1.1"),
    ],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AllowedDestination.parse(text)
