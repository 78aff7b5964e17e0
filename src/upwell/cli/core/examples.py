"""Examples at the end of each command's help."""


def examples(*lines: str) -> str:
    """Return an epilog that shows these command lines as they are."""
    return block("Examples", *lines)


def block(title: str, *lines: str) -> str:
    """Return a titled paragraph that click does not wrap (its mark is a backspace)."""
    return "\n".join(("\b", f"{title}:", *(f"  {line}" for line in lines)))
