"""Transfers of images between Buildah's store and registries.

A registry is asked in the network of the machine if it is trusted, else in one whose connections
are judged.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from upwell.builder.commands import BuildahCommands
from upwell.builder.interface import BuildError
from upwell.builder.workspace import Workspace
from upwell.oci import Digest, Reference
from upwell.outbound.child_network import child_network
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import ForbiddenAddressError
from upwell.outbound.registry_network import RegistryNetwork


class ImageTransfers:
    """Pulls what builds need into a store, and pushes what they made, by judged networks."""

    def __init__(
        self, commands: BuildahCommands, registries: ImageRegistries | None, pull_policy: str
    ) -> None:
        """`pull_policy` is of images that a plan does not force (BuildahSettings)."""
        self._commands = commands
        self._registries = registries
        self._pull_policy = pull_policy

    async def pull_all(self, work: Workspace, auth: Path) -> list[str]:
        """Pull what the build needs; return the ids of these images in the store."""
        plan = work.plan
        found = []
        policy = "always" if plan.force_pull else self._pull_policy
        for image in plan.pulled:
            work.say(f"Pulling image {image} ...")
            wanted = policy if plan.force_pull else plan.pull_policies.get(image, policy)
            insecure = image.registry in plan.insecure_registries
            try:
                found.append(
                    await self.pull(image, work.folder.path, auth, insecure=insecure, policy=wanted)
                )
            except BuildError as error:
                # An incremental build without its previous image is a clean one.
                if image != plan.source.previous or plan.source.previous_required:
                    raise
                work.say(f"Warning: {error}")
        return found

    async def pull(
        self, image: Reference, folder: Path, auth: Path, *, insecure: bool, policy: str = ""
    ) -> str:
        """Pull an image, by the policy of the settings without another; return its id.

        Raises BuildError.
        """
        failure = BuildError("PullBuilderImageFailed", f"Failed to pull {image}")
        async with registry_network(self._registries, image, failure, insecure=insecure) as network:
            return await self._commands.pull(
                image,
                folder,
                auth,
                insecure=insecure,
                network=network,
                policy=policy or self._pull_policy,
            )

    async def push(self, work: Workspace, to: Reference, image: str, auth: Path) -> Digest:
        """Push an image of the store that the build wrote in; raises BuildError."""
        folder = work.folder.path
        insecure = to.registry in work.plan.insecure_registries
        failure = BuildError("PushImageToRegistryFailed", f"Failed to push to {to}")
        async with registry_network(self._registries, to, failure, insecure=insecure) as network:
            return await work.commands.push(
                image, to, folder, auth, insecure=insecure, network=network
            )


@asynccontextmanager
async def registry_network(
    registries: ImageRegistries | None, image: Reference, failure: BuildError, *, insecure: bool
) -> AsyncIterator[RegistryNetwork]:
    """Open the network in which an image's registry is asked.

    Raises BuildError, for a registry to which nothing is sent, and when the block raises one after
    an address was refused: with the reason of `failure` and its message as the beginning.
    """
    if registries is None:
        yield RegistryNetwork()
        return
    try:
        trusted = await registries.judge(image, insecure=insecure)
    except ForbiddenAddressError as error:
        raise BuildError(failure.reason, f"{failure}: {error}") from error
    except OSError:
        trusted = False  # the image may be there; and if not, Buildah says it
    if trusted:
        yield RegistryNetwork()
        return
    async with child_network(registries.dialer) as child:
        try:
            yield RegistryNetwork(child)
        except BuildError as error:
            if child.refusal:
                raise BuildError(failure.reason, f"{failure}: {child.refusal}") from error
            raise
