"""Clients of a bucket that die at one of their requests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from tests.support.faults.on_demand import on_demand
from tests.support.s3.strict_server import StrictS3


def on_either_side_of_a_request(neighbour: str) -> pytest.MarkDecorator:
    """Give a test `is_carried_out`: the request at which a client dies is carried out, or not.

    A death before it is left to the neighbour (`PATH::TEST`).
    """
    before = pytest.param(False, marks=on_demand(neighbour), id="before it")
    return pytest.mark.parametrize("is_carried_out", [before, pytest.param(True, id="after it")])


@contextmanager
def dying_after(s3: StrictS3, requests: int, *, is_carried_out: bool) -> Iterator[None]:
    """Answer so many requests of the block, and break the connections of all others.

    The first of those is carried out, or not.
    """
    left = requests

    async def dead(request: web.BaseRequest) -> web.StreamResponse | None:
        nonlocal left
        left -= 1
        if left >= 0 or (is_carried_out and left == -1):
            return None
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    s3.fault, s3.drops_answers = dead, lambda _: is_carried_out and left == -1
    try:
        yield
    finally:
        s3.fault, s3.drops_answers = None, lambda _: False
