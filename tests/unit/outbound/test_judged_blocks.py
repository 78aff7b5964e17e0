"""Connections of libraries that connect by themselves, judged in the thread that they work in."""

import socket
from contextlib import suppress

import pytest

from upwell.outbound.blocking import judged
from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy


def connect(host: str) -> None:
    """Connect a socket that sends nothing by that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected:
        connected.connect((host, 9))


def test_an_address_of_others_is_connected_to_by_the_route_that_the_kernel_tells() -> None:
    with judged(OutboundPolicy()) as block:
        for _ in range(2):
            with suppress(OSError):  # of a machine without a route
                connect("192.0.2.1")
        assert block.refusals == []
        with pytest.raises(ForbiddenAddressError):
            connect("127.0.0.1")
    assert len(block.refusals) == 1
