"""image.openshift.io/v1: tags as histories of digests."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from upwell.api.columns import images
from upwell.api.meta import (
    Condition,
    Kind,
    LocalReference,
    Model,
    ObjectReference,
    Resource,
    Scope,
    Time,
)

GROUP = "image.openshift.io"


class ImportMode(StrEnum):
    """Choice of what an import keeps of an index."""

    LEGACY = "Legacy"
    PRESERVE_ORIGINAL = "PreserveOriginal"


def _given(value: object) -> object:
    """Return None for an empty text, which says nothing."""
    return None if value == "" else value


class ImportPolicy(Model):
    """Policy by which a tag is imported."""

    insecure: bool | None = None
    scheduled: bool | None = None
    import_mode: Annotated[ImportMode | None, BeforeValidator(_given)] = Field(
        default=None, strict=False
    )


class ReferencePolicy(Model):
    """Policy for the pull spec that a reference to the tag becomes: `Source` or `Local`."""

    type: str = "Source"


class TagReference(Model):
    """A tag that users declare, and where its image comes from."""

    name: str
    from_: ObjectReference | None = Field(default=None, alias="from")
    annotations: dict[str, str] = Field(default_factory=dict)
    reference: bool | None = None
    generation: int | None = None
    import_policy: ImportPolicy | None = None
    reference_policy: ReferencePolicy = Field(default_factory=ReferencePolicy)

    @property
    def imports(self) -> str | None:
        """The upstream image that is imported, if the tag imports one."""
        if self.from_ is None or self.from_.kind != "DockerImage" or self.reference:
            return None
        return self.from_.name

    @property
    def scheduled(self) -> bool:
        """True if the import is repeated."""
        return bool(self.import_policy and self.import_policy.scheduled)

    @property
    def insecure(self) -> bool:
        """True if plain HTTP or unverified TLS is allowed."""
        return bool(self.import_policy and self.import_policy.insecure)

    @property
    def copies(self) -> bool:
        """True if the tag takes its image from a stream, or names one that is never imported."""
        return self.from_ is not None and self.imports is None


class LookupPolicy(Model):
    """Policy for short image names in the namespace: they resolve through this stream or not."""

    local: bool = False


class ImageStreamSpec(Model):
    """Declared tags."""

    tags: tuple[TagReference, ...] = ()
    docker_image_repository: str | None = None
    lookup_policy: LookupPolicy = Field(default_factory=LookupPolicy)


class ImportedChange(Model):
    """Change of an upstream image that has brought a digest to a tag; written by the server alone.

    It stays with the digest, whatever the tag declares since, and goes with it to tags that follow.
    """

    image: str
    """The upstream image, by the complete name of its registry."""
    digest: str
    """Digest that upstream named: of an index, perhaps, of which the tag has one manifest."""
    previous: str | None = None
    """Digest that the tag had before; empty: that is not known. None: not told yet."""


class TagEvent(Model):
    """A digest that the tag had, newest first in its list."""

    created: Time
    docker_image_reference: str
    image: str = ""
    """Empty: the tag refers to an image that was not imported (`reference`)."""
    generation: int = 0
    unproven: bool | None = None
    """Upwell's own: True where no registry has given the image to the stream's namespace, so that
    nothing is shown of it but its digest."""
    requested_by: str | None = None
    """Upwell's own: people who had the image imported by hand, or chose it, one a line; None: it
    was found by the schedule, or did not come by an import."""
    imported: ImportedChange | None = None
    """Upwell's own: change of an upstream image that brought it; None: it was pushed or mapped, or
    came by the first import."""


class EarlierImport(Model):
    """A digest that an import has brought to a tag, and whose event is no more."""

    image: str
    imported: ImportedChange
    requested_by: str | None = None


class PlatformDigest(Model):
    """The manifest of one platform inside an index."""

    platform: str
    digest: str


class IgnoredImage(Model):
    """An image that upstream names now, and that does not take the place of the one in force."""

    digest: str
    seen: Time
    reason: str
    message: str = ""


class ImportState(Model):
    """Upwell's own facts about where a tag's image comes from."""

    source: str = ""
    """The upstream image, or the tag or image of another stream, that was asked for."""
    request: str = ""
    """Options that the tag asked for besides; see policy.import_request."""
    selected: str = ""
    """The upstream tag that the tag's selection has chosen."""
    selection_reason: str = ""
    generation: int = 0
    """The generation of the tag that was asked for."""
    requested_by: str | None = None
    """People who have asked for that import, while no check has succeeded since, one a line; None:
    nobody."""
    upstream_digest: str = ""
    """Digest that the source named at the last successful check."""
    imported_digest: str = ""
    """Digest that is imported: that one, or with importMode Legacy one manifest of the index."""
    last_check_time: Time | None = None
    next_check_time: Time | None = None
    interval: float | None = None
    """Seconds between checks, as the next one was planned with; None: it is not scheduled."""
    failures: int = 0
    """Failed checks in a row."""
    first_seen: Time | None = None
    """Time at which the current digest was first seen upstream."""
    unproven: bool | None = None
    """True where the source has not given the configuration of the imported image."""
    media_type: str = ""
    platforms: tuple[PlatformDigest, ...] = ()
    ignored: IgnoredImage | None = None
    """Image that upstream names now, if nothing of it matters here."""


