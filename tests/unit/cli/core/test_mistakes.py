"""Mistakes at the command line: each is answered with its object, its cause and the next step."""

from tests.support.cli.mistakes import MISTAKES, answers


async def test_mistakes_are_answered_as_written_down() -> None:
    told = await answers()
    assert "TRACEBACK" not in told
    assert told == MISTAKES.read_text(), "run: python -m tests.support.cli.mistakes"
