"""Files of a source tree that are not built: `.s2iignore`, git's own folder, and the scripts."""

import posixpath
import re
from collections.abc import Callable, Collection, Iterable

from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.formats.s2i.contract import SCRIPTS, SOURCE_SCRIPT_FOLDERS, S2iError

GIT_RULE = "**/.git"
_SPECIAL = re.compile(r"([*?\[\\])")
_PART = re.compile(
    r"""
    \[ (?P<negated> \^?) (?P<members> (?: \\. | [^\]\\] )+ ) \]
    | \\ (?P<literal> .)
    | [^\[\\]
    """,
    re.VERBOSE | re.DOTALL,
)
_LINES_TOO = "(?s)"
_MEMBER = re.compile(r"\\?(.)", re.DOTALL)


def ignore_rules(text: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Turn `.s2iignore` into the build's ignore file, which also leaves out scripts and `.git`.

    Both languages match from the root, but `**` is not special in `.s2iignore`, and its `!` takes
    back nothing but what an earlier rule matched by itself. So with `!` the rules become the paths
    that they leave out, of `paths`, which are those of the source. A rule that is no pattern has no
    effect, as in the reference: `invalid_rules` tells of it.
    """
    rules = [rule for rule in _rules(text) if _is_pattern(rule)]
    if any(rule.startswith("!") for rule in rules):
        rules = [literal_rule(path) for path in _left_out(rules, tuple(paths))]
    # Scripts were taken before, and history is nobody's business: no rule may bring them back.
    scripts = (f"{folder}/{name}" for folder in SOURCE_SCRIPT_FOLDERS for name in SCRIPTS)
    return (*rules, *scripts, GIT_RULE)


def invalid_rules(text: str) -> tuple[str, ...]:
    """Return the rules of `.s2iignore` that are no patterns."""
    return tuple(rule for rule in _rules(text) if not _is_pattern(rule))


def _rules(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [re.sub(r"\*{2,}", "*", line) for line in lines if line and line[0] != "#"]


def _is_pattern(rule: str) -> bool:
    try:
        _matcher(rule.removeprefix("!"))
    except S2iError:
        return False
    return True


def left_out(text: str, paths: Collection[str]) -> set[str]:
    """Return the paths of a source that its `.s2iignore` leaves out, with what is below each."""
    return set(_left_out([rule for rule in _rules(text) if _is_pattern(rule)], paths))


def literal_rule(path: str) -> str:
    """Return the rule of an ignore file that matches this path alone, with what is below it."""
    return "/" + _SPECIAL.sub(r"\\\1", path)


def _left_out(rules: Iterable[str], paths: Collection[str]) -> Collection[str]:
    left_out: dict[str, None] = {}
    for rule in rules:
        matches = _matcher(rule.removeprefix("!"))
        if rule.startswith("!"):
            left_out = {path: None for path in left_out if not matches(path)}
        else:
            left_out |= dict.fromkeys(path for path in paths if matches(path))
    return left_out


def _matcher(rule: str) -> Callable[[str], bool]:
    """Return what a rule matches, as Go's filepath.Match has it; raises S2iError."""
    path = posixpath.normpath(rule).lstrip("/")
    parts = list(_PART.finditer(path))
    if "".join(part[0] for part in parts) != path:
        raise S2iError(f".s2iignore: {rule!r} is not a valid pattern")
    try:
        expression = RegularExpression(_LINES_TOO + "".join(map(_translated, parts)))
    except InvalidExpressionError as error:  # such as a range from z to a
        raise S2iError(f".s2iignore: {rule!r} is not a valid pattern: {error}") from error
    # No set of letters matches a slash: so all that a path has stand in the rule.
    slashes = sum("/" in {part[0], part["literal"]} for part in parts)
    return lambda text: text.count("/") == slashes and expression.fullmatch(text)


def _translated(part: re.Match[str]) -> str:
    if part["members"] is not None:
        members = "".join(
            "-" if member[0] == "-" else re.escape(member[1])
            for member in _MEMBER.finditer(part["members"])
        )
        return f"[{part['negated']}{members}]"
    if part["literal"] is not None:
        return re.escape(part["literal"])
    return {"*": "[^/]*", "?": "[^/]"}.get(part[0], re.escape(part[0]))
