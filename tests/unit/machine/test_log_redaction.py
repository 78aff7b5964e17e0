from hypothesis import given
from hypothesis import strategies as st

from upwell.machine.redaction import Redaction, basic_auth


def redacted(secrets: list[str], pieces: list[bytes]) -> bytes:
    out: list[bytes] = []
    redaction = Redaction(out.append, secrets)
    for piece in pieces:
        redaction(piece)
    redaction.flush()
    return b"".join(out)


def test_a_secret_is_masked_in_every_form() -> None:
    text = f"a p@ss/word p%40ss%2Fword {basic_auth('u', 'p@ss/word')} b".encode()
    secrets = ["p@ss/word", basic_auth("u", "p@ss/word")]
    assert redacted(secrets, [text]) == b"a ******** ******** ******** b"


def test_each_line_of_a_key_is_a_secret() -> None:
    assert redacted(["line-one\nline-two\n"], [b"x line-two y"]) == b"x ******** y"


def test_output_that_begins_no_secret_is_not_held_back() -> None:
    out: list[bytes] = []
    Redaction(out.append, ["secret"])(b"Password: ")
    assert out == [b"Password: "]


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 5))
def test_a_secret_is_masked_wherever_the_pieces_are_cut(
    before: bytes, after: bytes, size: int
) -> None:
    text = before + b"hunter2!" + after
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert b"hunter2!" not in redacted(["hunter2!"], pieces)


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_other_output_passes_unchanged(pieces: list[bytes]) -> None:
    assert redacted(["never-printed-word"], pieces) == b"".join(pieces)


def test_without_secrets_nothing_changes() -> None:
    assert redacted(["", "abc"], [b"abc"]) == b"abc"
