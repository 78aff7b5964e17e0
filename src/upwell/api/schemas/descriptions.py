"""Descriptions of fields for schemas: those of the models' own sources, and a table of others.

A field has the text that its declaration gives, else the docstring that stands below it, else the
entry of its model, or of all models, in `descriptions.toml`. A field that holds a model needs none:
that model's docstring says what it is.
"""

import ast
import functools
import inspect
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, override

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

type _Texts = Mapping[str, str]

_ALL = "*"
"""Table of fields that mean the same in every model."""


class DescribedSchema(GenerateJsonSchema):
    """Schemas of models whose fields have descriptions."""

    @override
    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        properties = made.get("properties")
        if isinstance(properties, dict):
            texts = descriptions_of(schema["cls"])
            for name, text in texts.items():
                if name in properties:
                    properties[name].setdefault("description", text)
        return made


def descriptions_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the descriptions of a model's fields, by their names on the wire."""
    own = {
        name: text
        for base in reversed(model.__mro__)
        if issubclass(base, BaseModel)
        for name, text in _below_fields(base.__module__).get(base.__name__, {}).items()
    }
    tables = [_table().get(base.__name__, {}) for base in model.__mro__] + [_table()[_ALL]]
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        wire = field.alias or name
        said = (own.get(name), *(table.get(wire) for table in tables))
        if text := next(filter(None, said), None):
            found[wire] = " ".join(text.split())
    return found


@functools.cache
def _table() -> Mapping[str, _Texts]:
    text = files(__package__).joinpath("descriptions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@functools.cache
def _below_fields(module: str) -> Mapping[str, _Texts]:
    """Return the docstrings below fields, by class; none where there is no source."""
    loaded = sys.modules.get(module)
    try:
        tree = ast.parse(inspect.getsource(loaded)) if loaded is not None else ast.Module([], [])
    except (OSError, TypeError):
        return {}
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name: dict(_docstrings(node)) for node in classes}


def _docstrings(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text
            case _:
                pass


def describe_references(definition: Any, models: Mapping[str, str]) -> None:
    """Have the fields of a definition that hold models say what these are.

    `models` are the descriptions of definitions, by the last words of their addresses.
    """
    for field in (definition.get("properties") or {}).values():
        held = field.get("items") or field
        target = str(held.get("$ref", "")).rpartition("/")[2]
        if not field.get("description") and models.get(target):
            field["description"] = models[target]
