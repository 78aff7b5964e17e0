import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("(?=a)b", "lookahead"),
        ("(?<!a)b", "lookbehind"),
        (r"(a)\1", "backreferences"),
        ("a{1,5000}", "repeat less often"),
        ("((a{1,100}){1,100}){1,100}", "repeat less often"),
        ("(", "missing"),
        ("a\ud800", "Unicode"),
        ("a" * 2000, "1024 characters"),
    ],
)
def test_a_refusal_says_what_to_write_instead(text: str, hint: str) -> None:
    with pytest.raises(InvalidExpressionError, match=hint):
        RegularExpression(text)


@pytest.mark.parametrize("text", ["(a+)+$", "(a|a)*$", "(a|b|ab)*c", "a?" * 30 + "a" * 30])
def test_what_a_backtracking_engine_never_ends_ends_at_once(text: str) -> None:
    started = time.process_time()
    RegularExpression(text).search("a" * 10_000 + "!")
    assert time.process_time() - started < 10


def test_the_end_of_the_text_is_written_as_python_or_as_go_has_it() -> None:
    for end in (r"\Z", r"\z", "$"):
        assert RegularExpression(f"^a{end}").search("a")
        assert not RegularExpression(f"^a{end}").search("ab")
    assert RegularExpression(r"^\\Z$").search("\\Z")


def test_a_name_that_is_no_unicode_is_searched_too() -> None:
    assert RegularExpression("^src/").search("src/\udce4.txt")
    assert not RegularExpression(r"^\?$").fullmatch("\udce4")


@given(st.text(st.sampled_from("abc.*+?|()[]^$0-9"), max_size=12), st.text("abc0", max_size=12))
def test_both_engines_agree_where_both_compile(expression: str, text: str) -> None:
    try:
        ours, known = RegularExpression(expression), re.compile(expression, re.ASCII)
    except (InvalidExpressionError, re.error, FutureWarning):
        return
    assert ours.search(text) is (known.search(text) is not None)
