"""The network in which Buildah asks a registry: the machine's for trusted ones, else a judged one.

In that one nothing exists but a SOCKS server that connects by the policy, so that redirects, token
servers and names whose addresses change lead nowhere else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from upwell.builder.interface import BuildError
from upwell.machine.process import ChildCommand
from upwell.oci import Reference
from upwell.outbound.child_network import ChildNetwork, child_network
from upwell.outbound.image_registries import ImageRegistries
from upwell.outbound.policy import ForbiddenAddressError

_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class RegistryNetwork:
    """The network of one pull or push."""

    child: ChildNetwork | None = None
    """None: the machine's own."""

    def enter(self, command: ChildCommand) -> ChildCommand:
        """Return the command as it runs inside."""
        if self.child is None:
            return command
        # Go has looked names up at the proxy by either name, and knew this one first.
        proxy = self.child.proxy.replace("socks5h://", "socks5://", 1)
        proxies = {**dict.fromkeys(_VARIABLES, proxy), **dict.fromkeys(_NO_PROXY, "")}
        environment = {**command.environment, **proxies}
        return ChildCommand(command.argv, environment, command.folder, self.child.namespace)


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
