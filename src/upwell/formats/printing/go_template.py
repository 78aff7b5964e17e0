"""Templates of `-o go-template=`: Go's text/template with kubectl's functions.

Whole numbers are printed as digits, where Go prints large ones with an exponent.
"""

import base64
import binascii
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.go_template_syntax import Block, GoPipeline, Node, Operand, Text, parse

NO_VALUE = "<no value>"
_VERB = re.compile(r"%([-+ #0]*\d{0,4}(?:\.\d{0,4})?)([a-zA-Z%])")


@dataclass(frozen=True, slots=True)
class GoTemplate:
    """A template that was parsed."""

    template: str
    nodes: tuple[Node, ...]

    @classmethod
    def parse(cls, template: str) -> "GoTemplate":
        """Parse a template; raises PrintingError."""
        return cls(template, parse(template))

    def text(self, document: object) -> str:
        """Return the text that the template makes of a document; raises PrintingError."""
        try:
            return "".join(_Run(self.template, document).texts(self.nodes, document, [{}]))
        except (_BreakError, _ContinueError):
            raise PrintingError(self.template, 0, "break or continue outside a range") from None


class _BreakError(Exception):
    """Ends a range."""


class _ContinueError(Exception):
    """Goes on with the next item of a range."""


type _Scopes = list[dict[str, Any]]


class _FunctionError(Exception):
    """A function cannot take its arguments."""


class _Run:
    """One rendering of a template."""

    def __init__(self, template: str, root: object) -> None:
        self._template = template
        self._root = root

    def texts(self, nodes: Sequence[Node], dot: object, scopes: _Scopes) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, Text):
                yield node.text
            else:
                yield from self._block(node, dot, scopes)

    def _block(self, block: Block, dot: object, scopes: _Scopes) -> Iterator[str]:
        if block.action == "break":
            raise _BreakError
        if block.action == "continue":
            raise _ContinueError
        pipeline = block.pipeline
        if pipeline is None:
            return
        value = self._value(pipeline, dot, scopes)
        if block.action == "print":
            if not self._assigned(pipeline, value, scopes):
                yield NO_VALUE if value is None else printed(value)
            return
        inner = [*scopes, {}]
        if block.action == "range":
            yield from self._range(block, pipeline, value, inner)
            return
        self._assigned(pipeline, value, inner)
        if is_true(value):
            yield from self.texts(block.body, value if block.action == "with" else dot, inner)
        else:
            yield from self.texts(block.otherwise, dot, inner)

    def _range(
        self, block: Block, pipeline: GoPipeline, value: object, scopes: _Scopes
    ) -> Iterator[str]:
        items = list(self._items(value, pipeline))
        if not items:
            yield from self.texts(block.otherwise, value, scopes)
            return
        for index, item in items:
            match pipeline.variables:
                case (name,):
                    scopes[-1][name] = item
                case (first, second):
                    scopes[-1] |= {first: index, second: item}
            try:
                # Piece by piece: what was written before a break stays.
                yield from self.texts(block.body, item, [*scopes, {}])
            except _ContinueError:
                continue
            except _BreakError:
                return

    def _items(self, value: object, pipeline: GoPipeline) -> Iterator[tuple[Any, Any]]:
        match value:
            case None:
                return
            case Mapping():
                yield from sorted(value.items())
            case list():
                yield from enumerate(value)
            case int() if not isinstance(value, bool):
                yield from ((number, number) for number in range(min(value, 10_000)))
            case _:
                raise PrintingError(
                    self._template, pipeline.at, f"range cannot go over {printed(value)!r}"
                )

    def _assigned(self, pipeline: GoPipeline, value: object, scopes: _Scopes) -> bool:
        for name in pipeline.variables[:1]:
            if pipeline.declares:
                scopes[-1][name] = value
                return True
            for scope in reversed(scopes):
                if name in scope:
                    scope[name] = value
                    return True
            raise PrintingError(self._template, pipeline.at, f"the variable {name} is not defined")
        return False

    def _value(self, pipeline: GoPipeline, dot: object, scopes: _Scopes) -> Any:
        result: list[Any] = []
        for command in pipeline.commands:
            result = [self._command(command, result, dot, scopes)]
        return result[0]

    def _command(
        self, command: Sequence[Operand], piped: Sequence[Any], dot: object, scopes: _Scopes
    ) -> Any:
        first = command[0]
        if first.kind != "function":
            if len(command) > 1 or piped:
                raise PrintingError(self._template, first.at, "a value takes no arguments")
            return self._operand(first, dot, scopes)
        if first.value in {"and", "or"}:
            return self._lazy(first.value == "and", command[1:], piped, dot, scopes)
        arguments = [self._operand(operand, dot, scopes) for operand in command[1:]]
        return self._call(first, [*arguments, *piped])

    def _lazy(
        self,
        wanted: bool,  # noqa: FBT001 - the truth that goes on to the next argument
        operands: Sequence[Operand],
        piped: Sequence[Any],
        dot: object,
        scopes: _Scopes,
    ) -> Any:
        value: Any = None
        for operand in operands:
            value = self._operand(operand, dot, scopes)
            if is_true(value) is not wanted:
                return value
        return piped[0] if piped else value

    def _call(self, function: Operand, arguments: Sequence[Any]) -> Any:
        called = _FUNCTIONS.get(function.value)
        if called is None:
            known = ", ".join(sorted({*_FUNCTIONS, "and", "or"}))
            why = f"there is no function {function.value!r}; there are {known}"
            raise PrintingError(self._template, function.at, why)
        try:
            return called(*arguments)
        except (_FunctionError, TypeError, ValueError, LookupError) as error:
            why = str(error) if isinstance(error, _FunctionError) else "wrong arguments"
            raise PrintingError(self._template, function.at, f"{function.value}: {why}") from error

    def _operand(self, operand: Operand, dot: object, scopes: _Scopes) -> Any:
        match operand.kind:
            case "literal":
                return operand.value
            case "dot":
                value = dot
            case "variable":
                value = self._variable(operand, scopes)
            case "pipeline":
                value = self._value(operand.value, dot, scopes)
            case _:
                value = self._call(operand, ())
        for name in operand.fields:
            if value is None:
                return None
            if not isinstance(value, Mapping):
                why = f"cannot take the field {name} of {printed(value)[:40]!r}"
                raise PrintingError(self._template, operand.at, why)
            value = value.get(name)
        return value

    def _variable(self, operand: Operand, scopes: _Scopes) -> Any:
        if operand.value == "$":
            return self._root
        for scope in reversed(scopes):
            if operand.value in scope:
                return scope[operand.value]
        raise PrintingError(
            self._template, operand.at, f"the variable {operand.value} is not defined"
        )


