"""template.openshift.io/v1: objects with parameters."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from upwell.api.columns import core
from upwell.api.meta import Kind, Model, Resource
from upwell.api.write_only.fields import ObjectsInside


class Parameter(Model):
    """A parameter of a Template."""

    name: str
    display_name: str | None = None
    description: str | None = None
    value: str | None = None
    generate: str | None = None
    from_: str | None = Field(default=None, alias="from")
    required: bool | None = None


class Template(Resource):
    """Objects with parameters, as they were written."""

    KIND: ClassVar[Kind] = Kind(
        "template.openshift.io",
        "v1",
        "Template",
        "templates",
        has_status=False,
        legacy=True,
        has_age=False,
        columns=core.TEMPLATE,
    )

    objects: Annotated[tuple[dict[str, Any], ...], ObjectsInside()] = ()
    parameters: tuple[Parameter, ...] = ()
    labels_: dict[str, str] = Field(default_factory=dict, alias="labels")
    message: str | None = None


class ProcessedTemplate(Template):
    """A Template that is sent to get its objects back, its parameters replaced; never stored."""

    KIND: ClassVar[Kind] = Kind(
        "template.openshift.io",
        "v1",
        "ProcessedTemplate",
        "processedtemplates",
        has_status=False,
        verbs=("create",),
    )
