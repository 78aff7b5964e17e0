"""Completion of what an object holds: fields that it leaves out, written out.

A model's field has its default, so that all who read it need none; here is said which of them an
API server stores. Kubernetes' generated defaulters do the same: each structure that is there is
completed, wherever it stands.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self, cast

from upwell.api.meta import Model

type Rule[M: Model] = Callable[[M], Mapping[str, object]]
"""Returns the fields of a structure whose default depends on what else it has."""


class Completion:
    """Fields that are stored of each structure, and rules for what no model can say."""

    def __init__(self, stored: Mapping[type[Model], tuple[str, ...]]) -> None:
        self._stored = dict(stored)
        self._rules: dict[type[Model], Rule[Any]] = {}
        self._of_nothing: dict[type[Model], Model] = {}
        """Structures in which nothing was said: one for all objects, as none ever changes."""

    def with_rule[M: Model](self, structure: type[M], rule: Rule[M]) -> Self:
        """Add the rule of a structure; what it holds is complete when the rule is asked."""
        self._rules[structure] = rule
        return self

    def complete[M: Model](self, model: M) -> M:
        """Return a structure with its defaults; a complete one comes back as it is."""
        if model.model_fields_set:
            return self._complete(model)
        structure = type(model)
        found = self._of_nothing.get(structure)
        if found is None:
            found = self._of_nothing[structure] = self._complete(model)
        return cast("M", found)

    def _complete[M: Model](self, model: M) -> M:
        given = model.model_fields_set
        changes: dict[str, object] = {}
        for name in given:
            value = model.__dict__.get(name)
            if (new := self._within(value)) is not value:
                changes[name] = new
        if changes:
            model = model.model_copy(update=changes)
        further: dict[str, object] = {}
        if (rule := self._rules.get(type(model))) is not None:
            further = {name: self._within(value) for name, value in rule(model).items()}
        for name in self._stored.get(type(model), ()):
            if name not in given and name not in further:
                further[name] = self._within(getattr(model, name))
        return model.model_copy(update=further) if further else model

    def _within(self, value: Any) -> Any:
        if isinstance(value, Model):
            return self.complete(value)
        if isinstance(value, tuple) and value:
            items = tuple(self._within(item) for item in value)
            if any(new is not old for new, old in zip(items, value, strict=True)):
                return items
        return value
