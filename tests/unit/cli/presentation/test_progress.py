"""One line of progress: on a terminal alone, as often as it is read."""

from collections.abc import AsyncIterator

import pytest

from upwell.cli.presentation.progress import ProgressLine, counted

ANEW = "\r\x1b[K"


def test_each_text_takes_the_place_of_the_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with ProgressLine(is_terminal=True) as line:
        line.show("one")
        line.show("one")
        line.show("two\nlines \x1b[31m of too many letters")
    assert capsys.readouterr().err == f"{ANEW}one{ANEW}two lines \\x1b[31m {ANEW}"


def test_bytes_are_shown_as_often_as_they_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    line = ProgressLine(lambda: now, is_terminal=True)
    for done in (0, 1, 2, 3):
        line.show_bytes("sent", done * 1024**2, 3 * 1024**2)
        now += 0.15
    err = capsys.readouterr().err
    assert err.split(ANEW) == [
        "",
        "sent: 0.0 of 3.0 MiB",
        "sent: 2.0 of 3.0 MiB",
        "sent: 3.0 of 3.0 MiB",
    ]


def test_a_pipe_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine() as line:
        assert not line.is_shown
        line.show("one")
    assert capsys.readouterr().err == ""


async def test_what_is_counted_is_passed_on() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    assert [piece async for piece in counted(pieces(), "sent")] == [b"one", b"two"]
