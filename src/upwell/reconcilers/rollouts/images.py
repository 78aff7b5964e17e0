"""Pins images by digest, and finds the logins to pull them."""

from collections.abc import Awaitable, Callable, Iterable

from upwell.api.image_policies.policy import PolicyPoint
from upwell.api.pod_template import PodTemplate
from upwell.oci import Digest, Reference
from upwell.policy.images.local_names import RESOLVE_NAMES_ANNOTATION
from upwell.policy.rollouts.instance import parse_image
from upwell.policy.rollouts.pod_template import account_of
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.local_images import LocalImages
from upwell.reconcilers.signatures.policies import UNRESTRICTED, ImagePolicies
from upwell.reconcilers.signatures.questions import ImageQuestion
from upwell.registry.errors import RegistryError
from upwell.registry.interface import CredentialSource, Registry, RequestAccess
from upwell.workload.instance_spec import Login

_HERE = "localhost"
"""Podman's own name for what was made or loaded on this machine: no registry has it."""

type OwnImages = Callable[[Reference], Awaitable[Digest | None]]
"""Returns the digest of an image of this machine, if it is there."""


class LocalImageUnknownError(RegistryError):
    """This machine has no image of the name; it may still be made, so it is asked for again."""

    reason = "ImageUnknown"
    retryable = True

    def __init__(self, reference: Reference) -> None:
        super().__init__(
            f"no image {reference} in this machine's storage, and no registry has names of {_HERE}:"
            f" `podman build -t {reference}` or `podman load` as the server's user makes it"
        )


async def _on_this_machine(reference: Reference, images: OwnImages) -> Reference:
    digest = await images(reference)
    if digest is None:
        raise LocalImageUnknownError(reference)
    return reference.with_digest(digest)


class TemplateImages:
    """The images of templates.

    `insecure` knows which registries speak plain HTTP or have no valid TLS; `local` knows what
    short names stand for; `own` has the images that were made or loaded on this machine.
    """

    def __init__(
        self,
        registry: Registry,
        secrets: PullSecrets,
        insecure: InsecureRegistries,
        local: LocalImages | None = None,
        policies: ImagePolicies = UNRESTRICTED,
        own: OwnImages | None = None,
    ) -> None:
        self._own = own
        self._policies = policies
        self._registry = registry
        self._secrets = secrets
        self._local = local
        self._insecure = insecure

    async def pin(self, template: PodTemplate, namespace: str) -> dict[str, str]:
        """Return container name -> pull spec with digest; raises TemplateError, RegistryError.

        What a tag is when a revision begins, it is for all replicas of the revision. An image that
        a policy keeps out is an ImagePolicyError.
        """
        pinned: dict[str, str] = {}
        for container in (*template.spec.containers, *template.spec.init_containers):
            image = await self._resolve(container.image, template, namespace)
            reference = parse_image(image, container.name)
            if reference.digest is None and self._own is not None and reference.registry == _HERE:
                reference = await _on_this_machine(reference, self._own)
            elif reference.digest is None:
                credentials = await self._credentials(namespace, template)
                insecure = reference.registry in await self._insecure.among([reference], namespace)
                access = RequestAccess(credentials, insecure=insecure)
                found = await self._registry.resolve(reference, access)
                reference = reference.with_digest(found.digest)
            pinned[container.name] = str(reference)
        for image in dict.fromkeys(pinned.values()):
            reference = Reference.parse(image)
            asked = ImageQuestion(reference, namespace, PolicyPoint.ROLLOUT)
            await self._policies.require(asked)
        return pinned

    async def _resolve(self, image: str, template: PodTemplate, namespace: str) -> str:
        if self._local is None:
            return image
        every_stream = template.metadata.annotations.get(RESOLVE_NAMES_ANNOTATION) == "*"
        return await self._local.resolve(image, namespace, every_stream=every_stream)

    async def insecure(self, images: Iterable[str], namespace: str) -> frozenset[str]:
        """Return which of the images' registries may be asked insecurely."""
        return await self._insecure.among(map(Reference.parse, images), namespace)

    async def _credentials(self, namespace: str, template: PodTemplate) -> CredentialSource:
        """Return the namespace's logins: first the template's own, then its ServiceAccount's."""
        named = [one.name for one in template.spec.image_pull_secrets]
        return await self._secrets.of_account(namespace, account_of(template), named)

    async def logins(
        self, images: Iterable[str], namespace: str, template: PodTemplate
    ) -> tuple[Login, ...]:
        """Return what is known of the registries of a template's images.

        The Secrets that it and its ServiceAccount link come first, then the namespace's others.
        """
        credentials = await self._credentials(namespace, template)
        found: dict[str, Login] = {}
        for image in images:
            reference = Reference.parse(image)
            login = await credentials.find(reference.registry, reference.repository)
            if login is not None and login.username:
                found.setdefault(
                    reference.registry, (reference.registry, login.username, login.password)
                )
        return tuple(found.values())
