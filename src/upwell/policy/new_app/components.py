"""Arguments of `new-app`: a repository, perhaps with a builder, or an image."""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from upwell.oci import InvalidReferenceError, Reference

MAX_NAME = 58
"""A name also becomes part of those of builds and revisions (OpenShift's own limit)."""

_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_SCP_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9.-]+:(?!//)[^:]*\.git/?")
_SCHEMES = {"http", "https", "git", "ssh", "file"}
_WITHOUT_USER = {"http", "https", "git"}


class NewAppError(ValueError):
    """The application cannot be made as it is asked for; the message says what to change."""


class NewAppStrategy(StrEnum):
    """Strategy by which an image is made from a repository."""

    SOURCE = "source"
    DOCKER = "docker"


@dataclass(frozen=True, slots=True)
class SourceRepository:
    """A git repository: its address, and the branch, tag or commit that is meant."""

    uri: str
    ref: str = ""

    @property
    def base_name(self) -> str:
        """The last part of the address, without `.git`."""
        return self.uri.rstrip("/").removesuffix(".git").rpartition("/")[2].rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class NewAppComponent:
    """One argument: an image, a repository, or a repository and the image that builds it."""

    image: str = ""
    repository: SourceRepository | None = None


def parse_component(text: str) -> NewAppComponent:
    """Return what `BUILDER~REPOSITORY`, `REPOSITORY[#REF]` or `IMAGE` names.

    Raises NewAppError.
    """
    builder, tilde, rest = text.partition("~")
    if tilde and not is_repository_address(builder):  # https://git.example/~user/shop.git
        if not builder or not rest:
            raise NewAppError(f"{text!r}: expected BUILDER~REPOSITORY")
        return NewAppComponent(builder, parse_repository(rest))
    if is_repository_address(text):
        return NewAppComponent(repository=parse_repository(text))
    return NewAppComponent(image=text)


def is_repository_address(text: str) -> bool:
    """Return True if `text` is written like the address of a git repository."""
    address = text.partition("#")[0]
    return urlsplit(address).scheme in _SCHEMES or _SCP_ADDRESS.fullmatch(address) is not None


def parse_repository(text: str) -> SourceRepository:
    """Return the repository of `ADDRESS[#REF]`; raises NewAppError."""
    uri, _, ref = text.partition("#")
    if not is_repository_address(uri):
        raise NewAppError(
            f"{uri!r} is not the URL of a git repository: write https://…, git://…, ssh://… or"
            " user@host:path.git"
        )
    parts = urlsplit(uri)
    if parts.password or (parts.scheme in _WITHOUT_USER and parts.username):
        raise NewAppError(
            "the repository's address has a login in it, which everyone could read in the"
            " BuildConfig: put it into a Secret and name that with --source-secret"
        )
    return SourceRepository(uri, ref)


def application_name(given: str, component: NewAppComponent) -> str:
    """Return `given`, or a name made from the repository or the image; raises NewAppError."""
    if given:
        return checked_name(given)
    if component.repository is not None:
        source = component.repository.base_name
    else:
        source = image_reference(component.image).repository.rpartition("/")[2]
    name = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:MAX_NAME].rstrip("-")
    if _NAME.fullmatch(name) is None:
        raise NewAppError(f"no name can be made from {source!r}: give one with --name")
    return name


def checked_name(name: str) -> str:
    """Return `name` if an application may have it; raises NewAppError."""
    if len(name) > MAX_NAME or _NAME.fullmatch(name) is None:
        raise NewAppError(
            f"{name!r} is not a valid application name: use up to {MAX_NAME} lower-case letters,"
            " digits and '-', a letter first"
        )
    return name


def image_reference(image: str) -> Reference:
    """Return what an image's name means; raises NewAppError."""
    try:
        return Reference.parse(image)
    except InvalidReferenceError as error:
        raise NewAppError(str(error)) from error
