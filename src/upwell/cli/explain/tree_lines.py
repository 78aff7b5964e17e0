"""Lines of a tree of dependencies; pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from upwell.policy.explain.graph import Node

_BRANCH, _LAST, _PIPE, _BLANK = "├─ ", "└─ ", "│  ", "   "


def tree_lines(
    roots: Iterable[Node],
    targets: Callable[[Node], Sequence[Node]],
    line: Callable[[Node], str],
) -> Iterator[str]:
    """Yield the trees below `roots`; a node with several inputs is drawn once and named again."""
    drawn: set[Node] = set()
    for root in roots:
        waiting: list[tuple[Node, str, str]] = [] if root in drawn else [(root, "", "")]
        while waiting:
            node, branch, indent = waiting.pop()
            if node in drawn:
                yield f"{branch}{node} (shown above)"
                continue
            drawn.add(node)
            yield f"{branch}{line(node)}"
            for at, target in enumerate(reversed(targets(node))):
                mark, below = (_BRANCH, _PIPE) if at else (_LAST, _BLANK)
                waiting.append((target, indent + mark, indent + below))
