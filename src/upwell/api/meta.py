"""Metadata that every object has: names, conditions, and its place in the API.

Objects are immutable: a change is a copy (`model_copy(update=…)`, `with_status`). Fields that a
model does not know are kept as they came.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with a fraction only when there is one, as every Kubernetes client reads."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(value: object) -> datetime | None:
    """Return the time that an annotation's text names with its zone; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


type Time = Annotated[AwareDatetime, PlainSerializer(format_time, when_used="json-unless-none")]
Seconds = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
"""A duration; no alias of its own kind, so that schemas show a plain integer."""
KeptText = Annotated[Any, WithJsonSchema({"type": "string"})]
"""A text without effect; earlier versions kept whatever was there, and all of it still loads."""


class Model(BaseModel):
    """Base of all API data: immutable, camelCase on the wire, strict types, unknown fields kept."""

    model_config = ConfigDict(
        # Most models are only ever read as parts of others; commands need few of them.
        defer_build=True,
        frozen=True,
        extra="allow",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_enum_values=False,
    )


class OwnerReference(Model):
    """The object whose deletion deletes this one."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """Names, versions and bookkeeping of an object (meta/v1 ObjectMeta)."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    managed_fields: tuple[dict[str, Any], ...] = ()


class Condition(Model):
    """One observation of an object's state (meta/v1 Condition)."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: Time | None = None
    last_update_time: Time | None = None
    observed_generation: int | None = None
    generation: int | None = None

    @property
    def is_true(self) -> bool:
        """True if the observation holds."""
        return self.status == "True"


class Scope(StrEnum):
    """Scope of a kind: its objects live in a namespace or not."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


class ColumnType(StrEnum):
    """Type of what a column shows, as printer columns of Kubernetes have it."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"
    """A time that has passed; its age is shown: `5m`."""
    AGO = "ago"
    """A time that has passed, in words: `5 minutes ago`."""
    SPAN = "span"
    """A time until another one, or until now: `5m`."""

    @property
    def of_table(self) -> str:
        """Its name in the Tables of an API server, which sends these as text."""
        return "string" if self in {ColumnType.AGO, ColumnType.SPAN} else self.value

    @property
    def of_definition(self) -> str:
        """Its name in a CustomResourceDefinition, whose paths lead to the times themselves."""
        return "date" if self in {ColumnType.AGO, ColumnType.SPAN} else self.value


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `get`: its title, and the path in the object that it shows."""

    title: str
    path: str
    type: ColumnType = ColumnType.STRING
    wide: bool = False
    text: Callable[[Mapping[str, Any]], str] | None = None
    """Makes the cell from the whole object, where what is at the path does not say enough.

    Empty where there is nothing to show; of a column of times, it makes the time (RFC 3339).
    """
    until: str = ""
    """Path of the end of a SPAN."""
    empty: str = "<none>"
    """The cell where there is nothing to show."""
    notable: Callable[[Any], bool] | None = None
    """Addition of ours, which is wide unless this is true of a listed object."""


