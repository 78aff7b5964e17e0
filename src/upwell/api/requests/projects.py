"""project.openshift.io/v1: a Project is a Namespace as OpenShift's clients see it; never stored."""

from typing import ClassVar

from pydantic import Field

from upwell.api.core import Namespace
from upwell.api.meta import Column, Kind, Model, ObjectMeta, Resource, Scope

_GROUP = "project.openshift.io"
DISPLAY_NAME = "openshift.io/display-name"
DESCRIPTION = "openshift.io/description"
REQUESTER = "openshift.io/requester"


class ProjectSpec(Model):
    """Finalizers that hold the deletion up."""

    finalizers: tuple[str, ...] = ()


class ProjectStatus(Model):
    """Active or Terminating."""

    phase: str = "Active"


class Project(Resource):
    """A Namespace that the client may see."""

    KIND: ClassVar[Kind] = Kind(
        _GROUP,
        "v1",
        "Project",
        "projects",
        scope=Scope.CLUSTER,
        has_status=False,
        verbs=("create", "delete", "get", "list", "watch"),
        has_age=False,
        columns=(
            Column("DISPLAY NAME", f"metadata.annotations['{DISPLAY_NAME}']", empty=""),
            Column("STATUS", "status.phase"),
        ),
    )

    spec: ProjectSpec = Field(default_factory=ProjectSpec)
    status: ProjectStatus = Field(default_factory=ProjectStatus)

    @classmethod
    def of(cls, namespace: Namespace) -> "Project":
        """Return the Project that a Namespace is."""
        phase = "Terminating" if namespace.is_deleting else "Active"
        return cls(
            api_version=cls.KIND.api_version,
            kind=cls.KIND.kind,
            metadata=namespace.metadata.model_copy(update={"managed_fields": ()}),
            spec=ProjectSpec(finalizers=namespace.metadata.finalizers),
            status=ProjectStatus(phase=phase),
        )

    def as_namespace(self) -> Namespace:
        """Return the Namespace that the Project declares."""
        meta = self.metadata
        return Namespace(
            metadata=ObjectMeta(
                name=meta.name, labels=dict(meta.labels), annotations=dict(meta.annotations)
            )
        )


class ProjectRequest(Resource):
    """A request for a Project: `oc new-project`."""

    KIND: ClassVar[Kind] = Kind(
        _GROUP,
        "v1",
        "ProjectRequest",
        "projectrequests",
        scope=Scope.CLUSTER,
        has_status=False,
        verbs=("create", "list"),
    )

    display_name: str = ""
    description: str = ""

    def project(self, requester: str) -> Project:
        """Return the Project that is asked for.

        Labels and annotations of the request count for nothing, as on OpenShift: those of a
        namespace decide what may run in it.
        """
        told = {
            DISPLAY_NAME: self.display_name,
            DESCRIPTION: self.description,
            REQUESTER: requester,
        }
        annotations = {key: text for key, text in told.items() if text}
        return Project(metadata=ObjectMeta(name=self.name, annotations=annotations))
