"""Allowed users, after the reference's own tables (range_test, CheckAllowedUser)."""

import pytest

from upwell.formats.s2i.contract import S2iError
from upwell.formats.s2i.users import AllowedUids, UserNotAllowedError, onbuild_users


@pytest.mark.parametrize(
    ("text", "allowed", "refused"),
    [
        ("", [0, 1, 5000], []),
        ("1-", [1, 5000], [0]),
        ("5", [5], [4, 6]),
        ("-1000", [0, 1000], [1001]),
        ("10-20,30-", [10, 20, 30, 99], [9, 21, 29]),
        (" 1 , 3 ", [1, 3], [2]),
        ("0", [0], [1]),
    ],
)
def test_ranges_hold_both_their_ends(text: str, allowed: list[int], refused: list[int]) -> None:
    ranges = AllowedUids.parse(text)
    for uid in allowed:
        ranges.check(str(uid), "it")
        ranges.check(f"{uid}:0", "it")
    for uid in refused:
        with pytest.raises(UserNotAllowedError, match=f"user {uid}"):
            ranges.check(str(uid), "it")


@pytest.mark.parametrize("user", ["", "default", "root", "-1", "1x", "٣", ":0"])
def test_a_user_that_is_no_number_is_refused_where_users_are_limited(user: str) -> None:
    AllowedUids.parse("").check(user, "it")
    with pytest.raises(UserNotAllowedError, match="no number"):
        AllowedUids.parse("0-").check(user, "it")


@pytest.mark.parametrize("text", ["a", "1-a", "-", "5-2", "1--2", "1 2", "0x1"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(S2iError, match="not a range of user ids"):
        AllowedUids.parse(text)


def test_users_of_onbuild_instructions_are_found() -> None:
    instructions = ("COPY . /x", "USER root", "user 1001:0", "RUN USER", "USER")
    assert onbuild_users(instructions) == ("root", "1001:0")
