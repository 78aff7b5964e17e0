"""The network in which Buildah asks a registry: the machine's for trusted ones, else a judged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from upwell.builder.interface import BuildError
from upwell.oci import Reference
from upwell.outbound.child_network import child_network
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import ForbiddenAddressError
from upwell.outbound.registry_network import RegistryNetwork


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
