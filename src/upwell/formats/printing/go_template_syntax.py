"""Syntax of Go's text/template (https://pkg.go.dev/text/template), as a tree.

All actions but `define`, `template` and `block`, which divide a template into several.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from upwell.formats.printing.errors import PrintingError

_MAX_DEPTH = 50
_ACTION = re.compile(r"\{\{(-\s)?\s*(/\*.*?\*/)?", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)
    |(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<dot>\.)
    |(?P<variable>\$\w*)|(?P<word>[A-Za-z_]\w*)
    |(?P<sign>:=|[=|(),])""",
    re.VERBOSE,
)
_WHOLE = re.compile(r"[+-]?\d+")
_CONSTANTS = {"true": True, "false": False, "nil": None}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class GoToken:
    """Word of an action, and its place in the template."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Operand:
    """A literal, `.`, a variable, a function's name or a pipeline, with the fields taken of it."""

    kind: str
    """`literal`, `dot`, `variable`, `function` or `pipeline`."""
    value: Any
    fields: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class GoPipeline:
    """Commands, each of operands; a command's result is the last operand of the next."""

    commands: tuple[tuple[Operand, ...], ...]
    at: int
    variables: tuple[str, ...] = ()
    """Variables that get the result; for a range, index and item."""
    declares: bool = True
    """The variables are new ones (`:=`)."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text that stands for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """An action: `print` a pipeline, `if`, `range` and `with` a body, `break`, `continue`."""

    action: str
    pipeline: GoPipeline | None = None
    body: "tuple[Node, ...]" = ()
    otherwise: "tuple[Node, ...]" = ()


type Node = Text | Block


def parse(template: str) -> tuple[Node, ...]:
    """Return the tree of a template; raises PrintingError."""
    parser = _Parser(template, _pieces(template))
    nodes, end = parser.nodes(0)
    if end is not None:
        raise PrintingError(template, end.tokens[0].at, f"unexpected {end.tokens[0].text}")
    return tuple(nodes)


@dataclass(frozen=True, slots=True)
class _Action:
    tokens: tuple[GoToken, ...]
    at: int


def _pieces(template: str) -> list[str | _Action]:
    """Return texts and actions in order, spaces trimmed as `{{-` and `-}}` say."""
    pieces: list[str | _Action] = []
    at, trims = 0, False
    while at <= len(template):
        match = _ACTION.search(template, at)
        text = template[at : match.start() if match else len(template)]
        if trims:
            text = text.lstrip()
        if match is not None and match[1]:
            text = text.rstrip()
        if text:
            pieces.append(text)
        if match is None:
            break
        tokens, at, trims = _tokens(template, match.end(), match.start())
        if tokens:
            pieces.append(_Action(tokens, match.start()))
        elif match[2] is None:
            raise PrintingError(template, match.start(), "the action is empty")
    return pieces


def _tokens(template: str, at: int, began: int) -> tuple[tuple[GoToken, ...], int, bool]:
    """Return the tokens of an action, where the text goes on, and whether it is trimmed."""
    tokens: list[GoToken] = []
    while at < len(template):
        if template.startswith("}}", at):
            return tuple(tokens), at + 2, False
        if re.compile(r"\s*-\}\}").match(template, at):
            return tuple(tokens), template.index("}}", at) + 2, True
        match = _TOKEN.match(template, at)
        if match is None:
            raise PrintingError(template, at, f"cannot understand {template[at]!r}")
        kind = str(match.lastgroup)
        if kind != "space":
            tokens.append(GoToken(kind, match[0], at))
        at = match.end()
    raise PrintingError(template, began, "the {{ is not closed")


@dataclass(slots=True)
class _Parser:
    template: str
    pieces: Sequence[str | _Action]
    _next: int = field(default=0, init=False)

    def nodes(self, depth: int) -> tuple[list[Node], _Action | None]:
        """Return the nodes up to an `else` or `end`, which is returned, or to the end."""
        found: list[Node] = []
        while self._next < len(self.pieces):
            piece = self.pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                found.append(Text(piece))
                continue
            word = piece.tokens[0].text
            if word in {"end", "else"}:
                return found, piece
            found.append(self._action(piece, word, depth))
        return found, None

    def _action(self, action: _Action, word: str, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise PrintingError(self.template, action.at, f"more than {_MAX_DEPTH} blocks deep")
        if word in {"if", "range", "with"}:
            return self._block(action, word, action.tokens[1:], depth)
        if word in {"break", "continue"}:
            return Block(word)
        if word in {"define", "template", "block"}:
            raise PrintingError(self.template, action.at, f"{word} is not supported here")
        return Block("print", self._pipeline(action.tokens, action.at))

    def _block(self, action: _Action, word: str, rest: Sequence[GoToken], depth: int) -> Block:
        pipeline = self._pipeline(rest, action.at)
        body, end = self.nodes(depth + 1)
        otherwise: list[Node] = []
        if end is not None and end.tokens[0].text == "else":
            if len(end.tokens) > 1:
                otherwise = [self._block(end, end.tokens[1].text, end.tokens[2:], depth + 1)]
                return Block(word, pipeline, tuple(body), tuple(otherwise))
            otherwise, end = self.nodes(depth + 1)
        if end is None or end.tokens[0].text != "end":
            raise PrintingError(self.template, action.at, f"the {word} has no end")
        return Block(word, pipeline, tuple(body), tuple(otherwise))

    def _pipeline(self, tokens: Sequence[GoToken], at: int) -> GoPipeline:
        names, rest, declares = _declared(tokens)
        commands, left = self._commands(list(rest), at, 0)
        if left:
            self._unexpected(left[0])
        return GoPipeline(commands, at, names, declares)

    def _commands(
        self, tokens: list[GoToken], at: int, depth: int
    ) -> tuple[tuple[tuple[Operand, ...], ...], list[GoToken]]:
        """Return the commands up to a closing parenthesis, and what is left from there."""
        if depth > _MAX_DEPTH:
            raise PrintingError(self.template, at, f"more than {_MAX_DEPTH} parentheses deep")
        commands: list[tuple[Operand, ...]] = []
        operands: list[Operand] = []
        while tokens and tokens[0].text != ")":
            token = tokens.pop(0)
            if token.text == "|" and token.kind == "sign":
                if not operands:
                    self._unexpected(token)
                commands.append(tuple(operands))
                operands = []
            elif token.text == "(" and token.kind == "sign":
                inner, tokens = self._commands(tokens, token.at, depth + 1)
                if not tokens:
                    raise PrintingError(self.template, token.at, "the ( is not closed")
                closed = tokens.pop(0)
                fields, tokens = _fields(tokens, closed.at + 1)
                pipeline = GoPipeline(inner, token.at)
                operands.append(Operand("pipeline", pipeline, fields, token.at))
            else:
                operand, tokens = self._operand(token, tokens)
                operands.append(operand)
        if not operands:
            raise PrintingError(self.template, tokens[0].at if tokens else at, "a value is missing")
        return (*commands, tuple(operands)), tokens

    def _operand(self, token: GoToken, rest: list[GoToken]) -> tuple[Operand, list[GoToken]]:
        kind = "literal"
        value: Any = None
        fields: tuple[str, ...] = ()
        match token.kind:
            case "text":
                value = _unquoted(token.text[1:-1])
            case "raw":
                value = token.text[1:-1]
            case "number":
                value = int(token.text) if _WHOLE.fullmatch(token.text) else float(token.text)
            case "field" | "dot":
                kind, fields = "dot", tuple(filter(None, token.text.split(".")))
            case "variable":
                kind, value = "variable", token.text
                fields, rest = _fields(rest, token.at + len(token.text))
            case "word" if token.text in _CONSTANTS:
                value = _CONSTANTS[token.text]
            case "word":
                kind, value = "function", token.text
            case _:
                self._unexpected(token)
        return Operand(kind, value, fields, token.at), rest

    def _unexpected(self, token: GoToken) -> NoReturn:
        raise PrintingError(self.template, token.at, f"unexpected {token.text!r}")


def _declared(tokens: Sequence[GoToken]) -> tuple[tuple[str, ...], Sequence[GoToken], bool]:
    """Return the variables of `$a, $b := …`, the rest, and whether they are new."""
    names: list[str] = []
    for at, token in enumerate(tokens):
        if token.kind == "variable":
            names.append(token.text)
        elif token.text in {":=", "="} and names:
            return tuple(names), tokens[at + 1 :], token.text == ":="
        elif token.text != ",":
            break
    return (), tokens, True


def _fields(tokens: list[GoToken], at: int) -> tuple[tuple[str, ...], list[GoToken]]:
    """Return the fields that follow directly, as in `$item.name`."""
    if tokens and tokens[0].kind == "field" and tokens[0].at == at:
        return tuple(tokens[0].text[1:].split(".")), tokens[1:]
    return (), tokens


def _unquoted(text: str) -> str:
    def letter(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, code)

    return _ESCAPE.sub(letter, text)
