"""Base of the configuration file's tables."""

from collections.abc import Mapping
from typing import Any

from pydantic import AliasGenerator, BaseModel, ConfigDict, model_validator

from upwell.settings.values import KeyType


class SettingsTable(BaseModel):
    """A table of the file. Its keys are written with hyphens, and no others are allowed."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: name.replace("_", "-")),
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_blanks_out(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        blank = {key for key, (_, allowed) in cls.key_types().items() if allowed.blank}
        return {key: value for key, value in values.items() if value != "" or key not in blank}

    @classmethod
    def key_types(cls) -> Mapping[str, KeyType]:
        """Return the type of every key, under its name in the file."""
        return {
            str(field.validation_alias): KeyType.of(field.annotation, field.metadata)
            for field in cls.model_fields.values()
        }
