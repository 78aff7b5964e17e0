"""Rights of a stream's author to what it imports of the embedded registry, asked at each import."""

from upwell.api.image import ImageStream
from upwell.oci import Reference
from upwell.reconcilers.authority import MISSING_RIGHT, Authority
from upwell.registry.errors import RegistryError


class MissingPullRightError(RegistryError):
    """The author may not pull what the stream imports; it is asked for again by itself."""

    reason = MISSING_RIGHT


async def require_pull(authority: Authority, stream: ImageStream, image: Reference) -> None:
    """Raise MissingPullRightError if the stream's author may not pull an image.

    One that is named by digest never changes: whoever named it was asked then, and may be somebody
    else, as where a hook of a rollout tags it. Where nobody is known to have been asked, the stream
    is.
    """
    if image.digest is not None and authority.asks_writers(stream):
        return
    if why := await authority.pull_refusal(stream, image):
        raise MissingPullRightError(why)
