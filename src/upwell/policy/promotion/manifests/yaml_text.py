"""Changes single values of a YAML text and leaves every other character as it is."""

import re
from collections.abc import Iterator

import yaml

from upwell.api.manifests import InvalidManifestTextError, require_shallow
from upwell.policy.promotion.manifests.wanted import ManifestError

_BOM = "\ufeff"
_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]+)*")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]*(?::[A-Za-z0-9._/@+-]+)*")
_TEXT = re.compile(r"[/@]|sha256:|[a-z]\.[a-z]")
"""With both, a value is a string also without quotes around it."""

type Pair = tuple[yaml.ScalarNode, yaml.Node]


class YamlText:
    """A YAML text and changes of it; raises ManifestError when it is no YAML."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self._bom = _BOM if text.startswith(_BOM) else ""
        self.source = text.removeprefix(_BOM)
        self._cuts: dict[tuple[int, int], str] = {}
        self._added: list[tuple[int, str]] = []
        try:
            require_shallow(self.source, path)
            self.documents = list[yaml.Node](yaml.compose_all(self.source, yaml.CSafeLoader))
        except InvalidManifestTextError as error:
            raise ManifestError(str(error)) from error
        except yaml.YAMLError as error:
            where = getattr(error, "problem_mark", None)
            line = f":{where.line + 1}" if where is not None else ""
            why = getattr(error, "problem", None) or str(error)
            raise ManifestError(f"{path}{line}: not YAML: {why}") from error

    def mappings(self) -> Iterator[yaml.MappingNode]:
        """Yield every mapping once, in the order of the text."""
        yield from (node for node in self._nodes() if isinstance(node, yaml.MappingNode))

    def scalars(self) -> Iterator[tuple[yaml.ScalarNode, bool]]:
        """Yield every scalar once, and whether it is a key, in the order of the text."""
        keys = {id(key) for node in self.mappings() for key, _ in node.value}
        found = [node for node in self._nodes() if isinstance(node, yaml.ScalarNode)]
        for node in sorted(found, key=lambda one: (one.start_mark.index, one.end_mark.index)):
            yield node, id(node) in keys

    def set(self, node: yaml.Node, value: str) -> None:
        """Let a value of one line be `value`, in the quotes that it has."""
        scalar = self.scalar(node)
        if scalar.value == value:
            return
        start, end = self._span(scalar)
        before = " " if self.source[start - 1 : start] == ":" else ""
        self._cuts[start, end] = before + _written(value, scalar.style)

    def rename(self, key: yaml.ScalarNode, name: str) -> None:
        """Let a key have another name."""
        self._cuts[self._span(key)] = name

    def add_after(self, mapping: yaml.MappingNode, after: Pair, key: str, value: str) -> None:
        """Add a key after another, whose value is on one line."""
        name, node = after
        self.scalar(node)
        end = node.end_mark.index
        pair = f"{key}: {_written(value, None)}"
        if mapping.flow_style:
            self._added.append((end, f", {pair}"))
            return
        line = self.source.find("\n", end)
        ending = "\r\n" if line > 0 and self.source[line - 1] == "\r" else "\n"
        indented = " " * name.start_mark.column + pair
        if line < 0:
            self._added.append((len(self.source), ending + indented))
        else:
            self._added.append((line + 1, indented + ending))

    def remove(self, mapping: yaml.MappingNode, pair: Pair) -> None:
        """Take a key with its value of one line out of a mapping that has others."""
        key, node = pair
        self.scalar(node)
        at = [name is key for name, _ in mapping.value].index(True)
        start = key.start_mark.index
        line = self.source.rfind("\n", 0, start) + 1
        if not mapping.flow_style and not self.source[line:start].strip():
            end = self.source.find("\n", node.end_mark.index)
            self._cuts[line, len(self.source) if end < 0 else end + 1] = ""
        elif at + 1 < len(mapping.value):
            self._cuts[start, mapping.value[at + 1][0].start_mark.index] = ""
        else:
            self._cuts[mapping.value[at - 1][1].end_mark.index, node.end_mark.index] = ""

    def scalar(self, node: yaml.Node) -> yaml.ScalarNode:
        """Return a value of one line; raises ManifestError for any other."""
        line = node.start_mark.line
        if not isinstance(node, yaml.ScalarNode) or node.style in {"|", ">"}:
            raise ManifestError(f"{self.where(node)}: expected a value on one line")
        if node.end_mark.line != line:
            raise ManifestError(f"{self.where(node)}: the value goes over several lines")
        return node

    def where(self, node: yaml.Node) -> str:
        """Return the place of a node, for people."""
        return f"{self.path}:{node.start_mark.line + 1}"

    def result(self) -> str:
        """Return the text with all changes."""
        changes = [(start, end, text) for (start, end), text in self._cuts.items()]
        changes += [(at, at, text) for at, text in self._added]
        pieces, done = [self._bom], 0
        for start, end, text in sorted(changes, key=lambda change: change[:2]):
            pieces += [self.source[done:start], text]
            done = end
        return "".join([*pieces, self.source[done:]])

    def _span(self, scalar: yaml.ScalarNode) -> tuple[int, int]:
        """Return where a scalar stands, without its anchor and tag."""
        start, end = scalar.start_mark.index, scalar.end_mark.index
        properties = _PROPERTIES.match(self.source, start, end)
        return (properties.end() if properties else start), end

    def _nodes(self) -> Iterator[yaml.Node]:
        """Yield every node once: aliases name nodes that are elsewhere, even their own parents."""
        seen: set[int] = set()
        waiting = list(reversed(self.documents))
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            if isinstance(node, yaml.MappingNode):
                waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
            elif isinstance(node, yaml.SequenceNode):
                waiting += reversed(node.value)


def pairs(node: yaml.Node | None) -> Iterator[Pair]:
    """Yield the keys and values of a mapping; of anything else, nothing."""
    if isinstance(node, yaml.MappingNode):
        yield from ((key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode))


def pair_of(node: yaml.Node | None, key: str) -> Pair | None:
    """Return a key of a mapping with its value."""
    return next((pair for pair in pairs(node) if pair[0].value == key), None)


def value_of(node: yaml.Node | None, *path: str) -> yaml.Node | None:
    """Return what is found along keys of mappings and numbers of lists."""
    for key in path:
        if isinstance(node, yaml.SequenceNode):
            inside = key.isdecimal() and int(key) < len(node.value)
            node = node.value[int(key)] if inside else None
        else:
            found = pair_of(node, key)
            node = found[1] if found is not None else None
    return node


def items_of(node: yaml.Node | None) -> list[yaml.Node]:
    """Return the items of a list; of anything else, none."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def text_of(node: yaml.Node | None) -> str:
    """Return the text of a scalar; of anything else, nothing."""
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _written(value: str, style: str | None) -> str:
    """Return a value without control characters in a scalar's style, quoted where it has to be."""
    if style == "'":
        return "'" + value.replace("'", "''") + "'"
    if style == '"' or not (_SAFE.fullmatch(value) and _TEXT.search(value)):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value
