"""Composes the judge of images: what it asks, with which logins, and what wakes who waits."""

from functools import partial

from upwell.app.adapters import Adapters
from upwell.oci import Reference
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.origins import StreamOrigins
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.signatures.examination import NO_COPIES, EvidenceCopies
from upwell.reconcilers.signatures.findings import VerdictFindings
from upwell.reconcilers.signatures.policies import ImagePolicies, InternalImages
from upwell.registry.attachments.mirrored import AttachmentMirror, MirroredImage
from upwell.registry.interface import RequestAccess
from upwell.registry.mirror import mirror_repository, mirrored_copy

JUDGED = frozenset({"rollouts", "jobs", "pods", "cluster-deployment-configs"})
"""Controllers of what is tried again at once when an image has been signed."""


def image_policies(
    adapters: Adapters,
    secrets: PullSecrets,
    beside: AttachmentMirror | None,
    findings: VerdictFindings,
) -> ImagePolicies:
    """Return the judge of all images; a signature that is pushed here is known at once.

    `beside` keeps the evidence by which an image has passed; None: nobody does.
    """
    insecure = InsecureRegistries(adapters.store, adapters.is_insecure)

    async def access(image: Reference, namespace: str) -> RequestAccess:
        logins = await secrets.of_namespace(namespace)
        is_insecure = image.registry in await insecure.among([image], namespace)
        return RequestAccess(logins, insecure=is_insecure)

    host, copies = adapters.embedded_host, NO_COPIES
    if beside is not None:
        copies = EvidenceCopies(partial(mirrored_copy, host=host), partial(_keep, beside, host))
    policies = ImagePolicies(
        adapters.store,
        adapters.registries,
        access,
        findings,
        internal=InternalImages(host, StreamOrigins(adapters.store, secrets), copies),
        count=adapters.metrics.count_verdict,
    )
    adapters.internal.subscribe(policies.note_push)
    return policies


def _keep(beside: AttachmentMirror, host: str, image: Reference, granted: RequestAccess) -> None:
    """Have the evidence of an image that lies elsewhere copied."""
    if image.registry != host and image.digest is not None:
        repository = mirror_repository(image)
        beside.note(MirroredImage(image, repository, (image.digest,), granted))
