"""Requests to /v2/, parsed and checked."""

import re

from starlette.requests import Request

from upwell.oci import Digest, InvalidDigestError
from upwell.oci.reference import is_repository, is_tag
from upwell.oci.replica_contents import is_replica_content
from upwell.policy.access.roles import MIRROR_NAMESPACE, REPOSITORIES, Action, is_granted

_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})")
_CONTENT_RANGE = re.compile(r"(?:bytes )?(?P<first>[0-9]{1,19})-(?P<last>[0-9]{1,19})(?:/.*)?")
MAX_TAGS = 10
_LENIENT_TYPES = {"*/*", "application/*", "application/json"}


class DistributionError(Exception):
    """The request is wrong in itself; `status` and `code` are what the specification answers."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


def repository_of(request: Request) -> str:
    """Return the repository that the path names."""
    name: str = request.path_params["name"]
    if not is_repository(name):
        raise DistributionError(400, "NAME_INVALID", f"not a repository name: {name[:300]!r}")
    if is_replica_content(name):
        raise DistributionError(404, "NAME_UNKNOWN", f"{name} is the server's own: no images")
    return name


def digest_of(text: str) -> Digest:
    """Parse a digest that a client sent."""
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise DistributionError(400, "DIGEST_INVALID", str(error)) from error


def digest_in(request: Request) -> Digest:
    """Return the digest that the path names."""
    return digest_of(request.path_params["digest"])


def tag_or_digest(request: Request, *, pushing: bool) -> str | Digest:
    """Return what a manifest path names; what cannot be a tag is unknown, or refused in a push."""
    text: str = request.path_params["reference"]
    if ":" in text:
        return digest_of(text)
    if not is_tag(text):
        if pushing:
            raise DistributionError(400, "MANIFEST_INVALID", f"not a tag: {text[:300]!r}")
        raise DistributionError(404, "MANIFEST_UNKNOWN", f"no manifest has the tag {text[:300]!r}")
    return text


def tags_of(request: Request) -> list[str]:
    """Return the tags that a manifest gets which is pushed by its digest (end-7b)."""
    tags = request.query_params.getlist("tag")
    if len(tags) > MAX_TAGS:
        raise DistributionError(413, "SIZE_INVALID", f"more than {MAX_TAGS} tags in one push")
    for tag in tags:
        if not is_tag(tag):
            raise DistributionError(400, "MANIFEST_INVALID", f"not a tag: {tag[:300]!r}")
    return tags


def page_of(request: Request, maximum: int) -> tuple[int, str]:
    """Return how many names are asked for, and the name that they come after."""
    text = request.query_params.get("n", str(maximum))
    if not text.isascii() or not text.isdigit():
        raise DistributionError(
            400, "PAGINATION_NUMBER_INVALID", f"n is not a number: {text[:50]!r}"
        )
    return min(int(text[:10]), maximum), request.query_params.get("last", "")


def accepts(request: Request, media_type: str) -> bool:
    """Return True if the Accept headers allow `media_type`; without any, all types are allowed."""
    values = ",".join(request.headers.getlist("Accept"))
    types = {value.split(";")[0].strip().lower() for value in values.split(",")} - {""}
    return not types or media_type in types or not types.isdisjoint(_LENIENT_TYPES)


def byte_span(request: Request, size: int) -> range | None:
    """Return the one range of bytes that is asked for, or None for all of them (RFC 9110, 14.2).

    Several ranges and other units are answered with the whole, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if match is None or match["first"] == match["last"] == "":
        return None
    if match["first"] == "":
        span = range(max(0, size - int(match["last"])), size)
    else:
        last = int(match["last"]) if match["last"] else size - 1
        span = range(int(match["first"]), min(last + 1, size))
    if not span:
        raise DistributionError(
            416, "SIZE_INVALID", "no byte is in the range", {"Content-Range": f"bytes */{size}"}
        )
    return span


def chunk_start(request: Request) -> int | None:
    """Return where a chunk says that it starts, or None for the end of what has arrived."""
    text = request.headers.get("Content-Range")
    if text is None:
        return None
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise DistributionError(
            400, "BLOB_UPLOAD_INVALID", f"Content-Range is not FIRST-LAST: {text[:50]!r}"
        )
    first, last = int(match["first"]), int(match["last"])
    length = request.headers.get("Content-Length")
    if length is not None and length != str(last - first + 1):
        raise DistributionError(
            400, "SIZE_INVALID", f"Content-Range {text} with {length[:20]} bytes"
        )
    return first


def last_digest(request: Request) -> Digest | None:
    """Return the digest after which a page begins, or None; raises DistributionError."""
    text = request.query_params.get("last", "")
    return digest_of(text) if text else None


def may_pull(request: Request, repository: str) -> bool:
    """Return True if the client has the right to pull; so have all where nobody asks who it is."""
    may = getattr(request.scope.get("user"), "may", None)
    return may is None or bool(may(_pull(repository)))


def may_list(request: Request, repository: str) -> bool:
    """Return True if the client may know that a repository is there, and what its tags are.

    Copies of public images may be pulled by all who know a digest; they are listed to those alone
    who have a role in their namespace.
    """
    if is_replica_content(repository):
        return False
    pull, grants = _pull(repository), getattr(request.scope.get("user"), "grants", None)
    if grants is None or pull.namespace != MIRROR_NAMESPACE:
        return may_pull(request, repository)
    return may_pull(request, repository) and is_granted(grants, pull)


def _pull(repository: str) -> Action:
    return Action("pull", REPOSITORIES, repository.partition("/")[0], repository)


def actor_of(request: Request) -> str:
    """Name who sends a request: the user of the authentication, else the client's address."""
    user = request.scope.get("user")
    name = getattr(user, "username", "") or getattr(user, "display_name", "")
    return name or (request.client.host if request.client else "")