def is_true(value: object) -> bool:
    """Return whether `if` takes the value for true."""
    return bool(value)


def printed(value: object) -> str:
    """Return a value as Go's `%v` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case Mapping():
            inner = " ".join(f"{key}:{printed(value[key])}" for key in sorted(value))
            return f"map[{inner}]"
        case list():
            return f"[{' '.join(map(printed, value))}]"
        case float():
            return format(value, ".17g") if value != int(value) else str(int(value))
    return str(value)


def _printf(format_: str, *arguments: Any) -> str:
    left = list(arguments)

    def verb(match: re.Match[str]) -> str:
        flags, letter = match.groups()
        if letter == "%":
            return "%"
        if not left:
            return f"%!{letter}(MISSING)"
        value = left.pop(0)
        try:
            return _formatted(value, flags, letter)
        except (TypeError, ValueError):
            return f"%!{letter}({printed(value)})"

    text = _VERB.sub(verb, format_)
    return text + (f"%!(EXTRA {' '.join(map(printed, left))})" if left else "")


def _formatted(value: Any, flags: str, letter: str) -> str:
    if letter in "vst":
        return f"%{flags.replace('0', '', 1) if flags[:1] == '0' else flags}s" % printed(value)
    if letter == "q":
        return f"%{flags}s" % json.dumps(printed(value), ensure_ascii=False)
    return str(f"%{flags}{letter}" % value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise _FunctionError("index of nothing")
        if isinstance(value, Mapping):
            value = value.get(key)
            continue
        if not 0 <= key < len(value):
            raise _FunctionError(f"index out of range: {key}, of {len(value)}")
        value = value[key]
    return value


def _exists(value: Any, *keys: Any) -> bool:
    """Tell whether `index` finds something: a function of kubectl's own."""
    try:
        return _index(value, *keys) is not None
    except (_FunctionError, TypeError):
        return False


def _len(value: Any) -> int:
    if not isinstance(value, str | list | Mapping):
        raise _FunctionError(f"{printed(value)} has no length")
    return len(value)


def _decoded(text: Any) -> str:
    try:
        return base64.b64decode(str(text), validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise _FunctionError("the text is not in base64") from error


def _println(*values: Any) -> str:
    return " ".join(map(printed, values)) + "\n"


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "not": lambda value: not is_true(value),
    "len": _len,
    "index": _index,
    "slice": lambda value, *bounds: value[slice(*bounds)] if bounds else value,
    "print": lambda *values: "".join(map(printed, values)),
    "println": _println,
    "printf": _printf,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda left, right: left != right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "html": lambda *values: html.escape("".join(map(printed, values))),
    "urlquery": lambda *values: quote_plus("".join(map(printed, values))),
    "exists": _exists,
    "base64decode": _decoded,
    "base64encode": lambda text: base64.b64encode(str(text).encode()).decode(),
}
