"""A declarative Jenkinsfile: parsed as Groovy, and checked for the form of a pipeline."""

import re
from collections.abc import Iterator

import tree_sitter
import tree_sitter_groovy

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_groovy.language()))
_OF_PIPELINE = {"agent", "environment", "options", "parameters", "post", "stages", "tools"}
_OF_STAGE = {"agent", "environment", "input", "options", "post", "tools", "when"}
_WORK = {"matrix", "parallel", "stages", "steps"}
_OF_POST = {"always", "changed", "failure", "fixed", "success", "unstable", "unsuccessful"}


class JenkinsfileError(Exception):
    """The file is no declarative pipeline; the message says where."""


def check(text: str) -> list[str]:
    """Return the names of its stages; raises JenkinsfileError."""
    root = _PARSER.parse(text.encode()).root_node
    for node in _all(root):
        if node.is_error or node.is_missing:
            raise JenkinsfileError(f"line {node.start_point.row + 1}: not Groovy")
    blocks = [(name, node) for name, node in _statements(root)]
    if [name for name, _ in blocks] != ["pipeline"]:
        raise JenkinsfileError("a declarative file is one block `pipeline`")
    parts = dict(_statements(_body(blocks[0][1])))
    _require(set(parts), _OF_PIPELINE | {"triggers"}, {"agent", "stages"}, "pipeline")
    if "post" in parts:
        conditions = dict(_statements(_body(parts["post"])))
        _require(set(conditions), _OF_POST, set(), "post")
    return [_stage(name, node) for name, node in _statements(_body(parts["stages"]))]


def strings(text: str) -> Iterator[str]:
    """Yield the literal texts in the file, without their quotes."""
    for node in _all(_PARSER.parse(text.encode()).root_node):
        if node.type in {"character_literal", "string_literal", "textblock"}:
            yield (node.text or b"").decode().strip("'\"")


def _stage(kind: str, node: tree_sitter.Node) -> str:
    if kind != "stage":
        raise JenkinsfileError(f"line {node.start_point.row + 1}: {kind} among stages")
    [name] = [text for text in strings((_argument(node).text or b"").decode()) if text]
    parts = {part for part, _ in _statements(_body(node))}
    _require(parts, _OF_STAGE | _WORK, set(), f"stage {name}")
    if len(parts & _WORK) != 1:
        raise JenkinsfileError(f"stage {name}: one of {', '.join(sorted(_WORK))}")
    return name


def _require(found: set[str], allowed: set[str], needed: set[str], where: str) -> None:
    if unknown := found - allowed:
        raise JenkinsfileError(f"{where}: no directive {', '.join(sorted(unknown))}")
    if missing := needed - found:
        raise JenkinsfileError(f"{where}: no {', '.join(sorted(missing))}")


def _statements(block: tree_sitter.Node) -> Iterator[tuple[str, tree_sitter.Node]]:
    """Yield each statement of a block with its first word."""
    for child in block.named_children:
        if not child.type.endswith("comment"):
            word = re.match(rb"\w*", child.text or b"")
            yield word[0].decode() if word else "", child


def _body(node: tree_sitter.Node) -> tree_sitter.Node:
    closures = [one for one in _all(node) if one.type == "closure"]
    if not closures:
        raise JenkinsfileError(f"line {node.start_point.row + 1}: no block")
    return closures[0]


def _argument(node: tree_sitter.Node) -> tree_sitter.Node:
    lists = [one for one in _all(node) if one.type == "argument_list"]
    if not lists:
        raise JenkinsfileError(f"line {node.start_point.row + 1}: no name")
    return lists[0]


def _all(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    yield node
    for child in node.children:
        yield from _all(child)
