"""Images that builds have pushed: where they lie, and how something is added to them."""

from upwell.api.builds.build import Build, BuildPhase
from upwell.builder.interface import BuildError
from upwell.oci import Digest, InvalidDigestError, Reference
from upwell.policy.builds.plan import push_reference
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess


class PushedImages:
    """Finds the images of builds, which begin with `prefix`.

    `embedded` is the embedded registry's `host:port`, which needs no login; empty: there is none.
    """

    def __init__(
        self, logins: BuildLogins, insecure: InsecureRegistries, prefix: str, embedded: str
    ) -> None:
        self._logins = logins
        self._insecure = insecure
        self._prefix = prefix
        self._embedded = embedded

    async def place(self, build: Build, digest: Digest) -> tuple[Reference, RequestAccess]:
        """Return where the image is, and how it is written to; raises BuildError."""
        pushed = push_reference(build, self._prefix, build.status.inputs or "")
        if pushed is None:
            raise BuildError("InvalidOutputReference", "the build pushes nothing")
        image = pushed.with_digest(digest)
        if image.registry == self._embedded:
            return image, DEFAULT_ACCESS
        credentials = await self._logins.read(build)
        insecure = await self._insecure.among([image], build.namespace)
        return image, RequestAccess(credentials.push, insecure=image.registry in insecure)


def pushed_digest(build: Build) -> Digest | None:
    """Return the image of a build that is complete and has pushed one itself."""
    output = build.status.output
    if build.status.phase is not BuildPhase.COMPLETE or output is None or output.to is None:
        return None
    try:
        return Digest.parse(output.to.image_digest)
    except InvalidDigestError:
        return None