class RepositoryImport(Model):
    """Upwell's own facts about the import of `spec.dockerImageRepository`."""

    source: str = ""
    tags: tuple[str, ...] = ()
    """The tags that are imported from it."""
    additional_tags: tuple[str, ...] = ()
    """Further tags that it has, beyond the limit."""
    last_check_time: Time | None = None
    next_check_time: Time | None = None
    interval: float | None = None
    """Seconds between checks, as the next one was planned with."""
    generation: int = 0
    """Number of times that the import had been asked for when the repository was listed."""
    failures: int = 0
    conditions: tuple[Condition, ...] = ()


class NamedTagEventList(Model):
    """A tag's history of digests, and why it does not go on, if it does not."""

    tag: str
    items: tuple[TagEvent, ...] = ()
    conditions: tuple[Condition, ...] = ()
    import_state: ImportState | None = None
    pushed_digest: str | None = None
    """Upwell's own: what the internal registry's tag named when it was last looked at."""
    earlier_imports: tuple[EarlierImport, ...] = ()
    """Upwell's own: what imports have brought before, the newest first, so that a digest that is
    pushed again is known for the change that it was."""

    @property
    def latest(self) -> TagEvent | None:
        """The digest in force."""
        return self.items[0] if self.items else None


class ImageStreamStatus(Model):
    """Status of the tags."""

    docker_image_repository: str = ""
    public_docker_image_repository: str | None = None
    tags: tuple[NamedTagEventList, ...] = ()
    repository: RepositoryImport | None = None

    def tag(self, name: str) -> NamedTagEventList | None:
        """Return the history of a tag; who asks for many has them by `by_tag`."""
        return next((entry for entry in self.tags if entry.tag == name), None)

    def by_tag(self) -> dict[str, NamedTagEventList]:
        """Return the histories by their tags; of several with one name the first."""
        return {entry.tag: entry for entry in reversed(self.tags)}


class ImageStream(Resource):
    """A repository whose tags are histories of digests."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ImageStream",
        "imagestreams",
        ("is",),
        legacy=True,
        has_age=False,
        columns=images.IMAGE_STREAM,
    )

    spec: ImageStreamSpec = Field(default_factory=ImageStreamSpec)
    status: ImageStreamStatus = Field(default_factory=ImageStreamStatus)


class ImageLayer(Model):
    """A layer of an image; `size` in bytes."""

    name: str
    size: int
    media_type: str = ""


class ImageManifest(Model):
    """The manifest of one platform in an index (image/v1 ImageManifest)."""

    digest: str
    media_type: str = ""
    manifest_size: int = 0
    architecture: str = ""
    os: str = ""
    variant: str | None = None


class Image(Resource):
    """An image by its digest, which is also the object's name."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "Image",
        "images",
        scope=Scope.CLUSTER,
        has_status=False,
        legacy=True,
        has_age=False,
        columns=images.IMAGE,
    )

    docker_image_reference: str = ""
    docker_image_manifest_media_type: str | None = None
    docker_image_metadata: dict[str, Any] = Field(default_factory=dict)
    docker_image_layers: tuple[ImageLayer, ...] = ()
    docker_image_metadata_version: str | None = None
    docker_image_manifests: tuple[ImageManifest, ...] = ()


class ImageStreamTag(Resource):
    """One tag of a stream, named `stream:tag`; a view, never stored."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ImageStreamTag",
        "imagestreamtags",
        ("istag",),
        has_status=False,
        legacy=True,
        verbs=("create", "delete", "get", "list", "patch", "update"),
        has_age=False,
        columns=images.IMAGE_STREAM_TAG,
    )

    tag: TagReference | None = None
    generation_: int | None = Field(default=None, alias="generation")
    conditions: tuple[Condition, ...] = ()
    lookup_policy: LookupPolicy | None = None
    image: dict[str, Any] = Field(default_factory=dict)


class ImageStreamImage(Resource):
    """One image of a stream, named `stream@digest`; a view, never stored."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ImageStreamImage",
        "imagestreamimages",
        ("isimage",),
        has_status=False,
        legacy=True,
        verbs=("get",),
        has_age=False,
        columns=images.IMAGE_STREAM_IMAGE,
    )

    image: dict[str, Any] = Field(default_factory=dict)


class ImageStreamMapping(Resource):
    """A push by name: makes `image` the newest of the stream's `tag`; only ever created."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ImageStreamMapping",
        "imagestreammappings",
        has_status=False,
        legacy=True,
        verbs=("create",),
    )

    image: Image = Field(default_factory=Image)
    tag: str = ""


class ImportSpec(Model):
    """One image or repository that an ImageStreamImport asks for."""

    from_: ObjectReference = Field(default_factory=ObjectReference, alias="from")
    to: LocalReference | None = None
    import_policy: ImportPolicy | None = None
    reference_policy: ReferencePolicy | None = None
    include_manifest: bool | None = None


class ImageStreamImportSpec(Model):
    """Images to import; without `import`, nothing is written."""

    import_: bool = Field(default=False, alias="import")
    repository: ImportSpec | None = None
    images: tuple[ImportSpec, ...] = ()


class ImageStreamImport(Resource):
    """Asks for images of other registries, and whether to import them; only ever created."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1",
        "ImageStreamImport",
        "imagestreamimports",
        has_status=False,
        legacy=True,
        verbs=("create",),
    )

    spec: ImageStreamImportSpec = Field(default_factory=ImageStreamImportSpec)
    status: dict[str, Any] = Field(default_factory=dict)
