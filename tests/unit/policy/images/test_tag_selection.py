import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.policy.images.selection import InvalidSelectionError, TagSelection
from upwell.policy.images.semver_range import InvalidRangeError, SemverRange
from upwell.policy.images.versions import Version


def version(text: str) -> Version:
    parsed = Version.parse(text)
    assert parsed is not None
    return parsed


def test_versions_stand_in_the_order_of_semver() -> None:
    ordered = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    ordered += ["1.0.0-rc.1", "1", "1.0", "1.0.0", "v1.0.1", "1.10.0", "2"]
    shuffled = [*ordered[1::2], *ordered[::2]]
    assert sorted(shuffled, key=version) == ordered


@pytest.mark.parametrize("tag", ["latest", "1.2.3.4", "01.2", "1.2-", "", "nightly-1.2", "1..2"])
def test_other_tags_are_no_versions(tag: str) -> None:
    assert Version.parse(tag) is None


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        (">=1.2 <2", ["1.2", "1.2.0", "v1.9.9"], ["1.1.9", "2", "2.0.0", "2.0.0-rc1"]),
        (">= 1.2, < 2", ["1.2"], ["2"]),
        ("^1.4", ["1.4.0", "1.99"], ["1.3.9", "2.0.0"]),
        ("^0.3.1", ["0.3.1", "0.3.9"], ["0.3.0", "0.4.0"]),
        ("~1.4.2", ["1.4.2", "1.4.9"], ["1.4.1", "1.5.0"]),
        ("~1", ["1.0", "1.9"], ["2.0"]),
        ("1.x", ["1.0.0", "1.7"], ["2.0.0"]),
        ("1.2", ["1.2.0", "1.2.7"], ["1.3.0"]),
        ("=1.2.3", ["1.2.3"], ["1.2.4"]),
        ("<=1.2", ["1.2.9", "0.1"], ["1.3.0"]),
        (">1.2", ["1.3.0"], ["1.2.9"]),
        ("<1 || >=3", ["0.9", "3.0.1"], ["1.0.0", "2.9"]),
        ("*", ["0.0.1", "9"], ["1.0.0-rc1"]),
        (">=1.0.0-rc.1", ["1.0.0-rc.2", "1.0.0"], ["1.1.0-rc.1", "1.0.0-beta"]),
    ],
)
def test_a_range_holds_what_npm_and_flux_say(
    wanted: str, inside: list[str], outside: list[str]
) -> None:
    found = SemverRange(wanted)
    assert [tag for tag in inside if version(tag) not in found] == []
    assert [tag for tag in outside if version(tag) in found] == []


@pytest.mark.parametrize("text", ["", "||", ">=", "one", ">=1.2 &", "1.2.3.4", "9" * 300])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRangeError, match="range of versions"):
        SemverRange(text)


@pytest.mark.parametrize(
    ("rule", "tags", "chosen"),
    [
        ("semver:>=1.2 <2", ["latest", "1.2.0", "1.10.1", "1.9.4", "2.0.0"], "1.10.1"),
        ("semver:^1", ["1", "1.2", "1.2.0"], "1.2.0"),
        (r"pattern:^v1\.", ["v1.9", "v1.10", "v2.0", "1.11"], "v1.10"),
        ("newest:^nightly-", ["nightly-20260109", "nightly-2026-02-01", "daily-20270101"], None),
        ("newest:^nightly-", ["nightly-20260301-0900", "nightly-20260301-1000"], None),
    ],
)
def test_the_best_tag_is_chosen(rule: str, tags: list[str], chosen: str | None) -> None:
    expected = chosen or tags[1]
    choice = TagSelection(rule).choose(tags)
    assert choice is not None
    assert choice.tag == expected
    assert rule in choice.why


@pytest.mark.parametrize(
    ("rule", "tags"),
    [
        ("semver:>=3", ["1.0", "latest"]),
        ("pattern:^v", ["1"]),
        ("newest:^n-", ["n-x", "n-20269999"]),
    ],
)
def test_no_tag_may_fit(rule: str, tags: list[str]) -> None:
    assert TagSelection(rule).choose(tags) is None


def test_a_gap_in_the_list_is_no_reason_to_go_back() -> None:
    rule = TagSelection("semver:>=1 <2")
    for tags in ([], ["1.3.0"], ["2.0.0"]):
        choice = rule.choose(tags, current="1.4.2")
        assert choice is not None
        assert choice.tag == "1.4.2"
        assert "stays" in choice.why
    later = rule.choose(["1.3.0", "1.5.0"], current="1.4.2")
    assert later is not None
    assert later.tag == "1.5.0"


def test_a_choice_that_the_rule_no_longer_allows_is_left() -> None:
    choice = TagSelection("semver:>=1 <2").choose(["1.9.0"], current="2.4.0")
    assert choice is not None
    assert choice.tag == "1.9.0"


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 30))
def test_a_choice_never_goes_down(minors: list[int], current: int) -> None:
    choice = TagSelection("semver:^1").choose(
        [f"1.{minor}.0" for minor in minors], f"1.{current}.0"
    )
    assert choice is not None
    assert choice.tag == f"1.{max(*minors, current)}.0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "semver",
        "semver:",
        "semver:high",
        "latest:x",
        "pattern:(",
        "pattern:(?=a)b",
        r"pattern:(a)\1",
        "pattern:" + "a" * 2000,
        "pattern:((a{1,100}){1,100}){1,100}",
    ],
)
def test_a_rule_that_is_wrong_or_large_is_refused(text: str) -> None:
    with pytest.raises(InvalidSelectionError):
        TagSelection(text)


@pytest.mark.parametrize(
    "pattern",
    ["a*a*$", ".*-.*-b$", "[a-z]+[a-z]+[0-9]$", "(a+)+$", "(a|a)*$", "(a{1,}){9}", "a*a*a*a*a*b"],
)
def test_every_pattern_is_quick_on_every_tag(pattern: str) -> None:
    rule = TagSelection(f"pattern:{pattern}")
    started = time.process_time()
    rule.choose([f"{'a' * 120}!{number}"[:128] for number in range(20)])
    assert time.process_time() - started < 10
