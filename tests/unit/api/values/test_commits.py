"""Ids of commits as people read them."""

import pytest

from upwell.api.values.commits import short_commit


@pytest.mark.parametrize(
    ("commit", "short"),
    [("0123456789abcdef" * 2, "0123456789ab"), ("0123456789ab", "0123456789ab"), ("", "")],
)
def test_a_commit_is_shortened_to_twelve_digits(commit: str, short: str) -> None:
    assert short_commit(commit) == short
