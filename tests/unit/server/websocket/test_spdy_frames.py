"""SPDY frames: what one side puts together the other takes apart, and damage is refused."""

import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.server.websocket.spdy import (
    DICTIONARY,
    MAX_DATA_BYTES,
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Ping,
    Reset,
    SpdyError,
    SynStream,
    data_frame,
    goaway_frame,
    ping_frame,
    reset_frame,
)

STREAMS = st.integers(0, 2**31 - 1)
TEXTS = st.text(st.characters(max_codepoint=255, exclude_categories=()), max_size=40)
HEADERS = st.dictionaries(TEXTS.map(str.lower), TEXTS, max_size=10)
FRAMES = st.one_of(
    st.builds(SynStream, STREAMS, HEADERS, st.booleans()),
    st.builds(Data, STREAMS, st.binary(max_size=100), st.booleans()),
    st.builds(Reset, STREAMS),
    st.builds(Ping, st.integers(0, 2**32 - 1)),
    st.just(GoAway()),
)
SYN_STREAM = 0x80030001


def encoded(encoder: Encoder, frame: Frame) -> bytes:
    match frame:
        case SynStream():
            return encoder.syn_stream(frame.stream, frame.headers, fin=frame.fin)
        case Data():
            return data_frame(frame.stream, frame.payload, fin=frame.fin)
        case Reset():
            return reset_frame(frame.stream, 5)
        case Ping():
            return ping_frame(frame.number)
        case GoAway():
            return goaway_frame(7, 0)


def opened(headers: bytes) -> bytes:
    """Return a SYN_STREAM with these bytes where its headers should be."""
    compressor = zlib.compressobj(zdict=DICTIONARY)
    block = compressor.compress(headers) + compressor.flush(zlib.Z_SYNC_FLUSH)
    body = struct.pack(">IIH", 1, 0, 0) + block
    return struct.pack(">II", SYN_STREAM, len(body)) + body


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 600)))
def test_frames_survive_any_chunking(frames: list[Frame], cuts: list[int]) -> None:
    encoder, decoder = Encoder(), Decoder()
    stream = b"".join(encoded(encoder, frame) for frame in frames)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert [frame for chunk in chunks for frame in decoder.feed(chunk)] == frames


@given(st.lists(FRAMES, min_size=1, max_size=4), st.data())
def test_damage_is_refused_or_read_as_other_frames(
    frames: list[Frame], data: st.DataObject
) -> None:
    encoder = Encoder()
    stream = bytearray(b"".join(encoded(encoder, frame) for frame in frames))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.integers(0, 255))
    try:
        found = list(Decoder().feed(bytes(stream)))
    except SpdyError:
        return
    assert all(isinstance(frame, SynStream | Data | Reset | Ping | GoAway) for frame in found)


@given(st.binary(max_size=200))
def test_headers_of_any_bytes_raise_nothing_but_spdy_errors(raw: bytes) -> None:
    try:
        (frame,) = Decoder().feed(opened(raw))
    except SpdyError:
        return
    assert isinstance(frame, SynStream)


def test_the_dictionary_is_the_one_of_the_protocol() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (struct.pack(">II", 1, MAX_DATA_BYTES + 1), "a frame of 262145 bytes"),
        (struct.pack(">II", SYN_STREAM, 16 * 1024 + 1), "a frame of 16385 bytes"),
        (struct.pack(">II", 0x80020006, 4) + bytes(4), "SPDY version 2"),
        (struct.pack(">II", 0x80030006, 3) + bytes(3), "type 6 with 3 bytes"),
        (struct.pack(">II", SYN_STREAM, 2) + bytes(2), "type 1 with 2 bytes"),
        (struct.pack(">II", SYN_STREAM, 13) + bytes(13), "cannot be unpacked"),
        (opened(struct.pack(">I", 65) + bytes(65 * 8)), "65 headers"),
        (opened(struct.pack(">II", 1, 9) + b"short"), "end too early"),
        (opened(struct.pack(">I", 2**32 - 1)), "headers, where 64"),
    ],
)
def test_what_breaks_a_limit_is_refused(stream: bytes, why: str) -> None:
    with pytest.raises(SpdyError, match=why):
        list(Decoder().feed(stream))


def test_headers_that_unpack_to_much_are_refused() -> None:
    bomb = struct.pack(">II", 1, 2**24) + bytes(10_000_000)
    stream = opened(bomb)
    assert len(stream) < 16 * 1024
    with pytest.raises(SpdyError, match="more than 16384 bytes"):
        list(Decoder().feed(stream))


def test_frames_without_meaning_here_are_passed_over() -> None:
    settings = struct.pack(">II", 0x80030004, 4) + bytes(4)
    window = struct.pack(">II", 0x80030009, 8) + bytes(8)
    reply = Encoder().syn_reply(2)
    assert list(Decoder().feed(settings + window + reply + ping_frame(1))) == [Ping(1)]
