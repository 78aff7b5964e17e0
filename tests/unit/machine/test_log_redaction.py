import base64
import hashlib
import json
import re
import time
from collections.abc import Sequence
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.machine import redaction as redaction_module
from upwell.machine.redaction import Redaction, TooManySecretsError, basic_auth


def masked(secrets: Sequence[str | bytes], pieces: Sequence[bytes]) -> list[bytes]:
    out: list[bytes] = []
    redaction = Redaction(out.append, secrets)
    for piece in pieces:
        redaction(piece)
    redaction.flush()
    return out


def redacted(secrets: Sequence[str | bytes], pieces: Sequence[bytes]) -> bytes:
    return b"".join(masked(secrets, pieces))


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


WHOLE = b'pass\xc3\xa4word+/=? with "blanks" and more than enough letters to fill two lines of text'


@pytest.mark.parametrize(
    "printed",
    [
        base64.b64encode(WHOLE),
        base64.b64encode(WHOLE + b"\n"),
        base64.urlsafe_b64encode(WHOLE),
        base64.encodebytes(WHOLE),
        base64.b64encode(b"user:" + WHOLE),
        base64.b64encode(b"a-user:" + WHOLE + b";"),
        quote(WHOLE, safe="").encode(),
        re.sub("%..", lambda code: code[0].lower(), quote(WHOLE)).encode(),
        quote_plus(WHOLE).encode(),
        json.dumps(WHOLE.decode()).encode(),
        WHOLE,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_no_form_of_a_secret_is_printed(printed: bytes, size: int) -> None:
    text = b"before " + printed + b" after\n"
    shown = b"".join(masked([WHOLE], [text[at : at + size] for at in range(0, len(text), size)]))
    plain = shown.replace(b"before", b"").replace(b"after", b"").replace(b"*", b"").strip()
    # At both ends of base64 a letter or two hold bits of what stands beside the secret.
    user = base64.b64encode(b"a-user:")
    assert len(plain.removeprefix(user[:9]).removeprefix(base64.b64encode(b"user:")[:6])) <= 6
    assert shown.startswith(b"before ")
    assert shown.endswith(b" after\n")


def test_secrets_that_overlap_are_masked_as_one() -> None:
    assert b"".join(masked(["abcdef", "defghi", "def"], [b"xabcdefghiy"])) == b"x********y"
    assert b"".join(masked(["aaaa", "aaaab"], [b"a"] * 9 + [b"b."])) == b"********."


def test_a_piece_of_a_secret_that_goes_on_is_held_back() -> None:
    assert masked(["secret", "secretive"], [b"a secret", b"ly"]) == [b"a ", b"********ly"]
    assert b"".join(masked(["secret", "secretive"], [b"a secreti", b"ve b"])) == b"a ******** b"


@given(
    st.lists(st.text("abc", min_size=4, max_size=9), min_size=1, max_size=6),
    st.lists(st.text("abcd", max_size=12), max_size=8),
)
def test_every_occurrence_is_masked_however_it_is_cut(secrets: list[str], cut: list[str]) -> None:
    text = "".join(cut)
    hidden = set()
    for secret in secrets:
        at = text.find(secret)
        while at >= 0:
            hidden |= set(range(at, at + len(secret)))
            at = text.find(secret, at + 1)
    shown = b"".join(masked(secrets, [piece.encode() for piece in cut])).decode()
    assert shown.replace("*", "") == "".join(
        char for at, char in enumerate(text) if at not in hidden
    )


VALUES = [hashlib.sha256(b"%d" % at).hexdigest()[:8] for at in range(8_192)]
EXPRESSIONS = [f"(a+)+${at}|[{at}" for at in range(4_096)]


@pytest.mark.parametrize("values", [VALUES, EXPRESSIONS], ids=["values", "expressions"])
def test_many_values_are_masked_in_little_time(values: Sequence[str]) -> None:
    begun = time.process_time()
    printed = "\n".join(values[::16]).encode()
    shown = masked(values, [printed[at : at + 64] for at in range(0, len(printed), 64)])
    masked(values, [b"aaab" * 16] * 1024)
    assert set(b"".join(shown).split()) == {b"********"}
    assert time.process_time() - begun < 3


def test_values_of_a_few_letters_hide_no_log() -> None:
    few = list("abcdefghijklmnopqrstuvwxyz0123456789./") * 1000
    assert redacted([*few, "abc"], [b"abc a.b/c 123"]) == b"abc a.b/c 123"


def test_secrets_are_sorted_by_parts_and_are_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction_module, "_RUN", 100)
    assert redacted(VALUES[:500], [" ".join(VALUES[:500]).encode()]) == b" ".join(
        [b"********"] * 500
    )
    for limit in ("MOST_TEXTS", "MOST_BYTES"):
        with monkeypatch.context() as few:
            few.setattr(redaction_module, limit, 400)
            with pytest.raises(TooManySecretsError, match="give it those that it needs"):
                Redaction(lambda _: None, VALUES[:500])


@pytest.mark.parametrize(
    "secret",
    [
        b"".join(b"%016x\n" % (at * 7919) for at in range(15_000)),
        b"\n".join(b"a" * length for length in range(4, 720)),
        b"a" * 256 * 1024,
        b"abc" + bytes(range(256)) * 1024,
    ],
    ids=["lines", "nested lines", "one line", "bytes"],
)
def test_a_large_secret_takes_no_time_to_speak_of(secret: bytes) -> None:
    begun = time.process_time()
    redaction = Redaction(lambda _: None, [secret])
    for _ in range(8):
        redaction(b"an ordinary line of a build, " * 1000)
    redaction(secret[:65536])
    redaction(b"aaab" * 8192)
    redaction.flush()
    assert time.process_time() - begun < 3
