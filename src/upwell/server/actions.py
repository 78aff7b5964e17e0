"""What the API asks of the rest of the system besides reading and writing objects."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from upwell.oci import Digest
from upwell.policy.images.registry_webhooks import PushNotice

type ListPackages = Callable[[Digest], Awaitable[Sequence[Mapping[str, Any]]]]
"""Returns the packages of an image, each as JSON data; empty when none are known."""

type NotePushes = Callable[[Sequence[PushNotice]], Awaitable[int]]
"""Takes what a registry says was pushed and returns how many of the images are followed here."""


type Untag = Callable[[str, str], Awaitable[None]]
"""Takes a tag out of a repository of the internal registry; raises RegistryError."""