_NAME = Column("NAME", "metadata.name")
_AGE = Column("AGE", "metadata.creationTimestamp", ColumnType.DATE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind's place in the API: group, version, names."""

    group: str
    version: str
    kind: str
    plural: str
    short_names: tuple[str, ...] = ()
    scope: Scope = Scope.NAMESPACED
    has_status: bool = True
    legacy: bool = False
    """OpenShift's older manifests write this kind with the group-less apiVersion `v1`."""
    earlier_versions: tuple[str, ...] = ()
    """Versions of the group in which manifests write this kind with the same fields."""
    aliases: tuple[str, ...] = ()
    """Other groups, `group/version`, in which clients find the same objects."""
    verbs: tuple[str, ...] = ()
    """Verbs of a view or a request that is never stored; empty: all."""
    read_only: bool = False
    """Clients get, list and watch what the server alone writes."""
    has_age: bool = True
    """A column with its age is among the printed ones."""
    has_name: bool = True
    """The first column is the name."""
    columns: tuple[Column, ...] = field(default=())
    """Columns of the kind's own; `printed_columns` are all."""

    @property
    def api_version(self) -> str:
        """`group/version`, or the bare version of the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def printed_columns(self) -> tuple[Column, ...]:
        """Every column in order; those of `-o wide` stand last."""
        narrow = [column for column in self.columns if not (column.wide or column.notable)]
        wide = (column for column in self.columns if column.wide)
        notable = (column for column in self.columns if column.notable)
        name = (_NAME,) if self.has_name else ()
        age = (_AGE,) if self.has_age else ()
        return (*name, *narrow, *age, *notable, *wide)

    @property
    def is_stored(self) -> bool:
        """True if there are objects of this kind, rather than views of others and requests."""
        return not self.verbs

    @property
    def singular(self) -> str:
        """The kind in lower case."""
        return self.kind.lower()

    @property
    def list_kind(self) -> str:
        """The kind of a list of these objects."""
        return f"{self.kind}List"

    @property
    def resource(self) -> str:
        """`plural.group`, as kubectl names it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def namespaced(self) -> bool:
        """True if objects live in a namespace."""
        return self.scope is Scope.NAMESPACED

    def __str__(self) -> str:
        return self.kind


class ObjectKey(NamedTuple):
    """Names one object: the kind's name, the namespace (empty for cluster scope), the name.

    Without a name it is that of a collection. A tuple, as everything is looked up by it: a
    dataclass takes twenty times as long to be hashed.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        if not self.name:
            return f"{self.kind} in namespace {self.namespace}" if self.namespace else self.kind
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


class Resource(Model):
    """Base of every object. A subclass sets `KIND` and, if it has them, `spec` and `status`."""

    KIND: ClassVar[Kind]

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The object's namespace; empty for cluster scope."""
        return self.metadata.namespace or ""

    @property
    def key(self) -> ObjectKey:
        """Kind, namespace and name."""
        metadata = self.metadata  # asked for so often that two calls more are seen in plans
        return ObjectKey(self.KIND.kind, metadata.namespace or "", metadata.name)

    @property
    def uid(self) -> str:
        """The identity of this incarnation; empty before it is stored."""
        return self.metadata.uid or ""

    @property
    def generation(self) -> int:
        """Counts changes of the spec."""
        return self.metadata.generation or 0

    @property
    def resource_version(self) -> str:
        """Opaque; changes with every write."""
        return self.metadata.resource_version or ""

    @property
    def is_deleting(self) -> bool:
        """True if deletion waits for finalizers."""
        return self.metadata.deletion_timestamp is not None

    @property
    def annotations(self) -> Mapping[str, str]:
        """The object's annotations."""
        return self.metadata.annotations

    @property
    def labels(self) -> Mapping[str, str]:
        """The object's labels."""
        return self.metadata.labels

    def with_metadata(self, **changes: object) -> Self:
        """Return a copy with these fields of its metadata changed."""
        return self.model_copy(update={"metadata": self.metadata.model_copy(update=changes)})

    @classmethod
    def first_status(cls) -> Model | None:
        """Return the status of a new object; None: it has none on the wire."""
        return None

    def with_status(self, status: Model) -> Self:
        """Return a copy with another status."""
        return self.model_copy(update={"status": status})

    def owner_reference(self) -> OwnerReference:
        """Return what a child writes to be deleted with this object."""
        return OwnerReference(
            api_version=self.KIND.api_version,
            kind=self.KIND.kind,
            name=self.name,
            uid=self.uid,
            controller=True,
        )


class ObjectReference(Model):
    """Names an object of a kind that the field's meaning allows (core/v1 ObjectReference)."""

    kind: str = ""
    name: str = ""
    namespace: str | None = None
    api_version: str | None = None
    uid: str | None = None


class LocalReference(Model):
    """Names a Secret or ConfigMap of the same namespace."""

    name: str = ""
