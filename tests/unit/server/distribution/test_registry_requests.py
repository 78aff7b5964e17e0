"""Parsing of requests to /v2/, without a server."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from upwell.server.distribution.requests import (
    DistributionError,
    accepts,
    actor_of,
    byte_span,
    chunk_start,
    page_of,
)

sizes = st.integers(0, 10_000)


def request(query: str = "", **headers: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").lower().encode(), value.encode())
                for name, value in headers.items()
            ],
            "client": ("192.0.2.7", 1234),
        }
    )


@given(sizes, sizes, sizes)
def test_a_range_is_the_bytes_that_a_slice_gives(size: int, first: int, length: int) -> None:
    asked = request(range=f"bytes={first}-{first + length}")
    if first >= size:
        with pytest.raises(DistributionError) as caught:
            byte_span(asked, size)
        assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
    else:
        assert byte_span(asked, size) == range(size)[first : first + length + 1]


@given(st.integers(1, 10_000), st.integers(1, 20_000))
def test_a_suffix_range_is_the_end(size: int, length: int) -> None:
    assert byte_span(request(range=f"bytes=-{length}"), size) == range(size)[-length:]


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])), sizes)
def test_any_other_range_is_refused_or_ignored(text: str, size: int) -> None:
    with contextlib.suppress(DistributionError):
        span = byte_span(request(range=text), size)
        assert span is None or (0 <= span.start < span.stop <= size)


@pytest.mark.parametrize(
    ("header", "first"), [("0-4", 0), ("5-9", 5), ("bytes 5-9", 5), ("bytes 5-9/10", 5)]
)
def test_a_chunk_says_where_it_starts(header: str, first: int) -> None:
    assert chunk_start(request(content_range=header, content_length="5")) == first


def test_a_chunk_without_a_range_goes_to_the_end() -> None:
    assert chunk_start(request()) is None


@pytest.mark.parametrize(("header", "length"), [("0-4", "6"), ("4-0", "5"), ("-4", "5"), ("", "5")])
def test_a_chunk_that_contradicts_itself(header: str, length: str) -> None:
    with pytest.raises(DistributionError) as caught:
        chunk_start(request(content_range=header, content_length=length))
    assert caught.value.status == 400


def test_without_accept_everything_is_accepted() -> None:
    assert accepts(request(), "application/x-anything")


def test_a_page_has_bounds() -> None:
    assert page_of(request("n=999999999999999999999"), 100) == (100, "")
    assert page_of(request("last=v1"), 100) == (100, "v1")
    for wrong in ("n=-1", "n=", "n=%C2%B2"):
        with pytest.raises(DistributionError):
            page_of(request(wrong), 100)


def test_the_actor_is_the_client_unless_somebody_logged_in() -> None:
    anonymous, known = request(), request()
    known.scope["user"] = type("User", (), {"username": "alice"})()

    assert actor_of(anonymous) == "192.0.2.7"
    assert actor_of(known) == "alice"
