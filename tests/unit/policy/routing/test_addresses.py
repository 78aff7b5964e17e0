"""Addresses of Services: each its own, the same after a restart."""

from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.policy.routing.addresses import allocate

SERVICE = decode_as(Service, {"metadata": {"namespace": "shop", "name": "web"}, "spec": {}})


def test_two_services_never_share_an_address() -> None:
    first = allocate(SERVICE, set())

    assert allocate(SERVICE, set()) == first
    assert allocate(SERVICE, {first}) != first
