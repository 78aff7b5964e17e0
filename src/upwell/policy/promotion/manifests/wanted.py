"""Images that manifests shall name, and the error when they have no place for one."""

from dataclasses import dataclass

from upwell.oci import InvalidReferenceError, Reference


class ManifestError(Exception):
    """Manifests cannot be edited; the message names the file and what is missing."""


@dataclass(frozen=True, slots=True)
class WantedImage:
    """The image of one component."""

    component: str
    image: Reference
    """With its digest."""
    key: str = ""
    """Path to it, as a GitTarget's `keys` says; empty: it is found by its repository."""
    repositories: frozenset[str] = frozenset()
    """Names that manifests may have for its repository now, besides that of `image`."""

    def is_named(self, text: str) -> bool:
        """Return True if `text`, a pull spec or a repository, names this component's image."""
        return repository_of(text) in {self.image.name, *self.repositories}

    def is_key(self, text: str) -> bool:
        """Return True if `text` names an image of the repository that is the key."""
        meant = repository_of(self.key)
        return bool(meant) and repository_of(text) == meant

    def image_is_in(self, repository: str) -> bool:
        """Return True if `repository` is where the image is."""
        return repository_of(repository) == self.image.name

    @property
    def names(self) -> str:
        """The repositories, for people."""
        return " or ".join(sorted({self.image.name, *self.repositories}))


def repository_of(text: str) -> str:
    """Return `registry/repository` in full; empty when `text` names no image."""
    try:
        return Reference.parse(text).name
    except InvalidReferenceError:
        return ""


def pull_spec(present: str, image: Reference) -> str:
    """Return what stands in place of `present`: a repository keeps the way in which it is spelt."""
    try:
        known = Reference.parse(present)
    except InvalidReferenceError:
        return str(image)
    if known.name != image.name:
        return str(image)
    return f"{spelling(present)}@{image.digest}"


def tag_with_digest(present: str, image: Reference) -> str:
    """Return a tag that a digest follows: tools put `REPOSITORY:` before it."""
    tag = present.partition("@")[0]
    return f"{tag or 'latest'}@{image.digest}"


def spelling(pull_spec: str) -> str:
    """Return a pull spec as it is written, without its tag and digest."""
    name = pull_spec.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"
