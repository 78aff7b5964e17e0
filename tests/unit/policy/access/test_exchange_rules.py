import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.policy.access.token_exchange import ClaimPattern


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("a=acme/*", "acme/shop", True),
        ("a=acme/*", "acme/shop/x", False),
        ("a=acme/**", "acme/shop/x", True),
        ("a=repo:acme/*:ref:refs/heads/main", "repo:acme/shop:ref:refs/heads/main", True),
        ("a=repo:acme/*:ref:refs/heads/main", "repo:acme/x:y:ref:refs/heads/main", False),
        ("a=acme.shop", "acmexshop", False),
        ("a=(a|b)+[c]\\d-~ #&", "(a|b)+[c]\\d-~ #&", True),
        ("a=x=y", "x=y", True),
        ("a=main", "main\n", False),
        ("a=**", "main\nmain", True),
        ("a=7", 7, True),
        ("a=true", True, True),
        ("a=1", True, False),
        ("a=None", None, False),
        ("b=main", "main", False),
    ],
)
def test_a_pattern_matches_a_whole_claim(pattern: str, value: object, *, matches: bool) -> None:
    assert ClaimPattern(pattern).matches({"a": value}) is matches


@given(st.text(min_size=1, max_size=60).filter(lambda text: "*" not in text))
def test_a_pattern_without_wildcards_matches_itself_alone(text: str) -> None:
    pattern = ClaimPattern(f"a={text}")
    assert pattern.matches({"a": text})
    assert not pattern.matches({"a": f"{text}x"})


@pytest.mark.parametrize("text", ["", "a", "=x", "a=", "a=" + "x" * 5000])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"CLAIM=PATTERN|at most"):
        ClaimPattern(text)
