"""Places that rebased images of builds go to: the server's own registry, and others."""

from dataclasses import dataclass, replace
from typing import Protocol

from upwell.api.builds.build import Build
from upwell.builder.interface import BuildError
from upwell.oci import Digest, Reference
from upwell.oci.rebase.placing import PlacedImage, RebaseTarget, WrittenBlobs
from upwell.policy.builds.base_changes import output_elsewhere, rebase_obstacle
from upwell.policy.builds.plan import ResolvedInputs
from upwell.policy.builds.rebase_source import NotRebasedError
from upwell.reconcilers.builds.output import PushAccess, without_login
from upwell.reconcilers.rebase.comparing import ComparedRebase
from upwell.registry.errors import RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess


class OwnRebaseWriter(Protocol):
    """Writer of rebased images into the server's own registry, the tag last."""

    async def write(
        self, placed: PlacedImage, target: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> WrittenBlobs:
        """Write an image under a tag; raises RegistryError or BuildError."""
        ...

    async def keep(
        self, target: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Give an image of the repository a tag; raises RegistryError."""
        ...


class OtherRebaseWriter(Protocol):
    """Writer of rebased images into registries that are not the server's own, the tag last."""

    def is_own(self, image: Reference) -> bool:
        """Return True for an image of the server's own registry."""
        ...

    async def tagged(self, tag: Reference, access: RequestAccess) -> Digest | None:
        """Return what a tag names, None if nothing; raises RegistryError."""
        ...

    async def write(
        self, placed: PlacedImage, target: RebaseTarget, access: RequestAccess
    ) -> WrittenBlobs:
        """Write an image under a tag that names what it has to until then; raises RegistryError."""
        ...


@dataclass(frozen=True, slots=True)
class OutputElsewhere:
    """Output in another registry, and the digest that its tag has; empty: none."""

    tag: Reference
    access: RequestAccess
    tagged: str

    def place(self, compared: ComparedRebase, before: Digest) -> RebaseTarget:
        """Return where the outcome goes, in the place of the image `before`.

        The tag may name the outcome already, if a try was cut off. Raises NotRebasedError.
        """
        if self.tagged not in {str(before), str(compared.digest)}:
            now = self.tagged or "nothing"
            raise NotRebasedError(f"its output names {now}, which was pushed meanwhile")
        return RebaseTarget(self.tag, Digest.parse(self.tagged))


@dataclass(frozen=True, slots=True)
class RebaseOutputs:
    """Outputs of builds that are rebased; `access` and `to_push` are those of each writer."""

    own: OwnRebaseWriter
    other: OtherRebaseWriter
    access: PushAccess = without_login
    to_push: PushAccess = without_login

    async def elsewhere(self, build: Build, inputs: ResolvedInputs) -> OutputElsewhere | None:
        """Return the output of a build in another registry; None: it is in the server's own.

        Raises NotRebasedError or BuildError.
        """
        tag = output_elsewhere(build.spec)
        if tag is None or rebase_obstacle(build.spec):
            return None
        if self.other.is_own(tag):
            raise NotRebasedError("its output is in the registry of this server, and no stream's")
        login = await self.to_push(build)
        access = replace(login, insecure=tag.registry in inputs.insecure_registries)
        try:
            found = await self.other.tagged(tag, access)
        except RegistryError as error:
            raise push_error(error) from error
        return OutputElsewhere(tag, access, str(found or ""))

    async def write(
        self,
        build: Build,
        compared: ComparedRebase,
        target: RebaseTarget,
        elsewhere: OutputElsewhere | None,
    ) -> WrittenBlobs | None:
        """Write an image; None: it was there, and has its tag now. Raises BuildError."""
        try:
            if elsewhere is None:
                return await self._write_own(build, compared, target.name)
            if compared.placed is None or target.replaced == compared.digest:
                return None
            return await self.other.write(compared.placed, target, elsewhere.access)
        except RegistryError as error:
            raise push_error(error) from error

    async def _write_own(
        self, build: Build, compared: ComparedRebase, target: Reference
    ) -> WrittenBlobs | None:
        access = await self.access(build)
        if compared.placed is not None:
            return await self.own.write(compared.placed, target, access)
        await self.own.keep(target, compared.digest, access)
        return None


def push_error(error: RegistryError) -> BuildError:
    """Return what a build fails with that could not write its image."""
    return BuildError(
        "PushImageToRegistryFailed",
        f"Failed to push the image to the registry. {error}",
        retryable=error.retryable,
    )
