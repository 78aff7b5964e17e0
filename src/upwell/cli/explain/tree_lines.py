"""Lines of a tree of dependencies; pure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

_BRANCH, _LAST, _PIPE, _BLANK = "├─ ", "└─ ", "│  ", "   "


def tree_lines[N: Hashable](
    roots: Iterable[N],
    targets: Callable[[N], Sequence[N]],
    line: Callable[[N], str],
) -> Iterator[str]:
    """Yield the trees below `roots`; a node with several inputs is drawn once and named again."""
    drawn: set[N] = set()
    for root in roots:
        waiting: list[tuple[N, str, str]] = [] if root in drawn else [(root, "", "")]
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
