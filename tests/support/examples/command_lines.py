"""The `upwell` command lines in files for other programs, parsed by the real program."""

import ast
import re
import shlex
from collections.abc import Iterator

import click
import yaml

from upwell.cli.program import main

_CALL = re.compile(r"(?:^|\$\(|[;&|]|\bthen\b|\bdo\b)\s*upwell ([^\n;|&)]*)", re.MULTILINE)
_OPTION = re.compile(r"(?m)^ *(\w+)=(--[\w-]+)$")


def of_shell(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `upwell` in a shell script.

    A variable that is set to an option stands for it; others stay as they are.
    """
    joined = re.sub(r"\\\n\s*", " ", text)
    options = dict(_OPTION.findall(joined))
    for match in _CALL.finditer(joined):
        words = shlex.split(match[1], comments=True)
        plain = [word for word in words if not word.startswith((">", "2>"))]
        yield [options.get(word.lstrip("$"), word) for word in plain]


def of_yaml(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `upwell` in the texts of a YAML stream."""
    for document in yaml.safe_load_all(text):
        for one in texts(document):
            yield from of_shell(one)


def of_markdown(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `upwell` that begins an indented line, or a line of a fence."""
    for block in re.findall(r"(?m)^(?:(?:    |\$ ).*\n?)+", text):
        yield from of_shell("\n".join(line.strip(" $") for line in block.splitlines()))


def of_python(text: str, function: str) -> Iterator[list[str]]:
    """Yield the words of each call of `function`; what is no literal text becomes `x`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
            yield [word for argument in node.args for word in _words(argument)]


def parse(arguments: list[str]) -> None:
    """Parse a command line without doing anything; raises click.UsageError."""
    command: click.Command = main
    context: click.Context | None = None
    rest = arguments
    while True:
        context = command.make_context(command.name, list(rest), parent=context)
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            raise click.UsageError(f"{command.name}: no command")
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found


def _words(argument: ast.expr) -> Iterator[str]:
    match argument:
        case ast.Starred(value=value):
            yield from _words(value)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from _words(element)
        case ast.Constant(value=str(text)):
            yield text
        case _:
            yield "x"


def texts(value: object) -> Iterator[str]:
    """Yield every text in JSON data."""
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)
