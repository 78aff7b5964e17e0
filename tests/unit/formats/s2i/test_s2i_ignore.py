import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.s2i.ignore import ignore_rules, invalid_rules, literal_rule

TREE = (".git", "a", "a/b", "a/b.log", "a/c", "b.log", "keep.log", "x[1]", "y*")
OURS = (".s2i/bin/assemble", ".sti/bin/run", "**/.git")


def left_out(text: str) -> set[str]:
    """Return the files that the rules leave out; the text must take something back."""
    rules = ignore_rules(text, TREE)
    assert set(OURS) <= set(rules)
    return {path for path in TREE if literal_rule(path) in rules}


def test_rules_that_take_nothing_back_stay_as_they_are() -> None:
    rules = ignore_rules("# comment\n\n  *.log \na/**/b\n\\#x\n", TREE)
    assert rules[:3] == ("*.log", "a/*/b", "\\#x")
    assert set(OURS) <= set(rules[3:])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*.log\n!keep.log", {"b.log"}),
        ("!keep.log\n*.log", {"b.log", "keep.log"}),
        ("a\n!a/c", {"a"}),
        ("a/*\n!a/c", {"a/b", "a/b.log"}),
        ("/a/\n!/a/../a", set()),
        ("**\n!?[^a-y]*", {".git", "a", "keep.log"}),
        ("x\\[1]\ny\\*\n!none", {"x[1]", "y*"}),
        ("*/*\n!*/*.log\n!none", {"a/b", "a/c"}),
        ("[a-b]\n!none", {"a"}),
        ("[\\x\\]]\\[1]\n!none", {"x[1]"}),
    ],
)
def test_a_rule_takes_back_what_matched_by_itself(text: str, expected: set[str]) -> None:
    assert left_out(text) == expected


@pytest.mark.parametrize("text", ["!.git", "*\n!.git", "!.s2i/bin/run", "!**/.git"])
def test_history_and_scripts_never_come_back(text: str) -> None:
    assert ignore_rules(text, TREE)[-1] == "**/.git"
    assert ".s2i/bin/run" in ignore_rules(text, TREE)


@pytest.mark.parametrize("rule", ["[", "[]", "a[b", "[z-a]", "x\\"])
def test_what_is_no_pattern_is_told_and_left_out(rule: str) -> None:
    assert invalid_rules(f"!x\n{rule}\n# [\n") == (rule,)
    for text in ("kept", "kept\n!x"):
        assert ignore_rules(f"{rule}\n{text}", TREE) == ignore_rules(text, TREE)


@given(st.text("ab*?", min_size=1, max_size=6), st.lists(st.text("ab", min_size=1, max_size=5)))
def test_within_a_folder_a_rule_matches_as_shells_do(rule: str, names: list[str]) -> None:
    rules = ignore_rules(f"{rule}\n!none", names)
    matched = {name for name in names if literal_rule(name) in rules}
    assert matched == {name for name in names if fnmatch.fnmatchcase(name, rule)}


def test_a_rule_with_many_stars_is_quick() -> None:
    started = time.process_time()
    ignore_rules("*a" * 40 + "*b\n!x", ["a" * 255] * 20)
    assert time.process_time() - started < 10


def test_a_set_of_letters_matches_no_slash() -> None:
    rules = ignore_rules("a[+-0]b\n!x", ["a/b", "a-b", "a.b"])
    assert "/a-b" in rules
    assert "/a/b" not in rules
