"""What the API asks of the rest of the system besides reading and writing objects."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from upwell.api.build import BinaryInput, Build
from upwell.oci import Digest
from upwell.policy.images.registry_webhooks import PushNotice

type ListPackages = Callable[[Digest], Awaitable[Sequence[Mapping[str, Any]]]]
"""Returns the packages of an image, each as JSON data; empty when none are known."""

type NotePushes = Callable[[Sequence[PushNotice]], Awaitable[int]]
"""Takes what a registry says was pushed and returns how many of the images are followed here."""


type Untag = Callable[[str, str], Awaitable[None]]
"""Takes a tag out of a repository of the internal registry; raises RegistryError."""


class ApiActions(Protocol):
    """Things that a person does to an object; refusals are StoreErrors (RejectedError, say)."""

    async def instantiate(
        self, namespace: str, build_config: str, request: Mapping[str, Any]
    ) -> Build:
        """Start a build now; `request` is a build/v1 BuildRequest. Returns the new Build."""
        ...

    async def instantiate_binary(
        self, namespace: str, build_config: str, upload: BinaryInput, *, unless_built: bool
    ) -> Build:
        """Start a build now, of content that was uploaded. Returns the new Build.

        `unless_built`: it takes the image that equal inputs have made before.
        """
        ...

    async def clone(self, namespace: str, build: str, request: Mapping[str, Any]) -> Build:
        """Make a Build again; `request` is a build/v1 BuildRequest. Returns the new Build."""
        ...
